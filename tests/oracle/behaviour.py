"""What real PEFT does with every mutation of every rule, measured.

    python -m tests.oracle.behaviour            # measure and print
    python -m tests.oracle.behaviour --write    # also write behaviour.json

An example and its mutation are loaded into two fresh copies of the example's base. What the mutation does is told by
the exception, by the warnings that the valid twin does not give, and by the outputs in comparison with the twin's. An
edit may turn an adapter into another one that is valid as well (`lora_alpha` 0): that, too, is silent and differs.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import pickle
import platform
import re
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import huggingface_hub
import peft
import safetensors
import torch
from peft import PeftModel

from adapter_format.rules.edits import DenyReading, Mutation
from adapter_format.rules.registry import all_rules
from adapter_format.testing.drafts import write_example, write_mutation
from adapter_format.testing.examples import BaseLayer, examples
from tests.oracle import example_bases
from tests.oracle.golden_outputs import told
from tests.oracle.probing import REFUSALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from adapter_format.rules.rule import Rule

RECORD = Path(__file__).with_name("behaviour.json")
RAISED = (*REFUSALS, OSError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError)
TOLERANCE = 2e-3
"""Outputs are around one; rounding a factor to float16 moves them by less than this, any other edit by far more."""

RENAMED = {"AF329": {"score": "lora_head"}}
"""Mutations that concern a base in which a module has another name."""

NOBODY = 65534

Verdict = Literal["raises", "warns", "silent-wrong", "silent-ok"]


class Behaviour(NamedTuple):
    """What PEFT does with one mutation.

    Attributes:
        behaviour: raises; warns (loads with a new warning, whatever it computes); silent-wrong (loads without one, and
            computes something else than the valid twin); silent-ok.
        outputs: `same` as the valid twin's, `differ`, or None after an exception.
        error: type and beginning of the exception, or None.
        warning: beginning of the first warning that the valid twin does not give, or None.
    """

    behaviour: Verdict
    outputs: Literal["same", "differ"] | None
    error: str | None
    warning: str | None


class Loaded(NamedTuple):
    """What came of loading one directory."""

    outputs: torch.Tensor | None
    warnings: tuple[str, ...]
    error: str | None


def measure(rule: Rule, mutation: Mutation) -> Behaviour:
    """Load a mutation and its valid twin with PEFT and compare."""
    valid = twin(mutation.example)
    renamed = RENAMED.get(rule.id, {})
    base = {renamed.get(path, path): layer for path, layer in examples()[mutation.example].base.items()}
    denied = any(isinstance(edit, DenyReading) for edit in mutation.edits)
    with folder() as place:
        write_mutation(mutation, place)
        with ordinary_user(place) if denied else contextlib.nullcontext():
            mutated = load(place, base)
    if mutated.outputs is None:
        return Behaviour("raises", None, mutated.error, None)
    same = close(mutated.outputs, valid.outputs)
    new = [text for text in mutated.warnings if text not in valid.warnings]
    verdict: Verdict = "warns" if new else "silent-ok" if same else "silent-wrong"
    return Behaviour(verdict, "same" if same else "differ", None, new[0] if new else None)


@functools.cache
def twin(example: str) -> Loaded:
    """Load a valid example."""
    with folder() as place:
        write_example(example, place)
        loaded = load(place, examples()[example].base)
    if loaded.outputs is None:
        raise AssertionError(f"PEFT refuses the example {example!r}: {loaded.error}")
    return loaded


def load(place: Path, layers: Mapping[str, BaseLayer]) -> Loaded:
    """Load a directory with PEFT into a fresh base and run it; the random state is always the same."""
    torch.manual_seed(1)
    outputs, error = None, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = PeftModel.from_pretrained(example_bases.build(layers), str(place)).eval()
            outputs = example_bases.outputs(model)
        except RAISED as problem:
            error = shortened(f"{type(problem).__name__}: {problem}", place)
    return Loaded(outputs, tuple(shortened(text, place) for text in told(caught)), error)


def close(one: torch.Tensor, other: torch.Tensor | None) -> bool:
    """Whether two loads compute the same; NaN is like nothing but NaN."""
    return other is not None and torch.allclose(one, other, rtol=0, atol=TOLERANCE, equal_nan=True)


def shortened(text: str, place: Path) -> str:
    """A message on one line, of bounded length, without what differs from run to run.

    That is the path, and which of several bad tensors the safetensors library happens to meet first.
    """
    line = " ".join(text.replace(str(place), "...").split())
    line = re.sub(r"tensor `[^`]*`", "tensor `...`", line)
    return line if len(line) <= 200 else f"{line[:197]}..."


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A directory that does not exist yet, inside one that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="behaviour-") as parent:
        yield Path(parent) / "adapter"


@contextlib.contextmanager
def ordinary_user(place: Path) -> Iterator[None]:
    """Give up the superuser's right to read what nobody may read; the directory of `place` can still be entered."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(place.parent, NOBODY, -1)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def name_of(mutation: Mutation) -> str:
    """How the record calls a mutation of a rule."""
    return mutation.name or "unnamed"


def versions() -> dict[str, str]:
    """What the behaviour was measured with."""
    return {
        "huggingface_hub": huggingface_hub.__version__,
        "peft": peft.__version__,
        "python": platform.python_version(),
        "safetensors": safetensors.__version__,
        "torch": torch.__version__,
    }


def record() -> dict[str, Any]:
    """Everything measured, as it is stored."""
    rules = {
        rule.id: {name_of(mutation): measure(rule, mutation)._asdict() for mutation in rule.mutations}
        for rule in all_rules()
        if rule.mutations
    }
    return {"versions": versions(), "rules": rules}


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description="Measure what PEFT does with every rule's mutations.")
    parser.add_argument("--write", action="store_true", help="write behaviour.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured = record()
    for rule in all_rules():
        for name, found in measured["rules"].get(rule.id, {}).items():
            said = found["error"] or found["warning"] or ""
            print(f"{rule.id} {rule.severity:7} {name:20} {found['behaviour']:12} {found['outputs']!s:6} {said[:90]}")
    if arguments.write:
        RECORD.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
