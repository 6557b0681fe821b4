"""The tiny condition language of the packaged data: what a config field must look like for something to apply.

A field name may lead into an object with a dot: `loftq_config.loftq_bits`.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def is_set(value: object) -> bool:
    """Whether a field is switched on: present and none of null, false, empty string, empty list or empty object."""
    return value is not None and value is not False and value not in ("", [], {})


def lookup_in(config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> Callable[[str], Any]:
    """Return a function that finds a field's value by its name; an absent field has its default, else None."""
    absent = defaults or {}

    def find(name: str) -> Any:
        if "." not in name:
            return config[name] if name in config else absent.get(name)
        head, _, rest = name.partition(".")
        value = config.get(head, absent.get(head))
        for part in rest.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    return find


def all_hold(conditions: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> bool:
    """Whether every field named satisfies its condition; no conditions always hold."""
    return holds(conditions, lookup_in(config)) if conditions else True


def holds(conditions: Mapping[str, Mapping[str, Any]], find: Callable[[str], Any]) -> bool:
    """Whether the value of every field named satisfies all operators of its condition.

    Args:
        conditions: field name to operators: `equals`, `in`, `set`, `given`, `matches`, `type`, `names`, `lacks`,
            `overlaps`, `multiple_of`.
        find: gives the value of a field by name.

    Raises:
        KeyError: the packaged data names an operator that does not exist.
    """
    for name, condition in conditions.items():
        value = find(name)
        for operator, operand in condition.items():
            if not _OPERATORS[operator](operand, value, find):
                return False
    return True


def _same(operand: object, value: object) -> bool:
    return operand == value and isinstance(operand, bool) == isinstance(value, bool)


def _items(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, (list, dict)) else []


def _names(wanted: list[str], value: object) -> bool:
    return any(item == name or item.endswith(f".{name}") for item in _items(value) for name in wanted)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


_TYPES: dict[str, type] = {"string": str, "array": list, "object": dict, "boolean": bool, "integer": int}

_OPERATORS: dict[str, Callable[[Any, Any, Callable[[str], Any]], bool]] = {
    "equals": lambda operand, value, _: _same(operand, value),
    "in": lambda operand, value, _: any(_same(item, value) for item in operand),
    "set": lambda operand, value, _: is_set(value) is operand,
    "given": lambda operand, value, _: (value is not None) is operand,
    "matches": lambda operand, value, _: isinstance(value, str) and _compiled(operand).search(value) is not None,
    "type": lambda operand, value, _: isinstance(value, _TYPES[operand]),
    "names": lambda operand, value, _: _names(operand, value),
    "lacks": lambda operand, value, _: not _names(operand, value),
    "overlaps": lambda operand, value, find: not set(_items(value)).isdisjoint(_items(find(operand))),
    "multiple_of": lambda operand, value, _: isinstance(value, int) and value % operand == 0,
}
