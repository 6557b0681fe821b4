"""The named functions of the layouts: shapes and counts that arithmetic alone can't say. All of them stand here.

Each repeats, from its description, what PEFT 0.21.2 computes when it builds a module; the tuner named is the one that
needs it.
"""

from __future__ import annotations

import functools
import math

from adapter_format.expressions import Function

_MOST_STEPS = 1 << 15
"""Candidates that are tried in the search for a divisor: enough for sizes of a billion, over in some milliseconds."""


def triangle(size: int) -> int:
    """Elements above the diagonal of a square matrix of that size (skew-symmetric generators of rotations)."""
    return size * (size - 1) // 2


def size_of_triangle(elements: int) -> int | None:
    """Return the size of the matrix with so many elements above its diagonal; None if there is none."""
    size = (1 + math.isqrt(1 + 8 * max(elements, 0))) // 2
    return size if triangle(size) == elements else None


def quotient_up(left: int, right: int) -> int:
    """Divide and round up."""
    return -(-left // right)


@functools.lru_cache(maxsize=4096)
def _largest_divisor(number: int, most: int) -> int:
    """Return the largest divisor of a number that is not above `most`; ValueError where that takes too long."""
    if most > _MOST_STEPS:
        raise ValueError(f"{number} is too large to look for its divisors")
    return next((candidate for candidate in range(min(most, number), 1, -1) if number % candidate == 0), 1)


def nearest_divisor(number: int, wanted: int) -> int:
    """Return `wanted` if it divides `number`, else the nearest divisor, the lower of two equally near (OFT).

    Raises:
        ValueError: the number is too large to look for its divisors.
    """
    if wanted >= number:
        return number
    lower = _largest_divisor(number, wanted)
    higher = number // _largest_divisor(number, number // max(wanted, 1))
    return lower if wanted - lower <= higher - wanted else higher


def smaller_factor(number: int, factor: int) -> int:
    """Return the first of the two factors that a Kronecker product splits a size into (LoKr).

    `factor`, where it divides the size, is taken as it stands and may then be the larger one; -1 asks for factors that
    are as near to each other as can be, any other number bounds the search.

    Raises:
        ValueError: the number is too large to look for its divisors.
    """
    if factor > 0 and number % factor == 0:
        return factor
    root = math.isqrt(number)
    small = _largest_divisor(number, root)
    return small if factor == -1 or number // small <= factor else _largest_divisor(number, min(factor, root))


def share(size: int, fraction: float) -> int:
    """Return the part of a size that a fraction gives, cut off to a whole number."""
    return int(size * fraction)


def fraction_or_count(setting: float | None, size: int) -> int:
    """Read a setting that is a count, a fraction of a size if it is written as one, or half of it if null (OSF)."""
    if setting is None:
        return size // 2
    if isinstance(setting, float) and 0 < setting <= 1:
        return min(max(int(size * setting), 0), size)
    return min(max(int(setting), 0), size)


def half_even(number: float) -> int:
    """Round to the nearest whole number, a half to the even one."""
    return round(number)


def category(path: str) -> str:
    """Name the category of a module: the modules of one category share a projection (FRoD).

    It is the last part of the path, with the part before it unless that is a number; the output of an attention block
    has a name of its own.
    """
    before, _, leaf = path.rpartition(".")
    parent = before.rpartition(".")[2]
    if f".{path}".endswith(".attention.output.dense"):
        return "attention_output"
    return leaf if not parent or parent.isdigit() else f"{parent}_{leaf}"


FUNCTIONS = {
    "min": Function(min),
    "max": Function(max),
    "triangle": Function(triangle, size_of_triangle),
    "quotient_up": Function(quotient_up),
    "nearest_divisor": Function(nearest_divisor),
    "smaller_factor": Function(smaller_factor),
    "share": Function(share),
    "fraction_or_count": Function(fraction_or_count),
    "half_even": Function(half_even),
}
"""Every function that an expression of a layout may call."""
