"""`adapter-format inspect`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from adapter_format.cli.status import FINE, NOTHING_FOUND, say
from adapter_format.inspection import inspect
from adapter_format.reading import adapter_directory, is_adapter, shorten

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("path", metavar="PATH", help="an adapter, or one of its files")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def run(arguments: argparse.Namespace) -> int:
    """Show what is inside one adapter and return the exit status; defects are for `validate` to judge."""
    if not is_adapter(adapter_directory(arguments.path)):
        say(f"{shorten(arguments.path)} holds no adapter; `adapter-format validate` searches below it.")
        return NOTHING_FOUND
    inspection = inspect(arguments.path)
    if arguments.format == "json":
        from adapter_format.report.inspection import inspection_to_dict
        from adapter_format.report.json import dump

        print(dump(inspection_to_dict(inspection)))
        return FINE
    from adapter_format.report.inspection import inspection_lines
    from adapter_format.report.terminal import paper_for

    paper = paper_for(sys.stdout)
    paper.write(inspection_lines(inspection, paper.width))
    return FINE
