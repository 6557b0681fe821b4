"""What the findings on shapes say: which modules, what the tensors hold, what the config gives, and what would fit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from adapter_format import diagnosis as faults
from adapter_format.diagnosis import settle
from adapter_format.expressions import NoValueError, UnknownSymbolError, evaluate, names_in
from adapter_format.layouts import BASE_FEATURES, CATEGORY, MODULE, Value, role_name
from adapter_format.settling import RANK, Frame
from adapter_format.shapes import plain_scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from adapter_format.anatomy import Anatomy
    from adapter_format.diagnosis import ShapeFault
    from adapter_format.layouts import Layout
    from adapter_format.modules import Module
    from adapter_format.shapes import Shape

    Found = list[tuple[Module, ShapeFault]]

_MOST_LISTED = 4
"""Tensors of one unit that a message lists with their shapes; of more, it names one."""
_TAKEN = {"length": "its length is", "trues": "it gives"}
"""What a field whose value is no size itself has to come to."""
_MOST_TENSORS = 64
"""Tensors of a unit for which values are tried; each try looks at all of them."""
_MOST_TRIED = 32
"""Sizes of the tensors that are tried as the value of a field."""


def concerned(found: Found, anatomy: Anatomy) -> tuple[str, bool]:
    """Say which units are concerned, and whether that is one."""
    module, fault = found[0]
    paths = {each.path for each, _ in found if each.kind.scope == MODULE}
    if paths:
        return f"{len(paths):,} of {len(anatomy.modules):,} modules", len(paths) == 1
    if module.kind.scope == CATEGORY:
        return "shared tensors", False
    return f"`{module.roles[fault.role].name}`", True


def within(found: Found, anatomy: Anatomy) -> str:
    """Say in brackets how many modules are concerned, if modules are."""
    return f" ({concerned(found, anatomy)[0]})" if found[0][0].kind.scope == MODULE else ""


def expected_shape(module: Module, fault: ShapeFault) -> str:
    """Write the shape that the fault's tensor should have, with the sizes that are known."""
    declared = module.kind.shapes.get(role_name(fault.role))
    return "none" if declared is None else _written(declared, {**module.symbols, **module.given})


def _written(declared: Shape, symbols: Mapping[str, Any]) -> str:
    scope = plain_scope(dict(symbols))

    def size(text: str) -> str:
        try:
            return str(evaluate(text, scope))
        except (UnknownSymbolError, NoValueError):
            return text

    return f"[{', '.join(f'*{each.text}' if each.is_rest else size(each.text) for each in declared)}]"


def setting_sentence(found: Found, anatomy: Anatomy, config: Mapping[str, Any]) -> str:
    """Say which setting the tensors contradict, and what they hold instead."""
    module, fault = found[0]
    which, is_one = concerned(found, anatomy)
    value = anatomy.layout.values[fault.symbol]
    meaning = "rank" if fault.symbol == RANK else anatomy.layout.symbols.get(fault.symbol, fault.symbol)
    meaning = meaning.partition(":")[0]
    wanted = json.dumps(module.given.get(fault.symbol))
    source = "the config gives" if is_given(value, config) else "PEFT's default is"
    name = "" if meaning == "rank" and value.field == "r" else f" (`{value.field}`)"
    held = "" if fault.found is None else f" {fault.found}"
    verb = "is" if is_one else "are"
    told = f"stored with {meaning}{held}, but {source} {wanted}{name}"
    if fault.found is None:
        told = f"not stored with the {meaning} {wanted} that {source.replace(' is', '')}{name}"
    return f"{which[:1].upper()}{which[1:]} {verb} {told}; {first(module, fault)}"


def is_given(value: Value, config: Mapping[str, Any]) -> bool:
    """Whether the config holds the field of a setting, or a table of it."""
    return value.field.partition(".")[0] in config or bool(value.pattern and config.get(value.pattern))


def first(module: Module, fault: ShapeFault) -> str:
    """Name the first tensor concerned, with its shape."""
    info = module.roles[fault.role]
    where = f"first `{module.path}`, " if module.path else ""
    return f"{where}{info.name!r} has the shape {list(info.shape)}."


def relation_sentence(found: Found, anatomy: Anatomy) -> str:
    """Say which condition is broken, and the settings and sizes that break it."""
    module, fault = found[0]
    which, is_one = concerned(found, anatomy)
    given = dict(_settings(anatomy.layout, module, fault))
    config = " and ".join(f"`{field}` {json.dumps(value)}" for field, value in given.items())
    sizes = " and ".join(
        f"{anatomy.layout.symbols[name].partition(':')[0]} {module.symbols[name]}"
        for name in sorted(names_in(fault.symbol) - anatomy.layout.values.keys() - BASE_FEATURES)
        if name in module.symbols and name in anatomy.layout.symbols
    )
    here = f" ({config})" if config else ""
    held = f"; the tensors hold {sizes}" if sizes else ""
    verb = "does" if is_one else "do"
    return (
        f"{which[:1].upper()}{which[1:]} {verb} not go with the config{here}: {fault.sentence}{held}; "
        f"{first(module, fault)}"
    )


