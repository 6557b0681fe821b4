"""The command line. `main` is the entry point of `adapter-format` and of `python -m adapter_format`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: arguments without the program's name; None takes those of the process.
    """
    try:
        from adapter_format.cli.main import run

        return run(argv)
    except KeyboardInterrupt:
        # Also when it comes while modules are still being imported.
        from adapter_format.cli.status import INTERRUPTED, say

        say("Interrupted.")
        return INTERRUPTED
