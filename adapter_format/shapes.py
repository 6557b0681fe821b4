"""Shape expressions: how a layout says what the dimensions of a tensor are.

A dimension is an expression (`r`, `r*experts`, `d_in/blocks`, `min(d_in, d_out)`) or, as the last one, a rest:
`*kernel` stands for any number of sizes, `*1` for as many ones, `*any` for sizes that follow no formula. Settling a
shape binds the symbols that are still free, so that the same expressions serve for checking, for reading ranks and
features, for counting and for generating.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.expressions import NoValueError, Scope, UnknownSymbolError, evaluate, names_in, solve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Symbols = dict[str, Any]
"""Sizes by symbol, and settings of the config that expressions speak of."""

REST = "..."
"""Among symbols: how many sizes a rest stands for, the same in all shapes of a kind."""

ANY = "any"
"""The rest that follows no formula."""


class Dimension(NamedTuple):
    """One dimension.

    Attributes:
        text: the expression; of a rest, what it stands for: a symbol, `1` or `any`.
        is_rest: whether it stands for any number of sizes.
    """

    text: str
    is_rest: bool = False


Shape = tuple[Dimension, ...]


class Mismatch(NamedTuple):
    """Why a stored shape does not fit.

    Attributes:
        axis: index of the dimension, or None when the number of dimensions is wrong.
        expected: the size or the text expected.
    """

    axis: int | None
    expected: str


def parse_shape(texts: Sequence[str]) -> Shape:
    """Read a shape from its texts in a layout."""
    return tuple(Dimension(text.removeprefix("*"), text.startswith("*")) for text in texts)


def format_shape(shape: Shape) -> str:
    """Write a shape as people read it, such as `[r*experts, d_in]`."""
    return f"[{', '.join(f'*{dimension.text}' if dimension.is_rest else dimension.text for dimension in shape)}]"


def is_free(shape: Shape) -> bool:
    """Whether a shape follows no formula."""
    return any(dimension.is_rest and dimension.text == ANY for dimension in shape)


def symbols_of(shape: Shape) -> frozenset[str]:
    """Return the symbols that a shape speaks of, that of a rest among them."""
    found = (names_in(dimension.text) for dimension in shape if dimension.text != ANY)
    return frozenset().union(*found)


def settle_rest(shape: Shape, sizes: tuple[int, ...], symbols: Symbols) -> Mismatch | None:
    """Match the number of dimensions and what a rest stands for; bind the length and the product of the rest.

    Returns:
        None if they fit, otherwise the mismatch.
    """
    rest = shape[-1] if shape and shape[-1].is_rest else None
    fixed = len(shape) - (rest is not None)
    if len(sizes) < fixed or (rest is None and len(sizes) != fixed):
        return Mismatch(None, dimensions_of(fixed) if rest is None else f"at least {dimensions_of(fixed)}")
    if rest is None or rest.text == ANY:
        return None
    tail = sizes[fixed:]
    if rest.text == "1" and any(size != 1 for size in tail):
        return Mismatch(fixed, "ones")
    if symbols.setdefault(REST, len(tail)) != len(tail):
        return Mismatch(None, dimensions_of(fixed + symbols[REST]))
    if rest.text != "1":
        product = 1
        for size in tail:
            product *= size
        if symbols.setdefault(rest.text, product) != product:
            return Mismatch(fixed, f"sizes whose product is {symbols[rest.text]}")
    return None


def dimensions_of(count: int) -> str:
    """Say `1 dimension` or `n dimensions`."""
    return f"{count} dimension" if count == 1 else f"{count} dimensions"


def settle_dimension(dimension: Dimension, size: int, symbols: Symbols, scope: Scope) -> str | None:
    """Match one stored size; bind the symbol that it settles, if there is just one.

    Args:
        dimension: the declared dimension, no rest.
        size: the stored one.
        symbols: where a symbol is bound.
        scope: gives the values of symbols; it reads `symbols`.

    Returns:
        None if the size fits or nothing can be said yet, otherwise what was expected instead.
    """
    try:
        known = evaluate(dimension.text, scope)
    except UnknownSymbolError:
        pass
    except NoValueError as error:
        return str(error)
    else:
        return None if known == size else str(known)
    try:
        found = solve(dimension.text, size, scope)
    except NoValueError as error:
        return str(error)
    if found.symbol:
        symbols[scope.rename(found.symbol)] = found.value
    return None


def may_have(shape: Shape, sizes: tuple[int, ...]) -> bool:
    """Whether a shape can have these sizes, whatever its symbols are elsewhere."""
    symbols: Symbols = {}
    scope = plain_scope(symbols)
    return settle_rest(shape, sizes, symbols) is None and all(
        dimension.is_rest or settle_dimension(dimension, size, symbols, scope) is None
        for dimension, size in zip(shape, sizes, strict=False)
    )


def shape_of(shape: Shape, scope: Scope, rest: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Compute the sizes of a shape from its symbols.

    Args:
        shape: the declared shape.
        scope: a value for every symbol of the shape.
        rest: what a rest such as `*kernel` stands for; for `*1` only its length counts.

    Raises:
        UnknownSymbolError: a symbol has no value.
        NoValueError: a dimension has no value for these symbols.
    """
    sizes: list[int] = []
    for dimension in shape:
        if dimension.is_rest:
            sizes += [1] * len(rest) if dimension.text == "1" else list(rest)
        else:
            sizes.append(evaluate(dimension.text, scope))
    return tuple(sizes)


def elements_of(shape: Shape, scope: Scope) -> int:
    """Count the elements of a shape; a rest counts as the symbol that carries its product.

    Raises:
        UnknownSymbolError: a symbol has no value.
        NoValueError: a dimension has no value for these symbols.
    """
    count = 1
    for dimension in shape:
        if not dimension.is_rest or dimension.text not in ("1", ANY):
            count *= evaluate(dimension.text, scope)
    return count


def plain_scope(symbols: Mapping[str, Any]) -> Scope:
    """Return a scope of symbols alone, with the named functions of the layouts."""
    from adapter_format.shape_functions import FUNCTIONS

    return Scope(symbols, FUNCTIONS)
