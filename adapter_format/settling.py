"""Settling one unit: do the stored shapes of a module fit its kind and the config, and which sizes follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.expressions import (
    NoValueError,
    Scope,
    UnknownSymbolError,
    evaluate,
    names_in,
    sides,
    solve,
)
from adapter_format.layouts import index_of, instance_of, role_name
from adapter_format.shape_functions import FUNCTIONS
from adapter_format.shapes import REST, Mismatch, Symbols, settle_dimension, settle_rest, symbols_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from adapter_format.layouts import Kind, Layout
    from adapter_format.tensors import TensorInfo

Roles = dict[str, "TensorInfo"]

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

_MOST_NUMBERS = 100_000
"""Numbered tensors of one unit that are planned, more than any file may have keys."""

RANK = "r"
"""How every layout calls the rank."""


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


class Owners:
    """The symbols of the modules that share a tensor; what an expression has in all of them is computed once."""

    __slots__ = ("_known", "_symbols")

    def __init__(self, symbols: Sequence[Symbols]) -> None:
        self._symbols = symbols
        self._known: dict[str, list[Any]] = {}

    def values(self, what: str) -> list[Any]:
        """Return the value of an expression in each module; UnknownSymbolError if one lacks it, or there is none."""
        found = self._known.get(what)
        if found is None:
            if not self._symbols:
                raise UnknownSymbolError(what)
            found = self._known[what] = self._computed(what)
        return found

    def _computed(self, what: str) -> list[Any]:
        if what.isidentifier() and all(what in symbols for symbols in self._symbols):
            return [symbols[what] for symbols in self._symbols]
        return [evaluate(what, Scope(symbols, FUNCTIONS)) for symbols in self._symbols]


NOBODY = Owners(())


class Frame(NamedTuple):
    """What a unit is settled within.

    Attributes:
        layout: the method.
        kind: its kind, with the shapes that the config chooses.
        owners: the modules that a tensor of several modules belongs to.
    """

    layout: Layout
    kind: Kind
    owners: Owners = NOBODY

    def scope(self, symbols: Symbols, index: str = "") -> Scope:
        """Return the scope in which expressions of the unit, or of one of its numbered tensors, are computed."""
        indexed = self.kind.indexed

        def rename(name: str) -> str:
            return instance_of(name, index) if index and name in indexed else name

        def over(units: str, what: str) -> list[Any]:
            if units == "modules":
                return self.owners.values(what)
            return [evaluate(what, self.scope(symbols, number)) for number in _numbers(symbols, units)]

        return Scope(symbols, FUNCTIONS, over, rename)


_NUMBERS = "numbers of "


def _numbers(symbols: Symbols, count: str) -> tuple[str, ...]:
    """Return the numbers of the tensors that a symbol counts."""
    if _NUMBERS + count not in symbols:
        raise UnknownSymbolError(count)
    return numbers_of(symbols, count)


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


def numbered(counted_as: str, numbers: Sequence[str]) -> Symbols:
    """Return the symbols that say which numbered tensors there are."""
    return {counted_as: len(numbers), _NUMBERS + counted_as: tuple(numbers)}


def settle_shapes(frame: Frame, roles: Roles, symbols: Symbols) -> tuple[str, Mismatch] | None:
    """Match stored shapes and the relations between their sizes; bind free symbols in `symbols`.

    Returns:
        None if the sizes fit, otherwise the role and the first mismatch.
    """
    shapes = [(name, frame.kind.shapes[role_name(name)], info.shape) for name, info in roles.items()]
    for name, shape, sizes in shapes:
        mismatch = settle_rest(shape, sizes, symbols)
        if mismatch is not None:
            return name, mismatch
    while True:
        before = len(symbols)
        for name, shape, sizes in shapes:
            scope = frame.scope(symbols, index_of(name))
            for axis, (dimension, size) in enumerate(zip(shape, sizes, strict=False)):
                if dimension.is_rest:
                    break
                expected = settle_dimension(dimension, size, symbols, scope)
                if expected is not None:
                    return name, Mismatch(axis, expected)
        for text in frame.kind.relations:
            if not _is_bound(frame, text, symbols):
                for scope in _scopes(frame, text, symbols):
                    _bind(text, symbols, scope)
        if len(symbols) == before:
            return None


def _scopes(frame: Frame, relation: str, symbols: Symbols) -> Iterable[Scope]:
    """Return the scopes in which a relation holds: of the unit, or of each of the numbered tensors that it is about."""
    if frame.kind.indexed.isdisjoint(names_in(relation)):
        return (frame.scope(symbols),)
    numbers = {number: None for key, found in symbols.items() if key.startswith(_NUMBERS) for number in found}
    return [frame.scope(symbols, number) for number in numbers]


def _is_bound(frame: Frame, relation: str, symbols: Symbols) -> bool:
    """Whether a relation has no free symbol left."""
    names = names_in(relation)
    return frame.kind.indexed.isdisjoint(names) and names <= symbols.keys()


def _bind(text: str, symbols: Symbols, scope: Scope) -> None:
    """Bind the one free symbol of an equation, if it has just one."""
    both = sides(text)
    if both is None:
        return
    for known, other in (both, both[::-1]):
        try:
            value = evaluate(known, scope)
            found = solve(other, value, scope)
        except (UnknownSymbolError, NoValueError):
            continue
        if found.symbol and scope.rename(found.symbol) not in symbols:
            symbols[scope.rename(found.symbol)] = found.value
            return


def broken_relations(frame: Frame, symbols: Symbols) -> Iterator[str]:
    """Yield the relations of a kind that do not hold; those that can't be told are left out."""
    for text in frame.kind.relations:
        for scope in _scopes(frame, text, symbols):
            try:
                holds = evaluate(text, scope)
            except UnknownSymbolError:
                holds = not _is_contradiction(text, scope)
            except NoValueError:
                holds = False
            if not holds:
                yield text
                break


