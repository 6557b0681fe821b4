"""Setting of text: spans of styled text become lines of a given width.

Nothing here writes or knows a terminal. Every text that enters a line is escaped on the way, so that no report can
forget to do so.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from adapter_format.report.escape import elide, escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LONGEST_WORD = 240
"""Characters of one word that are shown; a hostile name may have millions."""
LONGEST_TEXT = 4000
"""Characters of one span that are shown."""


class Span(NamedTuple):
    """A piece of text in one style.

    Attributes:
        text: any text; it is escaped when it is set.
        style: name of a style of `terminal.STYLES`, "" for none.
    """

    text: str
    style: str = ""


Line = tuple[Span, ...]
BLANK: Line = ()


def line(*parts: Span | str) -> Line:
    """Set one line as it is."""
    return tuple(_clean(part) for part in parts)


def _clean(part: Span | str) -> Span:
    text, style = (part, "") if isinstance(part, str) else part
    return Span(escape(_shorten(text)), style)


def _shorten(text: str) -> str:
    if len(text) <= LONGEST_WORD:
        return text
    return elide(" ".join(elide(word, LONGEST_WORD) for word in text.split(" ")), LONGEST_TEXT)


def wrap(parts: Iterable[Span | str], width: int, indent: int = 0, label: Span | str = "") -> Iterator[Line]:
    """Break a paragraph into lines.

    Words are never broken: a tensor name longer than the line stays whole, so that it can be searched and copied.

    Args:
        parts: the paragraph; words are parted by spaces only.
        width: columns of the page.
        indent: columns in front of every line.
        label: stands in the indent of the first line, at its end.
    """
    head = _clean(label)
    lead = [Span(" " * (indent - columns(head.text))), head] if head.text else [Span(" " * indent)]
    current: list[Span] = []
    used = 0
    for word in _words(parts):
        length = sum(columns(piece.text) for piece in word)
        if current and indent + used + 1 + length > width:
            yield _merged([*lead, *current])
            lead, current, used = [Span(" " * indent)], [], 0
        if current:
            current.append(Span(" ", word[0].style if word[0].style == current[-1].style else ""))
            used += 1
        current += word
        used += length
    if current or head.text:
        yield _merged([*lead, *current])


def _merged(spans: Iterable[Span]) -> Line:
    """Join neighbours of one style, so that a terminal is not told the same style for each word."""
    merged: list[Span] = []
    for span in spans:
        if merged and merged[-1].style == span.style:
            merged[-1] = Span(merged[-1].text + span.text, span.style)
        elif span.text:
            merged.append(span)
    return tuple(merged)


def _words(parts: Iterable[Span | str]) -> Iterator[list[Span]]:
    word: list[Span] = []
    for part in parts:
        span = _clean(part)
        for index, piece in enumerate(span.text.split(" ")):
            if index and word:
                yield word
                word = []
            if piece:
                word.append(Span(piece, span.style))
    if word:
        yield word


def table(header: Sequence[str], rows: Iterable[Sequence[Span | str]], width: int, numeric: str = "") -> Iterator[Line]:
    """Set a table whose last column may be long.

    Where the last column fits nowhere beside the others, it goes on a line of its own below them.

    Args:
        header: titles of the columns.
        rows: cells by row.
        width: columns of the page.
        numeric: a letter a column, `r` for those that are set to the right.
    """
    cells = [[_clean(cell) for cell in row] for row in rows]
    *fixed, last = header
    widths = [max([len(title), *(columns(row[index].text) for row in cells)]) for index, title in enumerate(fixed)]
    taken = sum(widths) + 2 * len(widths)
    longest = max((columns(row[-1].text) for row in cells), default=0)
    beside = taken + longest <= width or taken + 36 <= width
    titles = [
        _pad(Span(title, "dim"), size, numeric[i : i + 1])
        for i, (title, size) in enumerate(zip(fixed, widths, strict=True))
    ]
    yield (*_joined(titles), Span(last, "dim")) if beside else tuple(_joined(titles)[:-1])
    for row in cells:
        padded = [
            _pad(cell, size, numeric[i : i + 1]) for i, (cell, size) in enumerate(zip(row[:-1], widths, strict=True))
        ]
        if not beside:
            yield tuple(_joined(padded)[:-1])
            yield from wrap([row[-1]], width, indent=4)
            continue
        first, *below = list(wrap([row[-1]], width - taken)) or [BLANK]
        yield (*_joined(padded), *first)
        yield from ((Span(" " * taken), *spans) for spans in below)


def _joined(cells: Iterable[tuple[Span, ...]]) -> list[Span]:
    return [span for cell in cells for span in (*cell, Span("  "))]


def _pad(cell: Span, width: int, side: str) -> tuple[Span, ...]:
    blank = Span(" " * (width - columns(cell.text)))
    return (blank, cell) if side == "r" else (cell, blank)


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def plain(lines: Iterable[Line]) -> str:
    """Return lines as text without styles."""
    return "".join("".join(span.text for span in row).rstrip(" ") + "\n" for row in lines)
