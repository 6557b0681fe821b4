"""Bounds on the work that `re` does for a pattern, found from its parse tree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from adapter_format.regex_parser import codes, parser

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["class_cost", "longest_within"]

_ENDLESS: Final = 10**9
_SHORTEST: Final = 32


def longest_within(tree: Any, steps: int, longest: int) -> tuple[int, int]:
    """The longest text for which `re` surely takes no more than `steps` steps of backtracking.

    Tries `longest`, its half, and so on. Returns the length and the bound of the steps for it; -1 and 0 when
    not even a text of 32 characters is sure. Only matches that begin at the start of the text are meant.
    """
    ignores_case = _ignores_case(tree)
    if _backtracking(tree, _SHORTEST, ignores_case)[1] > steps:
        return -1, 0
    length = longest
    while length >= _SHORTEST:
        bound = _backtracking(tree, length, ignores_case)[1]
        if bound <= steps:
            return length, bound
        length //= 2
    return -1, 0


def class_cost(tree: Any) -> int:
    """About how many microseconds `re` needs to compile the classes of characters, far more than it seems.

    A class with a member beyond U+00FF is made into a map of 65,536 characters; when case is ignored, every
    member of a range is looked at.
    """
    ignores_case = _ignores_case(tree)
    cost = 0
    for op, value in _items(tree):
        if op is not codes.IN:
            continue
        ranges = [item[1] for item in value if item[0] is codes.RANGE]
        highest = max([item[1] for item in value if item[0] is codes.LITERAL] + [end for _, end in ranges], default=0)
        if highest > 255:
            cost += 4000
        elif ignores_case:
            cost += sum(3 * (end - start + 1) for start, end in ranges)
    return cost


def _ignores_case(tree: Any) -> bool:
    scoped = (int(value[1]) for op, value in _items(tree) if op is codes.SUBPATTERN)
    return any(flags & re.IGNORECASE for flags in (int(tree.state.flags), *scoped))


def _items(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every operation of a parse tree with its value, at any depth."""
    todo = [tree]
    while todo:
        part = todo.pop()
        if isinstance(part, parser.SubPattern):
            for op, value in part.data:
                yield op, value
                todo.append(value)
        elif isinstance(part, (tuple, list)):
            todo.extend(part)


def _backtracking(tree: Any, length: int, ignores_case: bool) -> tuple[int, int]:
    """Upper bounds: in how many ways the tree matches a text of `length` from one place, and its steps."""
    ways = 1
    steps = 0
    for place, (op, value) in enumerate(tree.data):
        its_ways, its_steps = _item_backtracking(op, value, length, ignores_case)
        if its_ways > 1 and not ignores_case and _stops_at_next(tree, place):
            its_ways = 1
        steps = min(_ENDLESS, steps + ways * its_steps)
        ways = min(_ENDLESS, ways * its_ways)
        if steps >= _ENDLESS:
            return _ENDLESS, _ENDLESS
    return ways, steps + ways


def _item_backtracking(op: Any, value: Any, length: int, ignores_case: bool) -> tuple[int, int]:
    if op in (codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.AT, codes.FAILURE):
        return 1, 1
    if op is codes.IN:
        return 1, 1 + len(value) // 2
    if op is codes.BRANCH:
        bounds = [_backtracking(way, length, ignores_case) for way in value[1]]
        starts = ["" if ignores_case else _literal_start(way) for way in value[1]]
        return _most_together(starts, [ways for ways, _ in bounds]), 1 + sum(steps for _, steps in bounds)
    if op is codes.SUBPATTERN:
        return _backtracking(value[3], length, ignores_case)
    if op in (codes.ASSERT, codes.ASSERT_NOT):
        return 1, 1 + _backtracking(value[1], length, ignores_case)[1]
    if op in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        least, most, inner = value
        return _repeat_backtracking(least, most, inner, length, ignores_case)
    return _ENDLESS, _ENDLESS


def _repeat_backtracking(least: int, most: int, inner: Any, length: int, ignores_case: bool) -> tuple[int, int]:
    ways, steps = _backtracking(inner, length, ignores_case)
    width = int(inner.getwidth()[0])
    rounds = min(most, length // width + 1 if width else least + length + 1)
    if rounds >= _ENDLESS:
        return _ENDLESS, _ENDLESS
    if ways == 1:
        return max(1, rounds - least + 1), (rounds + 1) * (steps + 1)
    # `re` may try every way of every round with every way of the others.
    all_ways = power = 1
    for _ in range(rounds):
        power *= ways
        all_ways += power
        if all_ways >= _ENDLESS:
            return _ENDLESS, _ENDLESS
    return all_ways, min(_ENDLESS, all_ways * (steps + 1))


def _stops_at_next(tree: Any, place: int) -> bool:
    r"""Whether a character outside a repeated class follows it, as in `\d+\.`: then it has one end."""
    op, value = tree.data[place]
    if op not in (codes.MAX_REPEAT, codes.MIN_REPEAT) or place + 1 == len(tree.data):
        return False
    following, code = tree.data[place + 1]
    # Outside of printable ASCII a class may hold other characters under other flags.
    if following is not codes.LITERAL or not 32 <= code <= 126:
        return False
    inner = value[2].data
    return len(inner) == 1 and not _takes(inner[0], code)


def _takes(item: tuple[Any, Any], code: int) -> bool:
    """Whether an operation may take a character of printable ASCII."""
    op, value = item
    if op is codes.LITERAL:
        return bool(code == value)
    if op is codes.NOT_LITERAL:
        return bool(code != value)
    if op is codes.RANGE:
        return bool(value[0] <= code <= value[1])
    if op is codes.CATEGORY:
        word = chr(code).isalnum() or code == ord("_")
        members = {
            codes.CATEGORY_DIGIT: chr(code).isdigit(),
            codes.CATEGORY_NOT_DIGIT: not chr(code).isdigit(),
            codes.CATEGORY_SPACE: code == ord(" "),
            codes.CATEGORY_NOT_SPACE: code != ord(" "),
            codes.CATEGORY_WORD: word,
            codes.CATEGORY_NOT_WORD: not word,
        }
        return members.get(value, True)
    if op is codes.IN:
        if value[0][0] is codes.NEGATE:
            return not any(_takes(item, code) for item in value[1:])
        return any(_takes(item, code) for item in value)
    return True


def _literal_start(tree: Any) -> str:
    start = []
    for op, value in tree.data:
        if op is not codes.LITERAL:
            break
        start.append(chr(value))
    return "".join(start)


def _most_together(starts: list[str], ways: list[int]) -> int:
    """The most ways of alternatives that can match at one place: their literal starts begin one another."""
    most = 0
    open_starts: list[tuple[str, int]] = []
    for start, its_ways in sorted(zip(starts, ways, strict=True)):
        while open_starts and not start.startswith(open_starts[-1][0]):
            open_starts.pop()
        together = its_ways + (open_starts[-1][1] if open_starts else 0)
        open_starts.append((start, together))
        most = max(most, together)
    return min(_ENDLESS, most)