def _is_contradiction(text: str, scope: Scope) -> bool:
    """Whether an equation can't hold, whatever its unknown symbol is."""
    both = sides(text)
    return both is not None and (_can_not_be(*both, scope) or _can_not_be(*both[::-1], scope))


def _can_not_be(known: str, other: str, scope: Scope) -> bool:
    try:
        solve(other, evaluate(known, scope), scope)
    except UnknownSymbolError:
        return False
    except NoValueError:
        return True
    return False


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


def complete(frame: Frame, symbols: Mapping[str, Any], wanted: Callable[[str], bool]) -> Symbols | None:
    """Settle the sizes of a unit that is not stored yet, from its features and its settings.

    Args:
        frame: method and kind.
        symbols: features of the base layer and settings; of numbered tensors, what can't be computed.
        wanted: whether a role is to be stored.

    Returns:
        All symbols that can be known, or None if the kind's relations do not hold for them.
    """
    found: Symbols = dict(symbols)
    settle_shapes(frame, {}, found)
    for role in map(frame.layout.roles.__getitem__, frame.kind.shapes):
        if not role.counted_as or not wanted(role.name) or type(found.get(role.counted_as)) is not int:
            continue
        try:
            step = evaluate(role.step, frame.scope(found))
        except (UnknownSymbolError, NoValueError):
            return None
        if found[role.counted_as] > _MOST_NUMBERS:
            return None
        numbers = tuple(str(number * step) for number in range(found[role.counted_as]))
        found.update(numbered(role.counted_as, numbers))
        for at, number in enumerate(numbers):
            found[instance_of("index", number)] = at
    settle_shapes(frame, {}, found)
    return None if any(broken_relations(frame, found)) else found


def numbers_of(symbols: Symbols, count: str) -> tuple[str, ...]:
    """Return the numbers of the tensors that a symbol counts; none if they are not known."""
    found: tuple[str, ...] = symbols.get(_NUMBERS + count, ())
    return found
