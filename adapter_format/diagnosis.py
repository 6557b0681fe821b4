"""Whether a unit's shapes fit its kind and its settings and, where they do not, what is to blame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.expressions import (
    NoValueError,
    Scope,
    UnknownSymbolError,
    evaluate,
    names_in,
)
from adapter_format.layouts import index_of, instance_of, role_name
from adapter_format.settling import RANK, Frame, Roles, broken_relations, numbered, settle_shapes
from adapter_format.shape_functions import FUNCTIONS
from adapter_format.shapes import REST, Mismatch, Symbols, symbols_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from adapter_format.layouts import Kind

SETTING = "setting"
"""The tensors agree on a size, but it is not the one that the config gives."""
FACTORS = "factors"
"""The tensors contradict each other."""
TRANSPOSED = "transposed"
"""The tensors fit when each is transposed."""
DIMENSIONS = "dimensions"
"""A tensor has the wrong number of dimensions."""
EMPTY = "empty"
"""A dimension is zero."""
COMPANION = "companion"
"""The factors fit, but a tensor that a config field adds does not."""
RELATION = "relation"
"""Every shape fits, but sizes and settings together break a condition of the kind."""
CHOICE = "choice"
"""The tensors have the shapes that another value of a field calls for."""


class ShapeFault(NamedTuple):
    """Why the shapes of a unit do not fit its kind.

    Attributes:
        fault: one of the constants of this module.
        role: the tensor concerned, by its role.
        mismatch: the first mismatch, None where no single size is to blame.
        symbol: for `SETTING`, the symbol whose value differs; for `CHOICE`, the name of the field; for `RELATION`, its
            expression.
        found: for `SETTING`, the value that the tensors agree on.
        sentence: for `RELATION`, what the condition says.
    """

    fault: str
    role: str
    mismatch: Mismatch | None = None
    symbol: str = ""
    found: Any = None
    sentence: str = ""


class Settled(NamedTuple):
    """What is known of a unit.

    Attributes:
        symbols: everything that shapes and config settle.
        faults: what does not fit.
    """

    symbols: Symbols
    faults: tuple[ShapeFault, ...]


def settle(frame: Frame, roles: Roles, given: Mapping[str, Any], *, thorough: bool = True) -> Settled:
    """Settle one unit.

    Args:
        frame: method, kind and surroundings.
        roles: the stored tensors by role.
        given: the symbols whose value is in the config.
        thorough: whether to look for the setting that is to blame for a fault, or only to say where it shows.
    """
    layout, kind = frame.layout, frame.kind
    counted = dict(_counted(frame, roles, given))
    symbols: Symbols = {**given, **counted}
    if any(not info.dtype for info in roles.values()):
        return Settled(symbols, ())
    known = {name: info for name, info in roles.items() if role_name(name) in kind.shapes}
    empty = next((name for name, info in known.items() if 0 in info.shape and not layout.role(name).may_be_empty), None)
    if empty is not None:
        return Settled(symbols, (ShapeFault(EMPTY, empty),))
    main = {name: info for name, info in known.items() if not layout.role(name).declared_by}
    mismatch = settle_shapes(frame, main, symbols)
    if mismatch is not None:
        if not thorough:
            name, found_instead = mismatch
            what = DIMENSIONS if found_instead.axis is None else FACTORS
            return Settled(symbols, (ShapeFault(what, name, found_instead),))
        symbols, fault = _diagnose(frame, main, given, counted, mismatch)
        return Settled(symbols, (_with_choice(frame, known, {**given, **counted}, fault),))
    faults: list[ShapeFault] = []
    for name, info in known.items():
        if name not in main:
            found = settle_shapes(frame, {name: info}, symbols)
            if found is not None:
                what = DIMENSIONS if found[1].axis is None else COMPANION
                fault = ShapeFault(what, name, found[1])
                faults.append(_with_choice(frame, known, {**given, **counted}, fault) if thorough else fault)
    without = _without_setting(frame, known, given, counted) if faults and thorough else None
    if without is not None:
        symbol, symbols = without
        first = faults[0]
        return Settled(symbols, (ShapeFault(SETTING, first.role, first.mismatch, symbol, symbols.get(symbol)),))
    if not faults:
        broken = next(broken_relations(frame, symbols), None)
        if broken is not None and known and not thorough:
            faults.append(ShapeFault(RELATION, next(iter(known)), None, broken, sentence=kind.relations[broken]))
        elif broken is not None and known:
            fault = _diagnose_relation(frame, known, given, counted, broken)
            faults.append(_with_choice(frame, known, {**given, **counted}, fault))
    return Settled(symbols, tuple(faults))


def _counted(frame: Frame, roles: Roles, given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Count the numbered tensors, and number them; roles with one count are counted together, and holes as well."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for name in roles:
        number, declared = index_of(name), frame.layout.role(name)
        if number and declared.counted_as:
            found.setdefault((declared.counted_as, declared.step), {})[number] = None
    for (counted_as, distance), numbers in found.items():
        yield from numbered(counted_as, tuple(numbers)).items()
        try:
            step = evaluate(distance, Scope(given, FUNCTIONS))
        except (UnknownSymbolError, NoValueError):
            continue
        at = {number: int(number) // step for number in numbers if number.isdigit()}
        if len(at) == len(numbers):
            yield counted_as, max(at.values()) + 1
        for number, place in at.items():
            yield instance_of("index", number), place


def _diagnose(
    frame: Frame, main: Roles, given: Mapping[str, Any], counted: Symbols, first: tuple[str, Mismatch]
) -> tuple[Symbols, ShapeFault]:
    """Find out which of the usual mistakes keeps the main tensors from fitting."""
    role, mismatch = first
    start: Symbols = {**given, **counted}
    if mismatch.axis is None:
        return start, ShapeFault(DIMENSIONS, role, mismatch)
    without = _without_setting(frame, main, given, counted)
    if _transposes(frame, main, start) and not (without is not None and _is_smallest(*without)):
        return start, ShapeFault(TRANSPOSED, role)
    if without is not None:
        symbol, symbols = without
        return symbols, ShapeFault(SETTING, role, mismatch, symbol, symbols.get(symbol))
    return start, ShapeFault(FACTORS, role, mismatch)


def _is_smallest(symbol: str, symbols: Symbols) -> bool:
    """Whether a size is not above any other, as that of a rank is."""
    sizes = [size for name, size in symbols.items() if type(size) is int and name != REST]
    return symbol != RANK or symbols[symbol] <= min(sizes)


def _without_setting(
    frame: Frame, roles: Roles, given: Mapping[str, Any], counted: Symbols
) -> tuple[str, Symbols] | None:
    """Find the setting without which the shapes fit, with the sizes that they have then."""
    used = {symbol for name in roles for symbol in symbols_of(frame.kind.shapes[role_name(name)])}
    used |= {symbol for text in frame.kind.relations for symbol in names_in(text)}
    # A zero or a null leaves a matter to other settings, so that it is the last to be wrong.
    settings = sorted((symbol for symbol in given if symbol in used), key=lambda symbol: not given[symbol])
    for dropped in [[symbol] for symbol in settings] + [settings] * (len(settings) > 1):
        symbols: Symbols = {name: value for name, value in {**given, **counted}.items() if name not in dropped}
        if settle_shapes(frame, roles, symbols) is None and not any(broken_relations(frame, symbols)):
            differing = [symbol for symbol in dropped if symbol in symbols and symbols[symbol] != given[symbol]]
            if differing:
                return differing[0], symbols
    return None


def _with_choice(frame: Frame, roles: Roles, start: Symbols, fault: ShapeFault) -> ShapeFault:
    """Name the field by whose other value the tensors would fit, if no single size is to blame and there is one."""
    if fault.fault in (SETTING, TRANSPOSED):
        return fault
    for field, kind in _alternatives(frame, alone=len(roles) == 1):
        other, symbols = frame._replace(kind=kind), dict(start)
        if any(role_name(name) not in kind.shapes for name in roles):
            continue
        if settle_shapes(other, roles, symbols) is None and not any(broken_relations(other, symbols)):
            return fault._replace(fault=CHOICE, symbol=field)
    return fault


def _alternatives(frame: Frame, *, alone: bool) -> Iterator[tuple[str, Kind]]:
    """Yield the forms that the kind, or the choice of the kind, has under other values of a field, with that field.

    Another kind often fits two tensors or more by chance, with its free symbols: it is tried for a tensor alone.
    """
    kind = frame.kind
    for conditions in {repr(when): when for cases in kind.cases.values() for when, _ in cases}.values():
        chosen = {role: shape for role, cases in kind.cases.items() for when, shape in cases if when == conditions}
        field = next(iter(conditions or next(when for cases in kind.cases.values() for when, _ in cases)))
        yield field, kind._replace(shapes={**kind.shapes, **chosen})
    for other in frame.layout.kinds if alone else ():
        if other.scope == kind.scope and not other.cases and not other.select.get("fits"):
            field = _choosing_field(other) or _choosing_field(kind)
            if field and other.name != kind.name:
                yield field, other


def _choosing_field(kind: Kind) -> str:
    """Return the config field by which a kind is chosen; "" if none is."""
    select = kind.select
    by_path = select.get("path_ends_with_any") or select.get("path_contains_any")
    field: str = by_path or next(iter(select.get("config", ())), "")
    return field


def _transposes(frame: Frame, main: Roles, start: Symbols) -> bool:
    """Whether matrices fit with the settings as they are once each is transposed."""
    if len(main) < 2 or frame.kind.select.get("target") == "parameter":
        return False
    flipped = {name: info._replace(shape=info.shape[::-1]) for name, info in main.items()}
    return settle_shapes(frame, flipped, dict(start)) is None


def _diagnose_relation(
    frame: Frame, roles: Roles, given: Mapping[str, Any], counted: Symbols, broken: str
) -> ShapeFault:
    """Name the setting that breaks a relation, or the relation itself where no one setting is to blame."""
    role = next(iter(roles))
    without = _without_setting(frame, roles, given, counted)
    if without is not None:
        symbol, symbols = without
        return ShapeFault(SETTING, role, None, symbol, symbols.get(symbol))
    return ShapeFault(RELATION, role, None, broken, sentence=frame.kind.relations[broken])
