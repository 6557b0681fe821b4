"""`adapter-format schema`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from adapter_format.cli.status import FINE
from adapter_format.packaged import schema_names, schema_text
from adapter_format.report.terminal import encodable

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="such as adapter_config; without it, all names")


def run(arguments: argparse.Namespace) -> int:
    """Print one packaged file as it is stored, or the names of all."""
    text = schema_text(arguments.name) if arguments.name is not None else "\n".join(schema_names())
    sys.stdout.write(encodable(text.rstrip("\n"), sys.stdout) + "\n")
    return FINE
