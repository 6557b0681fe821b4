"""What PEFT was measured to do with every mutation, against what the rules say; the oracle measures it again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapter_format.rules.registry import all_rules

if TYPE_CHECKING:
    from adapter_format.rules.rule import Rule

RECORD: dict[str, dict[str, dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "oracle" / "behaviour.json").read_text(encoding="utf-8")
)["rules"]
MEASURED = [rule for rule in all_rules() if rule.mutations]

ERROR_ALTHOUGH_PEFT_IS_RIGHT = {
    "AF107": "ambiguous: readers differ in which of two entries they take; the library's documentation forbids it",
    "AF304": "other readers: PEFT 0.4 to 0.20 and Transformers find nothing, 0.21 only under the name in the key",
    "AF803": "about an older release that was asked about; the newest knows the value",
    "AF601": "unsafe: a link lets the sender choose which file of the reader's machine is read",
}
NO_ERROR_ALTHOUGH_PEFT_DIFFERS = {
    "AF216": "valid if it was trained so: PEFT applies the scale as it stands",
    "AF223": "valid if it was trained so: PEFT repeats the change of the base (goldens init_pissa, init_olora, kasa)",
    "AF313": "valid if the base has no such module: PEFT ignores the name, and writes such lists",
    "AF316": "valid if the base has no such layer: PEFT ignores the number, and writes such lists",
    "AF317": "valid if it was trained so: models whose layers differ have such holes by design",
    "AF318": "valid if the base has no such module: PEFT ignores the name, and writes such lists",
    "AF327": "the file does not tell in which order it was trained; most often in the one that is stored",
    "AF328": "PEFT's own output: a stored embedding replaces the base's, as is meant (golden resized_embeddings)",
    "AF407": "valid for a base whose layer has that shape; the file does not tell",
    "AF409": "the numbers are taken as they stand; the file does not tell whether a scale is missing",
    "AF503": "valid as it stands: PEFT loads the zeros that were saved",
    "AF504": "valid as it stands: a freshly made adapter is like this (golden untrained)",
    "AF505": "valid as it stands: PEFT loads the zeros that were saved",
    "AF506": "valid as it stands: PEFT loads the zeros that were saved",
    "AF507": "valid as it stands: PEFT loads the small values that were saved",
    "AF508": "valid as it stands: PEFT loads the equal tensors that were saved",
}


def harms(measured: dict[str, Any]) -> bool:
    """Whether PEFT refuses the mutation, or computes something else than with its valid twin."""
    return measured["behaviour"] == "raises" or measured["outputs"] == "differ"


def test_the_record_holds_every_mutation_of_every_rule() -> None:
    declared = {rule.id: [mutation.name or "unnamed" for mutation in rule.mutations] for rule in MEASURED}

    assert {rule: list(mutations) for rule, mutations in RECORD.items()} == declared


@pytest.mark.parametrize("rule", MEASURED, ids=lambda rule: rule.id)
def test_a_rule_says_what_was_measured(rule: Rule) -> None:
    first = next(iter(RECORD[rule.id].values()))

    assert rule.peft == first["behaviour"]


def test_a_rule_without_mutation_claims_nothing() -> None:
    assert {rule.peft for rule in all_rules() if not rule.mutations} == {"unknown"}


@pytest.mark.parametrize("rule", [rule for rule in MEASURED if rule.severity == "error"], ids=lambda rule: rule.id)
def test_an_error_does_harm_or_is_unsafe(rule: Rule) -> None:
    harmful = any(harms(measured) for measured in RECORD[rule.id].values())

    assert harmful != (rule.id in ERROR_ALTHOUGH_PEFT_IS_RIGHT)


@pytest.mark.parametrize("rule", [rule for rule in MEASURED if rule.severity != "error"], ids=lambda rule: rule.id)
def test_what_is_no_error_does_no_harm_or_may_be_meant(rule: Rule) -> None:
    first = next(iter(RECORD[rule.id].values()))

    assert harms(first) == (rule.id in NO_ERROR_ALTHOUGH_PEFT_DIFFERS)


def test_reasons_concern_rules_of_that_severity() -> None:
    severity = {rule.id: rule.severity for rule in MEASURED}

    assert {severity[rule] for rule in ERROR_ALTHOUGH_PEFT_IS_RIGHT} == {"error"}
    assert "error" not in {severity[rule] for rule in NO_ERROR_ALTHOUGH_PEFT_DIFFERS}


@pytest.mark.parametrize("rule", MEASURED, ids=lambda rule: rule.id)
def test_the_record_agrees_with_itself(rule: Rule) -> None:
    for measured in RECORD[rule.id].values():
        behaviour, outputs = measured["behaviour"], measured["outputs"]
        assert (measured["error"] is not None) == (behaviour == "raises") == (outputs is None)
        assert (measured["warning"] is not None) == (behaviour == "warns")
        assert {"silent-ok": "same", "silent-wrong": "differ"}.get(behaviour, outputs) == outputs


def test_the_record_names_no_path_of_the_machine_that_wrote_it() -> None:
    texts = [
        measured[part] or ""
        for mutations in RECORD.values()
        for measured in mutations.values()
        for part in ("error", "warning")
    ]

    assert not [text for text in texts if re.search(r"""["'\s]/\w+/""", text)]
