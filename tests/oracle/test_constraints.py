"""The constraints of the methods other than LoRA against what real PEFT does when a config breaks them."""

from __future__ import annotations

import json

import pytest

from adapter_format.constraints import broken_constraints
from adapter_format.schema_check import is_valid
from tests.constraint_examples import Example, examples
from tests.oracle.probing import Written, edited, load, rewritten, written_once

EXAMPLES = {example.name: example for example in examples()}
MEASURED = [name for name, example in EXAMPLES.items() if example.how != "unmeasured"]


def twin(example: Example) -> Written:
    return written_once(example.base, json.dumps(example.valid), example.peft_type)


@pytest.mark.parametrize("name", MEASURED)
def test_peft_does_with_a_broken_constraint_what_the_data_says(name: str) -> None:
    example = EXAMPLES[name]
    valid = twin(example)
    assert load(valid).same is True
    if example.how == "edited":
        outcome = edited(valid, example.broken, example.removed)
    else:
        outcome = rewritten(valid, {**example.valid, **example.broken})
    assert outcome.behaviour == example.constraint.peft, outcome
    assert example.constraint.differs is (outcome.same is False)


@pytest.mark.parametrize("name", MEASURED)
def test_the_written_twin_of_a_broken_constraint_breaks_none(name: str) -> None:
    example = EXAMPLES[name]
    config = json.loads((twin(example).folder / "adapter_config.json").read_text())
    assert is_valid(config)
    assert [constraint.id for constraint in broken_constraints(config, example.peft_type)] == example.also


def test_what_is_not_measured_says_so() -> None:
    unmeasured = [name for name in EXAMPLES if name not in MEASURED]
    assert unmeasured == [name for name, example in EXAMPLES.items() if example.constraint.peft == "unknown"]
