"""Ranks, alphas and layer numbers as different releases of PEFT find them from a module's path."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.pattern_budget import Budget
from adapter_format.patterns import (
    PatternError,
    PatternTooCostly,
    dotted_key_matches,
    layer_index,
    pattern_key_matches,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_STEPS = 2_000_000
_SPECIAL = frozenset("\\^$*+?{}[]|()\n")
_MATCHING: dict[str, Callable[[str, str, Budget | None], bool]] = {
    "dotted": dotted_key_matches,
    "regex": pattern_key_matches,
}
_NAMES_OF_LAYERS = ("layers", "h", "block", "blocks", "layer")


class Sizes(NamedTuple):
    """Rank and alpha of one module, as they stand in the config."""

    rank: Any
    alpha: Any


class Patterns(NamedTuple):
    """The fields that rank and alpha come from.

    Attributes:
        rank: rank of modules that no pattern names.
        alpha: their alpha.
        ranks: `rank_pattern`.
        alphas: `alpha_pattern`.
    """

    rank: Any
    alpha: Any
    ranks: Mapping[str, Any]
    alphas: Mapping[str, Any]


def sizes(patterns: Patterns, paths: Iterable[str], choice: str, matching: str) -> dict[str, Sizes] | None:
    """Return rank and alpha of every module.

    Args:
        patterns: the fields.
        paths: the module paths.
        choice: `each`: the first pattern for the rank, and the first for the alpha; `one`: the first of both is taken
            for both; `none`: patterns are not known.
        matching: `regex` or `dotted`.

    Returns:
        The sizes by path; None if that takes more time than there is.
    """
    budget = Budget(_STEPS)

    def first(keys: Iterable[str], path: str) -> str:
        # A pattern that is the whole path counts, whatever it means as an expression.
        return next((key for key in keys if _matches(matching, key, path, budget)), path)

    def of(path: str) -> Sizes:
        if choice == "none":
            return Sizes(patterns.rank, patterns.alpha)
        if choice == "one":
            key = first(chain(patterns.ranks, patterns.alphas), path)
            return Sizes(patterns.ranks.get(key, patterns.rank), patterns.alphas.get(key, patterns.alpha))
        return Sizes(
            patterns.ranks.get(first(patterns.ranks, path), patterns.rank),
            patterns.alphas.get(first(patterns.alphas, path), patterns.alpha),
        )

    try:
        return {path: of(path) for path in paths}
    except PatternTooCostly:
        return None


def _matches(matching: str, key: str, path: str, budget: Budget) -> bool:
    if _SPECIAL.isdisjoint(key):
        # A plain name: most patterns are, and thousands of them may stand in one config.
        start = len(path) - len(key)
        if start > 0:
            return path[start - 1] == "." and _same(key, path[start:])
        return start == 0 and matching == "regex" and _same(key, path)
    try:
        return _MATCHING[matching](key, path, budget)
    except PatternError:
        return False


def _same(key: str, tail: str) -> bool:
    """Whether a name is that of a pattern, in which a dot stands for any character."""
    return key == tail or all(mine in (".", its) for mine, its in zip(key, tail, strict=True))


def layer_number(path: str, names: tuple[str, ...], counts: str, budget: Budget | None = None) -> int | None:
    """Return the number that a release takes for that of the layer of a module; None if it finds none.

    Args:
        path: the module path.
        names: entries of `layers_pattern`; none for a missing field.
        counts: `first`, `last`, or `named` (the last behind one of the usual names of a list of layers).
        budget: what the matching of all modules may cost.

    Raises:
        PatternError: a name is no regular expression.
        PatternTooCostly: a name is no plain word, or matching it takes too long.
    """
    if counts == "first":
        found = (layer_index(path, name, budget) for name in names or (None,))
        return next((number for number in found if number is not None), None)
    if any(not name.isidentifier() for name in names):
        raise PatternTooCostly("a layers pattern that is no plain word is not followed in older releases")
    parts = path.split(".")
    if counts == "last":
        return _last(parts, lambda place: place > 1 and (not names or parts[place - 1] in names), len(parts) - 1)
    for name in names or _NAMES_OF_LAYERS:
        number = _last(parts, partial(_stands_behind, name, parts), len(parts))
        if number is not None:
            return number
    return None


def _stands_behind(name: str, parts: list[str], place: int) -> bool:
    """Whether a name ends in front of a place, with a character before it: a dot or any other."""
    return len(".".join(parts[:place])) > len(name) and parts[place - 1].endswith(name)


def _last(parts: list[str], fits: Callable[[int], bool], end: int) -> int | None:
    found = (place for place in range(end - 1, 0, -1) if parts[place].isdecimal() and fits(place))
    place = next(found, None)
    return None if place is None else int(parts[place])
