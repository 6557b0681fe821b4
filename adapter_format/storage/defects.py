"""What the storage layer notices; the rules decide what it means."""

from __future__ import annotations

from typing import NamedTuple


class Defect(NamedTuple):
    """One thing that is wrong with a container, named by kind.

    Attributes:
        kind: kebab-case name; the rule with the same slug judges it.
        message: one sentence: what was found and what was expected.
        tensor: the key concerned, if any.
        pointer: JSON pointer into the header or the config, if any.
        offset: absolute byte offset in the file, if any.
        line: line in a text file, counted from 1, if any.
    """

    kind: str
    message: str
    tensor: str | None = None
    pointer: str | None = None
    offset: int | None = None
    line: int | None = None
