"""Shape expressions: how a layout says what the dimensions of a tensor are.

A dimension is an atom (`r`, `d_in`, `1`), a product (`r*experts`), a quotient (`r/groups`) or, as the last one, a rest:
`*kernel` stands for any number of sizes, `*1` for as many ones. Matching binds the symbols that are still free,
so that the same expressions serve for checking, for reading ranks and features, for counting and for generating.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Symbols = dict[str, int]

REST = "..."
"""Among symbols: how many sizes a rest stands for, the same in all shapes of a kind."""


class Dimension(NamedTuple):
    """One dimension: `operator` is `=` for an atom, `*` or `/` for two atoms, `...` for a rest."""

    operator: str
    left: str
    right: str = ""


Shape = tuple[Dimension, ...]


class Mismatch(NamedTuple):
    """Why a stored shape does not fit.

    Attributes:
        axis: index of the dimension, or None when the number of dimensions is wrong.
        symbol: the symbol whose value the dimension contradicts, or "" if it contradicts none.
        expected: the size or the text expected.
    """

    axis: int | None
    symbol: str
    expected: str


def parse_shape(texts: list[str] | tuple[str, ...]) -> Shape:
    """Read a shape from its texts in a layout."""
    return tuple(_parse_dimension(text) for text in texts)


def _parse_dimension(text: str) -> Dimension:
    if text.startswith("*"):
        return Dimension("...", text[1:])
    for operator in "*/":
        left, found, right = text.partition(operator)
        if found:
            return Dimension(operator, left, right)
    return Dimension("=", text)


def format_shape(shape: Shape) -> str:
    """Write a shape as people read it, such as `[r*experts, d_in]`."""
    parts = (
        f"*{d.left}" if d.operator == "..." else d.left if d.operator == "=" else f"{d.left}{d.operator}{d.right}"
        for d in shape
    )
    return f"[{', '.join(parts)}]"


def match_shape(shape: Shape, sizes: tuple[int, ...], symbols: Symbols) -> Mismatch | None:
    """Match stored sizes against a shape; bind free symbols in `symbols`.

    Args:
        shape: the declared shape.
        sizes: the stored dimensions.
        symbols: known values; symbols bound by the match are added.

    Returns:
        None if the sizes fit, otherwise the first mismatch.
    """
    rest = shape[-1] if shape and shape[-1].operator == "..." else None
    fixed = shape[:-1] if rest else shape
    if len(sizes) < len(fixed) or (rest is None and len(sizes) != len(fixed)):
        return Mismatch(None, "", f"{len(fixed)} dimensions" if rest is None else f"at least {len(fixed)} dimensions")
    for axis, (dimension, size) in enumerate(zip(fixed, sizes, strict=False)):
        mismatch = _match_dimension(axis, dimension, size, symbols)
        if mismatch:
            return mismatch
    if rest is not None:
        tail = sizes[len(fixed) :]
        if rest.left == "1" and any(size != 1 for size in tail):
            return Mismatch(len(fixed), "", "ones")
        if rest.left != "any" and symbols.setdefault(REST, len(tail)) != len(tail):
            return Mismatch(None, "", f"{len(fixed) + symbols[REST]} dimensions")
        if rest.left not in ("1", "any"):
            product = 1
            for size in tail:
                product *= size
            symbols.setdefault(rest.left, product)
    return None


def _match_dimension(axis: int, dimension: Dimension, size: int, symbols: Symbols) -> Mismatch | None:
    left = _value(dimension.left, symbols)
    if dimension.operator == "=":
        if left is None:
            symbols[dimension.left] = size
        elif left != size:
            return Mismatch(axis, dimension.left, str(left))
        return None
    right = _value(dimension.right, symbols)
    if dimension.operator == "*":
        return _match_product(axis, dimension, size, (left, right), symbols)
    return _match_quotient(axis, dimension, size, (left, right), symbols)


def _match_product(
    axis: int, dimension: Dimension, size: int, values: tuple[int | None, int | None], symbols: Symbols
) -> Mismatch | None:
    left, right = values
    if left is not None and right is not None:
        return None if left * right == size else Mismatch(axis, dimension.left, str(left * right))
    if left is None:
        return None
    if left == 0 or size % left:
        return Mismatch(axis, dimension.left, f"a multiple of {left}")
    symbols[dimension.right] = size // left
    return None


def _match_quotient(
    axis: int, dimension: Dimension, size: int, values: tuple[int | None, int | None], symbols: Symbols
) -> Mismatch | None:
    left, right = values
    if left is not None and right is not None:
        fits = right != 0 and left % right == 0 and left // right == size
        return None if fits else Mismatch(axis, dimension.left, f"{left}/{right}")
    if left is not None:
        if size == 0 or left % size:
            return Mismatch(axis, dimension.left, f"a divisor of {left}")
        symbols[dimension.right] = left // size
    elif right is not None:
        symbols[dimension.left] = size * right
    return None


def _value(atom: str, symbols: Mapping[str, int]) -> int | None:
    return int(atom) if atom.isdigit() else symbols.get(atom)


def shape_of(shape: Shape, symbols: Mapping[str, int], rest: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Compute the sizes of a shape from its symbols.

    Args:
        shape: the declared shape.
        symbols: a value for every symbol of the shape.
        rest: what a rest such as `*kernel` stands for; for `*1` only its length counts.

    Raises:
        KeyError: a symbol has no value.
    """
    sizes: list[int] = []
    for dimension in shape:
        if dimension.operator == "...":
            sizes += [1] * len(rest) if dimension.left == "1" else list(rest)
            continue
        left = _known(dimension.left, symbols)
        if dimension.operator == "*":
            left *= _known(dimension.right, symbols)
        elif dimension.operator == "/":
            left //= _known(dimension.right, symbols)
        sizes.append(left)
    return tuple(sizes)


def elements_of(shape: Shape, symbols: Mapping[str, int]) -> int:
    """Count the elements of a shape; a rest counts as the symbol that carries its product."""
    count = 1
    for dimension in shape:
        if dimension.operator == "...":
            count *= symbols.get(dimension.left, 1)
            continue
        factor = _known(dimension.left, symbols)
        if dimension.operator == "*":
            factor *= _known(dimension.right, symbols)
        elif dimension.operator == "/":
            factor //= _known(dimension.right, symbols)
        count *= factor
    return count


def _known(atom: str, symbols: Mapping[str, int]) -> int:
    value = _value(atom, symbols)
    if value is None:
        raise KeyError(atom)
    return value
