"""Where lines go: to a terminal in its width and, if it may be, in colour; to anything else as plain text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, TextIO

from adapter_format.report.page import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from adapter_format.report.page import Line

STYLES = {
    "": "",
    "ok": "bold green",
    "error": "bold red",
    "warning": "yellow",
    "info": "cyan",
    "strong": "bold",
    "dim": "dim",
    "good": "green",
    "bad": "red",
}
"""What each style of a span looks like, in the words of `rich`."""

_PIPE_WIDTH = 100
_NARROWEST, _WIDEST = 40, 120


class Paper(NamedTuple):
    """What lines are written on.

    Attributes:
        width: columns that paragraphs should fill at most.
        write: writes lines.
    """

    width: int
    write: Callable[[Iterable[Line]], None]


def paper_for(stream: TextIO, *, beyond_terminals: int = _PIPE_WIDTH) -> Paper:
    """Choose width and colour for a stream.

    Colour needs a terminal that is not dumb, and no `NO_COLOR` in the environment. Lines longer than 120 columns are
    hard to read, so that wider terminals are not filled. `COLUMNS` decides for streams that are no terminal.

    Args:
        stream: where to write.
        beyond_terminals: width for streams that are no terminal, if `COLUMNS` does not say.
    """
    if not is_terminal(stream):
        width = max(_declared_width() or beyond_terminals, _NARROWEST)
        return Paper(width, lambda lines: _write_plain(stream, lines))
    width = min(max(_terminal_width(stream), _NARROWEST), _WIDEST)
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return Paper(width, lambda lines: _write_plain(stream, lines))
    return Paper(width, _colour_writer(stream))


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; a missing or closed one is none."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def encodable(text: str, stream: TextIO) -> str:
    """Replace what the encoding of a stream does not have, such as an accent in a plain C locale."""
    if text.isascii():
        return text
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _write_plain(stream: TextIO, lines: Iterable[Line]) -> None:
    stream.write(encodable(plain(lines), stream))


def _colour_writer(stream: TextIO) -> Callable[[Iterable[Line]], None]:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def write(lines: Iterable[Line]) -> None:
        for spans in lines:
            text = Text(end="\n")
            for span in spans:
                text.append(encodable(span.text, stream), STYLES[span.style] or None)
            text.rstrip()
            console.print(text)

    return write


def _terminal_width(stream: TextIO) -> int:
    declared = _declared_width()
    if declared:
        return declared
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _declared_width() -> int:
    text = os.environ.get("COLUMNS", "")
    return int(text) if text.isdecimal() and len(text) < 6 else 0
