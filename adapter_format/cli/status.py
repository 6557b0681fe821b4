"""Exit status and messages: what every command has in common."""

from __future__ import annotations

import sys

from adapter_format.report.escape import escape

FINE = 0
"""No error-level finding."""
FINDINGS = 1
"""At least one error-level finding; with `--strict`, a warning too."""
NOT_CARRIED_OUT = 2
"""The command could not be carried out."""
NOTHING_FOUND = 3
"""There was nothing to check."""
INTERRUPTED = 130
"""Ctrl-C, as shells count it."""

PROGRAM = "adapter-format"


def say(sentence: str) -> None:
    """Write one line to standard error, if there is one."""
    if sys.stderr is None:
        return
    try:
        print(f"{PROGRAM}: {escape(sentence)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        # Nobody is left to tell: the exit status alone must do.
        return
