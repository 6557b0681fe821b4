"""How the sizes of a unit, a module or a set of shared tensors, follow from shapes, settings and relations."""

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
from adapter_format.shapes import Mismatch, Symbols, settle_dimension, settle_rest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from adapter_format.layouts import Kind, Layout
    from adapter_format.tensors import TensorInfo

Roles = dict[str, "TensorInfo"]

_MOST_NUMBERS = 100_000
"""Numbered tensors of one unit that are planned at the most; of real adapters, none has a thousand."""
RANK = "r"
"""How every layout calls the rank."""


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
