"""What real PEFT does with every damage to every golden, measured.

    python -m tests.oracle.method_behaviour            # measure and print what disagrees
    python -m tests.oracle.method_behaviour --write    # also write method_behaviour.json

A golden and its damaged twin are loaded into two fresh copies of the golden's base. What the damage does is told by the
exception, by the warnings that the golden does not give, and by the outputs in comparison with the golden's.
"""

from __future__ import annotations

import argparse
import collections
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft
import torch

import adapter_format as af
from adapter_format.rules.registry import find_rule
from tests.method_mutations import folders, mutations_of, write

from .golden_adapters import GoldenAdapter, golden_adapters

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD = Path(__file__).with_name("method_behaviour.json")
TOLERANCE = 2e-3


def goldens() -> dict[str, GoldenAdapter]:
    """Every golden adapter by its folder."""
    return {adapter.entry["folder"]: adapter for adapter in golden_adapters() if adapter.peft_type != "LORA"}


def measured(golden: GoldenAdapter, place: Path) -> str:
    """Load a damaged golden, and say in one word what PEFT did."""
    whole = golden.load_with_peft(golden.folder)
    damaged = golden.load_with_peft(place)
    if damaged.error is not None or damaged.outputs is None:
        return "raises"
    assert whole.outputs is not None, whole.error
    same = torch.allclose(damaged.outputs, whole.outputs, rtol=0, atol=TOLERANCE, equal_nan=True)
    new = [text for text in damaged.warnings if text not in whole.warnings]
    if new:
        return "warns, same" if same else "warns, differs"
    return "silent, same" if same else "silent, differs"


def measure(peft_type: str, folder: str) -> Iterator[tuple[str, str]]:
    """Yield for every damage to one golden the rule, and its severity here with what PEFT does: `error: raises`."""
    golden = goldens()[folder]
    for mutation in mutations_of(peft_type, folder):
        with tempfile.TemporaryDirectory(prefix="behaviour-") as parent:
            place = Path(parent) / "adapter"
            write(mutation.adapter, place)
            findings = af.validate(place).findings
            severity = next((finding.severity for finding in findings if finding.rule == mutation.rule), "none")
            yield mutation.rule, f"{severity}: {measured(golden, place)}"


def record() -> dict[str, Any]:
    """Everything measured: method, golden, rule, severity and behaviour."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for peft_type, folder in folders():
        found.setdefault(peft_type, {})[folder] = dict(measure(peft_type, folder))
    versions = {"peft": peft.__version__, "torch": torch.__version__}
    return {"versions": versions, "methods": found}


def main() -> None:
    """Measure, print a summary, and write if asked to."""
    parser = argparse.ArgumentParser(description="Measure what PEFT does with every damage to every golden.")
    parser.add_argument("--write", action="store_true", help="write method_behaviour.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = record()
    harmless: collections.Counter[tuple[str, str]] = collections.Counter()
    for peft_type, by_golden in found["methods"].items():
        for rules in by_golden.values():
            for rule, behaviour in rules.items():
                if behaviour.startswith("error") and behaviour.endswith("same"):
                    harmless[rule, f"{peft_type}: {behaviour}"] += 1
    for (rule, what), count in sorted(harmless.items()):
        print(f"{rule} {find_rule(rule).slug:28} {count:3} x {what}")
    if arguments.write:
        RECORD.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
