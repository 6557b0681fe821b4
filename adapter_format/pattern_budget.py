"""How much work the patterns of an untrusted file may cause."""

from __future__ import annotations

from typing import Final

from adapter_format.errors import AdapterFormatError

__all__ = ["MAX_STEPS", "MAX_SUBJECT", "Budget", "PatternTooCostly"]

MAX_SUBJECT: Final = 1024
"""Longest text, in characters, that a pattern is matched against."""
MAX_STEPS: Final = 60_000
"""Largest number of automaton nodes visited in one match."""


class PatternTooCostly(AdapterFormatError, ValueError):
    """The pattern can't be matched within the bounds, so it is not known whether it matches."""


class Budget:
    """Steps that are left for many matches together, such as all those of one adapter.

    What a match costs depends on the pattern and the text alone, not on what was matched before, so the same
    adapter always gets the same answer. A step takes about a fifth of a microsecond at worst.
    """

    __slots__ = ("left",)

    def __init__(self, steps: int) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Take `steps` off; raises PatternTooCostly when they are not left."""
        self.left -= steps
        if self.left < 0:
            raise PatternTooCostly("matching the pattern takes more steps than are allowed")
