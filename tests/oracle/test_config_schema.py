"""The config schema and the constraints against what the newest real PEFT accepts."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from adapter_format.config_fields import fields_of
from adapter_format.constraints import broken_constraints, constraints_of
from adapter_format.schema_check import float_integers, is_valid
from tests.oracle.probing import Outcome, Written, edited, load, rewritten, write, written_once

DATA = Path(__file__).parent.parent / "data"
EXAMPLES: dict[str, Any] = json.loads((DATA / "lora_constraint_examples.json").read_text())
CONSTRAINTS = {constraint.id: constraint for constraint in constraints_of("LORA")}

TARGETS = {"target_modules": ["q_proj", "v_proj"]}
ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 1.0, 2.0, 1.5, "", "x", "2",
    [], ["x"], [""], [1], [-1], [1.5], [True], [None], [[0, 1]], [[0]], [["0", 1]],
    {}, {"x": 1}, {"x": -1}, {"x": 1.5}, {"x": None}, {"x": "1"}, {"x": [1]},
    {"q_proj": 4}, {"q_proj": True}, {"q_proj": 0},
]  # fmt: skip

# Fields of nested configs are tried one by one, each beside what makes the rest of the object valid.
NESTED: dict[str, dict[str, Any]] = {
    "eva_config": {},
    "velora_config": {"num_groups": 2},
    "kasa_config": {},
    "monteclora_config": {},
    "use_bdlora": {"target_modules_bd_a": ["q_proj"], "target_modules_bd_b": ["v_proj"], "nblocks": 2},
}


def plain() -> Written:
    return written_once("tiny_llama", json.dumps(TARGETS))


def accepted_by_schema(written: Written, changes: dict[str, Any]) -> bool:
    config = {**json.loads((written.folder / "adapter_config.json").read_text()), **changes}
    return is_valid(config) and not list(float_integers(config))


@functools.cache
def outcomes(field: str) -> tuple[dict[str, Outcome], dict[str, Outcome]]:
    """Return the outcomes for the odd values that the schema takes, and for those that it does not."""
    taken: dict[str, Outcome] = {}
    refused: dict[str, Outcome] = {}
    for value in ODD_VALUES:
        changes = {field: value}
        if field == "layers_pattern":
            changes["layers_to_transform"] = [0, 1]
        side = taken if accepted_by_schema(plain(), changes) else refused
        side[json.dumps(value)] = edited(plain(), changes)
    return taken, refused


@pytest.mark.parametrize("field", sorted(fields_of("LORA")))
def test_peft_refuses_what_the_schema_refuses_as_often_as_it_says(field: str) -> None:
    _, refused = outcomes(field)
    raised = sorted(value for value, outcome in refused.items() if outcome.error is not None)
    often = "never" if not raised else "always" if len(raised) == len(refused) else "sometimes"
    assert fields_of("LORA")[field].refuses == often, (raised, sorted(set(refused) - set(raised)))


# A router without other adapters fails whatever its options are; Megatron is not installed here.
@pytest.mark.parametrize("field", sorted(set(fields_of("LORA")) - {"arrow_config", "megatron_config"}))
def test_peft_has_no_trouble_with_the_type_of_what_the_schema_takes(field: str) -> None:
    taken, _ = outcomes(field)
    of_type = (TypeError, AttributeError, RecursionError, NotImplementedError)
    errors = {value: outcome.error for value, outcome in taken.items()}
    assert {value: error for value, error in errors.items() if isinstance(error, of_type)} == {}


@pytest.mark.parametrize(
    ("field", "member"),
    [
        (field, member)
        for field in NESTED
        for member in sorted(
            {
                "eva_config": {"rho", "tau"},
                "velora_config": {"num_groups", "scale", "init_type"},
                "kasa_config": {"beta", "gamma"},
                "monteclora_config": {"num_samples", "dirichlet_prior", "buffer_size"},
                "use_bdlora": {"nblocks"},
            }[field]
        )
    ],
)
def test_peft_refuses_the_members_that_the_schema_refuses(field: str, member: str) -> None:
    whole = NESTED[field]
    written = written_once("tiny_llama", json.dumps({**TARGETS, field: whole}))
    tolerated = []
    for value in [None, 0, -1, -0.5, 1.5, "x", [], {}]:
        changes = {field: {**whole, member: value}}
        if not accepted_by_schema(written, changes) and edited(written, changes).error is None:
            tolerated.append(value)
    assert tolerated == []


def test_an_unknown_member_is_dropped_everywhere_but_in_monteclora() -> None:
    for field, whole in NESTED.items():
        written = written_once("tiny_llama", json.dumps({**TARGETS, field: whole}))
        changes = {field: {**whole, "unheard_of": 1}}
        loads = edited(written, changes).error is None
        assert accepted_by_schema(written, changes) is loads is (field != "monteclora_config")


WRITABLE: list[dict[str, Any]] = [
    {"lora_alpha": 2.5},
    {"lora_alpha": -3},
    {"lora_dropout": 0},
    {"lora_dropout": 1},
    {"use_dora": None, "use_rslora": None, "lora_bias": None, "fan_in_fan_out": None},
    {"bias": "all"},
    {"bias": "lora_only"},
    *({"init_lora_weights": value} for value in (True, False, None, "gaussian", "olora", "pissa", "eva")),
    *({"init_lora_weights": value} for value in ("orthogonal", "mica", "lora_ga", "Gaussian", "OLoRA", "MiCA")),
    {"target_modules": ".*q_proj"},
    {"exclude_modules": "model.layers.0.*"},
    {"exclude_modules": ["layers.0.self_attn.q_proj"]},
    {"modules_to_save": []},
    {"modules_to_save": ["lm_head"]},
    {"layers_to_transform": 0},
    {"layers_to_transform": [0, 0]},
    {"layers_to_transform": [1], "layers_pattern": "layers"},
    {"layers_to_transform": [1], "layers_pattern": ["layers", "h"]},
    {"layers_to_transform": [], "layers_pattern": []},
    {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"v_proj": 1.5}},
    {"trainable_token_indices": [3, 1, 1]},
    {"trainable_token_indices": {"embed_tokens": [2], "lm_head": [0]}},
    {"trainable_token_indices": {}},
    {"layer_replication": [[0, 2], [1, 2]]},
    {"layer_replication": []},
    {"alora_invocation_tokens": [3]},
    {"alora_invocation_tokens": []},
    {"target_parameters": []},
    {"use_qalora": True, "qalora_group_size": 4},
    {"loftq_config": None},
    {"megatron_core": None},
    {"megatron_config": {}},
    {"velora_config": {"num_groups": 2, "scale": 1}},
    {"kasa_config": {"beta": 0}},
    {"monteclora_config": {"num_samples": 2}},
    {"eva_config": {"rho": 1}, "init_lora_weights": "eva"},
    {"lora_ga_config": {"direction": "random"}, "init_lora_weights": "lora_ga"},
    {"task_type": None},
    {"revision": "main", "base_model_name_or_path": "someone/some-model"},
]


@pytest.mark.parametrize("fields", WRITABLE, ids=json.dumps)
def test_what_peft_writes_and_reloads_is_valid(fields: dict[str, Any]) -> None:
    written = write("tiny_llama", {**TARGETS, **fields})
    assert load(written).same is True
    assert accepted_by_schema(written, {})


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if example["base"]])
def test_peft_does_with_a_broken_constraint_what_the_data_says(name: str) -> None:
    example, constraint = EXAMPLES[name], CONSTRAINTS[name]
    valid = written_once(example["base"], json.dumps(example["valid"]))
    assert load(valid).same is True
    if example["how"] == "edited":
        outcome = edited(valid, example["broken"])
    else:
        outcome = rewritten(valid, {**example["valid"], **example["broken"]})
    assert outcome.behaviour == constraint.peft, outcome
    assert constraint.differs is (outcome.same is False)


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if example["base"]])
def test_the_written_twin_of_a_broken_constraint_breaks_none(name: str) -> None:
    valid = written_once(EXAMPLES[name]["base"], json.dumps(EXAMPLES[name]["valid"]))
    config = json.loads((valid.folder / "adapter_config.json").read_text())
    assert is_valid(config)
    assert [constraint.id for constraint in broken_constraints(config, "LORA")] == []
