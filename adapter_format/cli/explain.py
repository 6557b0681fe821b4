"""`adapter-format explain`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from adapter_format.cli.status import FINE
from adapter_format.report.rules import Explanation, explanation_lines, explanation_to_dict
from adapter_format.rules.edit_pair import pair
from adapter_format.rules.registry import find_rule

if TYPE_CHECKING:
    import argparse

    from adapter_format.rules.rule import Rule


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("rule", metavar="RULE", help="id or name, such as AF301 or key-prefix-missing")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def run(arguments: argparse.Namespace) -> int:
    """Explain one rule."""
    explanation = _explain(find_rule(arguments.rule))
    if arguments.format == "json":
        from adapter_format.report.json import dump

        print(dump(explanation_to_dict(explanation)))
        return FINE
    from adapter_format.report.terminal import paper_for

    paper = paper_for(sys.stdout)
    paper.write(explanation_lines(explanation, paper.width))
    return FINE


def _explain(rule: Rule) -> Explanation:
    if not rule.mutations:
        return Explanation(rule, ())
    from adapter_format.testing.examples import examples

    mutation = rule.mutations[0]
    example = examples().get(mutation.example)
    if example is None:
        return Explanation(rule, ())
    tensors = {key: (stored.dtype, stored.shape) for key, stored in example.tensors.items()}
    return Explanation(rule, tuple(pair(edit, example.config, tensors) for edit in mutation.edits))
