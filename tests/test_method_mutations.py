"""Every damage to every golden fires its own rule and no other error or warning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import adapter_format as af
from adapter_format.layouts import known_layouts

from .method_mutations import MethodMutation, folders, mutations_of, write

OTHERWISE: dict[tuple[str, str], tuple[set[str], str]] = {
    ("trainable_tokens_head", "AF312"): (set(), "a head is tied to the embedding that is still targeted"),
}
"""Golden and rule whose damage breaks something else than that rule alone: what, and why."""


def fired(path: Path) -> set[str]:
    return {finding.rule for finding in af.validate(path).findings if finding.severity != "info"}


@pytest.mark.parametrize(("peft_type", "folder"), list(folders()), ids=[folder for _, folder in folders()])
def test_a_damage_breaks_its_own_rule_and_no_other(peft_type: str, folder: str, tmp_path: Path) -> None:
    wrong: dict[str, set[str]] = {}
    before = fired(Path(__file__).parent / "golden" / "methods" / folder)
    for number, mutation in enumerate(mutations_of(peft_type, folder)):
        place = tmp_path / str(number)
        write(mutation.adapter, place)
        found = fired(place) - before
        expected, _ = OTHERWISE.get((folder, mutation.rule), ({mutation.rule}, ""))
        if found != expected:
            wrong[mutation.rule] = found

    assert wrong == {}


def every_mutation() -> Iterator[MethodMutation]:
    for peft_type, folder in folders():
        yield from mutations_of(peft_type, folder)


def test_every_method_is_damaged_in_many_ways() -> None:
    rules: dict[str, set[str]] = {}
    for mutation in every_mutation():
        rules.setdefault(mutation.peft_type, set()).add(mutation.rule)

    assert {layout.peft_type for layout in known_layouts()} - rules.keys() <= {"LORA", "BONE", "XLORA"}
    assert {method: len(found) for method, found in rules.items() if len(found) < 7} == {}
