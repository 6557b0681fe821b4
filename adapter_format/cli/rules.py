"""`adapter-format rules`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from adapter_format.cli.status import FINE
from adapter_format.report.rules import rule_table, rules_to_dict
from adapter_format.rules.registry import all_rules

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def run(arguments: argparse.Namespace) -> int:
    """List all rules."""
    if arguments.format == "json":
        from adapter_format.report.json import dump

        print(dump(rules_to_dict(all_rules())))
        return FINE
    from adapter_format.report.terminal import paper_for

    # One line a rule in a pipe, for grep.
    paper = paper_for(sys.stdout, beyond_terminals=1000)
    paper.write(rule_table(all_rules(), paper.width))
    return FINE