def choice_sentence(found: Found, anatomy: Anatomy) -> str:
    """Say which field was another when the tensors were made."""
    module, fault = found[0]
    which, is_one = concerned(found, anatomy)
    verb = "was" if is_one else "were"
    return (
        f"{which[:1].upper()}{which[1:]} {verb} stored under another `{fault.symbol}`: {first(module, fault)[:-1]}, "
        f"expected {expected_shape(module, fault)}."
    )


def factors_sentence(found: Found, anatomy: Anatomy) -> str:
    """Say which tensors of a unit do not fit each other."""
    module, fault = found[0]
    which = within(found, anatomy)
    info = module.roles[fault.role]
    if not 1 < len(module.roles) <= _MOST_LISTED:
        wanted = f" with {fault.mismatch.expected}" if fault.mismatch else ""
        return (
            f"{info.name!r} has the shape {list(info.shape)}, expected {expected_shape(module, fault)}{wanted}{which}."
        )
    sizes = ", ".join(f"{role} {list(stored.shape)}" for role, stored in module.roles.items())
    of = f"`{module.path}`" if module.path else "the adapter"
    return f"The tensors of {of} do not fit each other: {sizes}{which}."


def mend_of(found: Found, anatomy: Anatomy, config: Mapping[str, Any]) -> str | None:
    """Name the field, and the value that would fit where one is known; None where no field is to blame."""
    module, fault = found[0]
    layout = anatomy.layout
    if fault.fault == faults.SETTING:
        value = layout.values[fault.symbol]
        field, table = value.field, f" (or the entry of `{value.pattern}`)" if value.pattern else ""
        if value.take in _TAKEN and fault.found is not None:
            return f"Set `{field}`{table} so that {_TAKEN[value.take]} {fault.found}."
        if value.raw or fault.found is None:
            return f"Set `{field}`{table} to what the adapter was trained with."
        if len({each.found for _, each in found}) > 1:
            return f"Set `{field}`{table} to the {_meaning(layout, fault.symbol)} of the tensors."
        if len(found) < len(anatomy.modules) and module.kind.scope == MODULE:
            one = f"{value.pattern}`: it is {fault.found} there" if value.pattern else ""
            odd = (
                f"Give {_those(found)} an entry in `{one}"
                if one
                else f"Save the adapter again: {_those(found)} differs"
            )
            return f"{odd}{_scale(layout, fault.symbol)}." if one else f"{odd} from the others."
        return f"Set `{field}`{table} to {fault.found}{_scale(layout, fault.symbol)}."
    if fault.fault == faults.RELATION:
        fits = list(_fitting(layout, module, fault))
        if len(fits) == 1:
            return f"Set `{fits[0][0]}` to {json.dumps(fits[0][1])}."
        fields = [f"`{field}`" for field, _ in _settings(layout, module, fault)]
        return f"Set {' or '.join(fields)} to what the adapter was trained with." if fields else None
    if fault.fault == faults.CHOICE:
        now = config.get(fault.symbol)
        other = json.dumps(not now) if isinstance(now, bool) else "what the adapter was trained with"
        return f"Set `{fault.symbol}` to {other}."
    return None


def _meaning(layout: Layout, symbol: str) -> str:
    return "rank" if symbol == RANK else layout.symbols.get(symbol, symbol).partition(":")[0]


def _those(found: Found) -> str:
    return f"`{found[0][0].path}`" if len(found) == 1 else "the modules named"


def _scale(layout: Layout, symbol: str) -> str:
    """Add what has to follow a rank, so that the scale stays: the numerator of a scale that divides by the rank."""
    numerator = layout.scaling.get("numerator", {}).get("field")
    by_rank = symbol == RANK and RANK in names_in(layout.scaling.get("divisor", "1"))
    return f", and `{numerator}` so that the scale stays" if numerator and by_rank else ""


def _settings(layout: Layout, module: Module, fault: ShapeFault) -> Iterator[tuple[str, Any]]:
    """Yield the fields that a broken condition speaks of, with what the config gives."""
    for symbol in sorted(names_in(fault.symbol)):
        if symbol in layout.values and symbol in module.given:
            yield layout.values[symbol].field, module.given[symbol]


def _fitting(layout: Layout, module: Module, fault: ShapeFault) -> Iterator[tuple[str, Any]]:
    """Yield fields with a value that would make the tensors fit: of the sizes that they have, or the opposite."""
    frame = Frame(layout, module.kind)
    if len(module.roles) > _MOST_TENSORS:
        return
    for symbol in sorted(names_in(fault.symbol) & layout.values.keys() & module.given.keys()):
        value, now = layout.values[symbol], module.given[symbol]
        sizes = {size for size in module.symbols.values() if type(size) is int and size > 0}
        # Where 1 fits as well, another size fits by chance.
        candidates = [not now] if isinstance(now, bool) else sorted((sizes | {1}) - {now})[:_MOST_TRIED]
        if value.take != "value" or module.kind.scope != MODULE:
            continue
        for candidate in candidates:
            if not settle(frame, module.roles, {**module.given, symbol: candidate}, thorough=False).faults:
                yield value.field, candidate
