"""What PEFT was measured to do with every damaged golden, against what the rules say; the oracle measures it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .method_mutations import folders, mutations_of

RECORD: dict[str, dict[str, dict[str, str]]] = json.loads(
    (Path(__file__).parent / "oracle" / "method_behaviour.json").read_text(encoding="utf-8")
)["methods"]
RULES = sorted({rule for goldens in RECORD.values() for rules in goldens.values() for rule in rules})

HARMLESS: dict[str, str] = {
    "AF304": "0.21 finds such keys under the very name that is left in them; 0.4 to 0.20 and Transformers do not",
    "AF310": "the bases of the goldens have no module of the made-up name; one that has it is overwritten",
    "AF331": "the biases of these goldens are those of their bases: they were stored and not trained",
}
"""Errors that do no harm to any base of the goldens, or to few of them, with the reason."""
DRAWN = "what lacks is drawn again from the seed in the config, as it was for the training"
DERIVED = "what lacks is computed again from the base weight, or stands in another module too"
INITIAL = "what lacks starts at a value that this golden did not leave"
MODEL_LEVEL = "what is trained stands at the level of the model, and what stands in the modules is drawn again"
DROPPED = "the method wraps no module, so that PEFT drops the tensor and finds the base weight where it always was"
SELDOM: dict[tuple[str, str], str] = {
    ("ADAPTION_PROMPT", "AF311"): DROPPED,
    ("FROD", "AF305"): DERIVED,
    ("FROD", "AF307"): DERIVED,
    ("LILY", "AF305"): DERIVED,
    ("OFT", "AF312"): "rotations of two features, the smallest that there are, are too slight to show",
    ("OSF", "AF305"): DERIVED,
    ("PSOFT", "AF305"): INITIAL,
    ("SHADOW", "AF305"): INITIAL,
    ("SHADOW", "AF311"): DROPPED,
    ("SHIRA", "AF305"): DRAWN,
    ("TINYLORA", "AF301"): MODEL_LEVEL,
    ("TINYLORA", "AF302"): MODEL_LEVEL,
    ("TINYLORA", "AF303"): MODEL_LEVEL,
    ("UNILORA", "AF301"): MODEL_LEVEL,
    ("UNILORA", "AF302"): MODEL_LEVEL,
}
"""Method and rule: an error that does no harm to a golden of the method, with the reason."""


@pytest.mark.parametrize(("peft_type", "folder"), list(folders()), ids=[folder for _, folder in folders()])
def test_the_record_holds_every_damage_to_every_golden(peft_type: str, folder: str) -> None:
    assert RECORD[peft_type][folder].keys() == {mutation.rule for mutation in mutations_of(peft_type, folder)}


def is_harmless_error(said: str) -> bool:
    """Whether a finding is an error here, while PEFT computes the same as before."""
    return said.startswith("error") and said.endswith("same")


@pytest.mark.parametrize("rule", RULES)
def test_an_error_does_harm_in_every_method(rule: str) -> None:
    harmless = {
        method
        for method, goldens in RECORD.items()
        for rules in goldens.values()
        if is_harmless_error(rules.get(rule, "")) and (method, rule) not in SELDOM
    }

    assert bool(harmless) == (rule in HARMLESS), harmless


@pytest.mark.parametrize("rule", RULES)
def test_what_is_found_has_a_severity(rule: str) -> None:
    assert not [rules for goldens in RECORD.values() for rules in goldens.values() if rules.get(rule) == "none"]


def test_reasons_are_given_where_they_are_needed_only() -> None:
    for method, rule in SELDOM:
        assert any(is_harmless_error(rules.get(rule, "")) for rules in RECORD[method].values()), (method, rule)
