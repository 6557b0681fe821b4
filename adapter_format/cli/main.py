"""The parser, the choice of the command, and what becomes of errors.

Exit status: 0 no error-level finding, 1 at least one, 2 the command could not be carried out, 3 there was nothing to
check, 130 interrupted. When the reader of standard output goes away (`adapter-format ... | head`), the command ends
without a message and with 2: its report was not delivered in full, so it must not pass for a clean one.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from adapter_format._version import __version__
from adapter_format.cli.status import FINE, NOT_CARRIED_OUT, PROGRAM, say
from adapter_format.errors import AdapterFormatError
from adapter_format.report.escape import elide

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "validate": "judge adapters",
    "inspect": "show what is inside an adapter",
    "fix": "mend an adapter: fit its config to an older release",
    "explain": "explain a rule: why, an example, the mend",
    "rules": "list all rules",
    "size": "predict parameters and bytes before training",
    "schema": "print a packaged schema",
}
"""Every command has a module of its name beside this one, with `add_arguments` and `run`."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        hint = f"`{self.prog} --help` lists what there is."
        say(f"{elide(message, 500).rstrip('.')}. {hint}")
        raise SystemExit(NOT_CARRIED_OUT)


def run(argv: Sequence[str] | None = None) -> int:
    """Carry out one command and return its exit status.

    Args:
        argv: arguments without the program's name; None takes those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _carry_out(arguments)
    except BrokenPipeError:
        _drop_output()
        return NOT_CARRIED_OUT
    except AdapterFormatError as error:
        say(str(error))
    except OSError as error:
        where = f" {error.filename!r}" if error.filename else ""
        say(f"The operating system refused{where}: {error.strerror or error}.")
        _drop_output()
    except MemoryError:
        say("There is not enough memory.")
    return NOT_CARRIED_OUT


def _carry_out(arguments: list[str]) -> int:
    if sys.stdout is None:
        say("Standard output is closed: there is nowhere to write the report to.")
        return NOT_CARRIED_OUT
    parser = _parser(arguments)
    try:
        chosen = parser.parse_args(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else FINE
    else:
        status = _run_command(chosen, parser)
    # What the operating system refuses must come up here, not when the interpreter ends.
    sys.stdout.flush()
    return status


def _run_command(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if chosen.command is None:
        parser.print_help()
        return NOT_CARRIED_OUT
    status: int = import_module(f"adapter_format.cli.{chosen.command}").run(chosen)
    return status


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser; only the command that is wanted gets its arguments, so that only its module is imported."""
    parser = _Parser(
        prog=PROGRAM,
        description="Validator of PEFT adapter checkpoints.",
        epilog="Exit status: 0 no error found, 1 at least one, 2 the command could not be carried out, "
        "3 there was nothing to check.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog=PROGRAM)
    wanted = next((text for text in arguments if not text.startswith("-")), "")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary.capitalize()}.", allow_abbrev=False)
        if name == wanted:
            import_module(f"adapter_format.cli.{name}").add_arguments(command)
    return parser


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not complain of it at its end."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return
