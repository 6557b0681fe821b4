"""The constraints of the methods other than LoRA as data, and the conditions that they are written in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from adapter_format.conditions import holds, lookup_in
from adapter_format.config_fields import fields_of, known_peft_types
from adapter_format.constraints import Constraint, broken_constraints, constraints_of
from adapter_format.packaged import load_schema
from adapter_format.schema_check import is_valid
from tests.constraint_examples import EXPERT, METHODS, OWN, SHARED, examples

ENTRIES: list[dict[str, Any]] = load_schema("layouts/shared.constraints")["constraints"]
EXAMPLES = {example.name: example for example in examples()}
GOLDEN = Path(__file__).parent / "golden"
RELOADED = [
    folder / adapter["folder"]
    for folder in (GOLDEN / "lora", GOLDEN / "methods")
    for golden in json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["goldens"]
    for adapter in golden["adapters"]
    if adapter["reload"] == "same"
]


def is_error(constraint: Constraint) -> bool:
    return constraint.peft == "raises" or constraint.differs


def broken(config: dict[str, Any], peft_type: str) -> list[str]:
    return [constraint.id for constraint in broken_constraints(config, peft_type)]


def config_of(peft_type: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A config as PEFT writes it; where a model has to say a field, what a causal language model says."""
    written = {name: field.default for name, field in fields_of(peft_type).items() if field.until is None}
    filled = {"peft_type": peft_type, "peft_version": "0.21.2", "task_type": "CAUSAL_LM"}
    if peft_type == "CPT":
        filled["num_virtual_tokens"] = len(fields["cpt_token_ids"] or [0])
    text = json.dumps({**written, **filled, **fields}).replace(EXPERT, "someone/some-adapter")
    return json.loads(text)


def test_every_method_has_an_example_adapter() -> None:
    assert sorted((*METHODS, "LORA")) == sorted(name for name, known in known_peft_types().items() if not known.until)


@pytest.mark.parametrize("peft_type", METHODS)
def test_constraints_have_unique_ids_in_kebab_case(peft_type: str) -> None:
    ids = [constraint.id for constraint in constraints_of(peft_type)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", one) for one in ids)


@pytest.mark.parametrize("peft_type", ["", "lora", "shared", "SHARED", "BONE", "../lora"])
def test_what_is_no_method_with_a_table_has_no_constraints(peft_type: str) -> None:
    assert constraints_of(peft_type) == ()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_constraint_speaks_of_fields_of_its_method_in_sentences(name: str) -> None:
    example = EXAMPLES[name]
    constraint = example.constraint
    assert constraint.kind in ("excludes", "needs")
    own, any_method = set(fields_of(example.peft_type)), {name for one in METHODS for name in fields_of(one)}
    assert constraint.other
    assert {name.partition(".")[0] for name in constraint.other} <= own
    # What several methods share may ask for a field that only some of them have.
    assert set(constraint.fields) <= (any_method if constraint.id in SHARED else own)
    assert constraint.why.endswith(".")
    assert constraint.mend.endswith(".")
    assert constraint.peft in ("warns", "silent-wrong") or not constraint.differs


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_sentences_name_fields_of_the_method(name: str) -> None:
    example = EXAMPLES[name]
    said = f"{example.constraint.why} {example.constraint.mend}"
    words = {word for word in re.findall(r"`([a-z_]+)`", said) if "_" in word}
    others = {field for method in METHODS for field in fields_of(method)} - set(fields_of(example.peft_type))
    assert not words & others


def test_every_example_is_of_a_constraint() -> None:
    for peft_type, own in OWN.items():
        assert list(own) == [constraint.id for constraint in constraints_of(peft_type) if constraint.id in own]
    assert list(SHARED) == list(dict.fromkeys(entry["id"] for entry in ENTRIES))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["id"])
def test_a_shared_constraint_is_of_several_methods_once(entry: dict[str, Any]) -> None:
    methods = [name for other in ENTRIES if other["id"] == entry["id"] for name in other["methods"]]
    assert len(methods) == len(set(methods)) > 1
    assert entry["methods"] == sorted(entry["methods"])
    assert set(entry["methods"]) <= set(METHODS)


