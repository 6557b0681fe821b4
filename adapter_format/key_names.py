"""Adapter names in keys, where one key alone leaves in doubt which of its parts is one: the other keys tell."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

from adapter_format.keys import ADAPTER_NAME, NAME_MISSING, KeyReading, key_of, pattern_of
from adapter_format.layouts import CATEGORY, MODULE, instance_of, layout_of
from adapter_format.shape_functions import category

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from adapter_format.layouts import Layout, Role

_NAME = "{adapter}"
_STORED_NAME = "default"
_OPEN = "{rest}"


class _Form(NamedTuple):
    """A spelling behind the prefix; `pattern` has the groups `path`, `adapter`, `category` and `index` where it can."""

    pattern: re.Pattern[str]
    role: Role


class _Forms(NamedTuple):
    """What one key alone leaves in doubt in a method.

    Attributes:
        named: roles that are stored with a name in them, under whatever name.
        nameless: the same without the name.
        exchanged: roles of groups of modules, with the adapter's name in front of the group's.
    """

    named: tuple[_Form, ...]
    nameless: tuple[_Form, ...]
    exchanged: tuple[_Form, ...]


@functools.cache
def _forms_of(peft_type: str) -> _Forms | None:
    layout = layout_of(peft_type)
    roles = layout.roles.values() if layout is not None else ()
    kept = [role for role in roles if role.memory != role.suffix == role.memory.replace(_NAME, _STORED_NAME)]
    groups = [role for role in roles if role.scope == CATEGORY and role.memory.endswith(f"{{category}}.{_NAME}")]
    if not kept and not groups:
        return None
    return _Forms(
        tuple(_form(role, role.memory) for role in kept),
        tuple(_form(role, role.memory.replace(f".{_NAME}", "")) for role in kept),
        tuple(_form(role, role.memory.replace(f"{{category}}.{_NAME}", f"{_NAME}.{{category}}")) for role in groups),
    )


def _form(role: Role, spelling: str) -> _Form:
    ending = pattern_of(spelling, named=True).replace(pattern_of(_NAME), "(?P<adapter>[^.]+)", 1)
    return _Form(re.compile((r"(?P<path>.+)\." if role.scope == MODULE else "") + ending), role)


def read_together(layout: Layout, readings: Mapping[str, KeyReading]) -> Mapping[str, KeyReading]:
    """Read those keys of an adapter anew that leave in doubt which part is a name, in the light of the others.

    Args:
        layout: the method.
        readings: what each key says by itself.
    """
    forms = _forms_of(layout.peft_type)
    doubtful = [key for key, reading in readings.items() if reading.role is None or ADAPTER_NAME in reading.faults]
    if forms is None or not doubtful:
        return readings
    plain = [form for form in forms.named if _OPEN not in form.role.suffix]
    names = {found["adapter"] for key in readings for _, found in _matches(layout, plain, key)}
    groups = {category(reading.path) for reading in readings.values() if reading.role and reading.in_module}
    renewed: dict[str, KeyReading] = {}
    for key in doubtful:
        for role, found in _matches(layout, forms.exchanged, key):
            if found["category"] in groups and readings[key].path not in groups:
                renewed[key] = _reading(layout, role, found, ADAPTER_NAME)
        if any(found["adapter"] in names for _, found in _matches(layout, forms.named, key)):
            continue
        for role, found in _matches(layout, forms.nameless, key):
            renewed[key] = _reading(layout, role, found, NAME_MISSING)
    return {**readings, **renewed}


def _matches(layout: Layout, forms: Iterable[_Form], key: str) -> Iterator[tuple[Role, re.Match[str]]]:
    for pattern, role in forms:
        prefix = layout.prefix_of(role)
        found = pattern.fullmatch(key, len(prefix)) if key.startswith(prefix) else None
        if found is not None:
            yield role, found


def _reading(layout: Layout, role: Role, found: re.Match[str], fault: str) -> KeyReading:
    groups = found.groupdict()
    index, in_module = groups.get("index") or "", role.scope == MODULE
    path = groups["path"] if in_module else groups.get("category") or ""
    name = instance_of(role.name, index) if index else role.name
    return KeyReading(path, name, key_of(layout, path, role.name, index), (fault,), in_module)
