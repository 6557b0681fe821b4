"""Does PEFT still do with every rule's mutations what behaviour.json says, and what the rules claim?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from adapter_format.rules.registry import all_rules

from .behaviour import RECORD, measure, name_of, versions

if TYPE_CHECKING:
    from adapter_format.rules.edits import Mutation
    from adapter_format.rules.rule import Rule

STORED: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
PAIRS = [
    pytest.param(rule, mutation, id=f"{rule.id}-{name_of(mutation)}")
    for rule in all_rules()
    for mutation in rule.mutations
]
FIRST = [pytest.param(rule, id=rule.id) for rule in all_rules() if rule.mutations]
SAME_VERSIONS = STORED["versions"] == versions()


@pytest.mark.parametrize(("rule", "mutation"), PAIRS)
def test_peft_does_what_is_recorded(rule: Rule, mutation: Mutation) -> None:
    stored = STORED["rules"][rule.id][name_of(mutation)]

    measured = measure(rule, mutation)._asdict()

    # Messages change from release to release; what happens must not change unseen.
    compared = measured if SAME_VERSIONS else {name: measured[name] for name in ("behaviour", "outputs")}
    assert compared == {name: stored[name] for name in compared}


@pytest.mark.parametrize("rule", FIRST)
def test_a_rule_says_what_peft_does_with_its_first_mutation(rule: Rule) -> None:
    assert measure(rule, rule.mutations[0]).behaviour == rule.peft


def test_nothing_else_is_recorded() -> None:
    declared = {rule.id: {name_of(mutation) for mutation in rule.mutations} for rule in all_rules() if rule.mutations}

    assert {rule: set(mutations) for rule, mutations in STORED["rules"].items()} == declared