@pytest.mark.parametrize(
    ("id_", "fields", "other_reasons"),
    [
        ("layers-to-transform-needs-a-list", {"target_modules", "layers_to_transform"}, set()),
        ("layers-pattern-needs-layers-to-transform", {"layers_pattern", "layers_to_transform"}, set()),
        ("layers-to-transform-skips-embedding", {"layers_to_transform"}, {"SHADOW"}),
        ("saved-module-is-targeted", {"target_modules", "modules_to_save"}, set()),
        ("excluded-module-is-targeted", {"target_modules", "exclude_modules"}, set()),
        ("projection-is-not-saved", {"save_projection"}, set()),
        ("prompt-needs-length", {"num_virtual_tokens"}, {"CPT"}),
        ("prompt-needs-task", {"num_virtual_tokens"}, {"CPT"}),
        ("text-needs-text", {"prompt_tuning_init"}, set()),
    ],
)
def test_a_shared_constraint_is_of_every_method_with_its_fields(
    id_: str, fields: set[str], other_reasons: set[str]
) -> None:
    having = {name for name in METHODS if fields <= {n for n, f in fields_of(name).items() if f.until is None}}
    found = {name for entry in ENTRIES if entry["id"] == id_ for name in entry["methods"]}
    assert found == having - other_reasons


def test_an_entry_that_follows_lora_says_only_what_is_different() -> None:
    assert {constraint.id: constraint.why for constraint in constraints_of("HRA")}["layers-pattern-needs-a-list"] == {
        constraint.id: constraint.why for constraint in constraints_of("LORA")
    }["layers-pattern-needs-a-list"]
    ignored = {constraint.id: constraint for constraint in constraints_of("OFT")}["layers-to-transform-needs-a-list"]
    assert "ignores" in ignored.why
    assert (ignored.peft, ignored.mend.split()[0]) == ("silent-ok", "Put")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_breaks_its_constraint(name: str) -> None:
    example = EXAMPLES[name]
    config = config_of(example.peft_type, {**example.valid, **example.broken})
    config = {name: value for name, value in config.items() if name not in example.removed}
    assert example.constraint.id in broken(config, example.peft_type)
    assert is_valid(config)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_valid_twin_of_an_example_breaks_nothing(name: str) -> None:
    example = EXAMPLES[name]
    config = config_of(example.peft_type, example.valid)
    assert broken(config, example.peft_type) == example.also
    assert is_valid(config)


REFUSED_DEFAULTS = {
    "ADALORA": ["adalora-needs-steps"],
    "ADAPTION_PROMPT": ["prompts-need-length", "prompts-need-layers"],
    "CARTRIDGE": ["prompt-needs-length", "prompt-needs-task"],
    "CPT": ["cpt-needs-causal-lm"],
    "MULTITASK_PROMPT_TUNING": ["prompt-needs-length", "prompt-needs-task"],
    "PREFIX_TUNING": ["prompt-needs-length", "prompt-needs-task"],
    "PROMPT_TUNING": ["prompt-needs-length", "prompt-needs-task"],
    "P_TUNING": ["prompt-needs-length", "prompt-needs-task"],
}
"""Of these methods PEFT makes no adapter from the defaults alone."""


@pytest.mark.parametrize("peft_type", ["LORA", *METHODS])
def test_the_defaults_break_nothing_but_what_peft_refuses(peft_type: str) -> None:
    defaults = {name: field.default for name, field in fields_of(peft_type).items()}
    config = {**defaults, "peft_type": peft_type, "peft_version": "0.21.2"}
    expected = REFUSED_DEFAULTS.get(peft_type, [])
    assert broken(config, peft_type) == expected
    assert broken({"peft_type": peft_type, "peft_version": "0.21.2"}, peft_type) == expected


