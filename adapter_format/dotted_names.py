"""Patterns that are plain names with dots: what `re` would say of them, without `re`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PATTERN: Final = 8192
"""Longest pattern, in characters, that is compiled."""
_SPECIAL: Final = frozenset(r"\^$*+?{}[]|()")  # and the dot


def is_dotted(pattern: str) -> bool:
    """Whether no character of `pattern` means something to `re`, but for dots."""
    return len(pattern) <= MAX_PATTERN and _SPECIAL.isdisjoint(pattern)


def same(pattern: str, text: str) -> bool:
    """Whether `text` is `pattern` with each dot replaced by any one character of a line."""
    if pattern == text:
        return True
    return len(pattern) == len(text) and all(
        mine == its or (mine == "." and its != "\n") for mine, its in zip(pattern, text, strict=True)
    )


def starts(path: str) -> Iterator[int]:
    r"""Where what remains of `path` after `(.*\.)?` may begin; a long path has too many tails to cut each out."""
    yield 0
    line = path.find("\n")
    dot = path.find(".")
    while dot >= 0 and (line < 0 or dot < line):
        yield dot + 1
        dot = path.find(".", dot + 1)


def ends(path: str) -> tuple[int, ...]:
    """The places that `$` takes for the end of `path`."""
    return (len(path), len(path) - 1) if path.endswith("\n") else (len(path),)


def is_tail(pattern: str, path: str, *, behind_dot: bool = False) -> bool:
    r"""Whether a dotted pattern is what remains of `path` after `(.*\.)?`, or after `.*\.`, and before `$`."""
    for end in ends(path):
        start = end - len(pattern)
        begins = not behind_dot if start == 0 else start > 0 and path[start - 1] == "." and "\n" not in path[:start]
        if begins and same(pattern, path[start:end]):
            return True
    return False


def index_behind(name: str, path: str) -> int | None:
    r"""The group of `(?:^|.*?\.)name\.(\d+)\.` in a path of one line, for a name without dots."""
    if f"{name}." not in path:
        return None
    parts = path.split(".")
    places = (place for place in range(len(parts) - 2) if parts[place] == name and parts[place + 1].isdecimal())
    return next((int(parts[place + 1]) for place in places), None)