@pytest.mark.parametrize("folder", RELOADED, ids=lambda folder: str(folder.relative_to(GOLDEN)))
def test_what_peft_writes_and_reloads_breaks_no_constraint_that_is_an_error(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    found = broken_constraints(config, config["peft_type"])
    assert [constraint.id for constraint in found if is_error(constraint)] == []


def test_broken_constraints_come_in_the_order_of_the_table() -> None:
    fields = {"layers_pattern": "layers", "oft_block_size": 3, "r": 4, "target_modules": ".*q_proj"}
    config = config_of("OFT", fields)
    backwards = dict(reversed(config.items()))
    assert broken(config, "OFT") == broken(backwards, "OFT")
    assert broken(config, "OFT") == ["layers-pattern-needs-layers-to-transform", "block-size-excludes-block-number"]


def test_absent_fields_count_with_their_defaults() -> None:
    assert broken({"peft_type": "BOFT", "boft_block_num": 2}, "BOFT") == ["block-size-excludes-block-number"]
    assert broken({"peft_type": "GRALORA", "r": 3}, "GRALORA") == ["rank-needs-whole-blocks"]


@pytest.mark.parametrize(
    ("condition", "config", "expected"),
    [
        ({"a": {"above": 2}}, {"a": 3}, True),
        ({"a": {"above": 2}}, {"a": 2}, False),
        ({"a": {"above": 2}}, {"a": True}, False),
        ({"a": {"above": 2}}, {"a": "3"}, False),
        ({"a": {"above": 2}}, {"a": [0, 0, 0]}, True),
        ({"a": {"above": "b"}}, {"a": 3, "b": 2.5}, True),
        ({"a": {"above": "b"}}, {"a": 3, "b": {"x": 1, "y": 2}}, True),
        ({"a": {"above": "b"}}, {"a": 3, "b": None}, False),
        ({"a": {"at_least": "b - c"}}, {"a": 3, "b": 5, "c": 2}, True),
        ({"a": {"at_least": "b - c"}}, {"a": 2, "b": 5, "c": 2}, False),
        ({"a": {"at_least": "b - c"}}, {"a": 3, "b": 5}, False),
        ({"a": {"at_least": "b - c"}}, {"a": 3, "b": 10**400, "c": 0.5}, False),
        ({"a": {"at_most": 0}}, {"a": 0}, True),
        ({"a": {"at_most": 0}}, {"a": 0.1}, False),
        ({"a": {"at_most": 0}}, {"a": float("nan")}, False),
        ({"a": {"multiple_of": 2}}, {"a": 4}, True),
        ({"a": {"multiple_of": 2}}, {"a": 3}, False),
        ({"a": {"multiple_of": 2}}, {"a": 2.0}, False),
        ({"a": {"multiple_of": "b"}}, {"a": 4, "b": 3}, False),
        ({"a": {"multiple_of": "b"}}, {"a": 4, "b": 0}, True),
        ({"a": {"multiple_of": "b"}}, {"a": 4, "b": 2.5}, True),
        ({"a": {"multiple_of": "b"}}, {"a": 4}, True),
        ({"a": {"within": "b"}}, {"a": ["x"], "b": ["y", "x"]}, True),
        ({"a": {"within": "b"}}, {"a": ["x", "z"], "b": ["y", "x"]}, False),
        ({"a": {"within": "b"}}, {"a": [], "b": []}, True),
        ({"a": {"other_length": "b"}}, {"a": [1], "b": [1, 2]}, True),
        ({"a": {"other_length": "b"}}, {"a": [1], "b": [2]}, False),
        ({"a": {"other_length": "b"}}, {"a": [1], "b": None}, False),
        ({"a": {"other_length": "b"}}, {"a": None, "b": [1]}, False),
        ({"a": {"other_length": 1}}, {"a": [1, 2]}, True),
        ({"a": {"items_of_other_length": "b"}}, {"a": {"x": [1, 2], "y": [1]}, "b": 2}, True),
        ({"a": {"items_of_other_length": "b"}}, {"a": {"x": [1, 2], "y": [1, 3]}, "b": 2}, False),
        ({"a": {"items_of_other_length": "b"}}, {"a": {"x": 4}, "b": 2}, False),
        ({"a": {"items_of_other_length": "b"}}, {"a": None, "b": 2}, False),
    ],
)
def test_conditions_on_numbers_and_lengths(condition: dict[str, Any], config: dict[str, Any], expected: bool) -> None:
    assert holds(condition, lookup_in(config)) is expected
