"""The config schema and the constraints as data: complete, well-formed, and in step with PEFT's history."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from adapter_format.config_fields import describes, fields_of, known_peft_types, nearest_field, values_since
from adapter_format.constraints import Constraint, broken_constraints, constraints_of
from adapter_format.errors import UsageError
from adapter_format.packaged import load_schema, schema_names, schema_text
from adapter_format.schema_check import compile_schema, is_valid

DATA = Path(__file__).parent / "data"
HISTORY = json.loads((DATA / "lora_config_fields.json").read_text())
EXAMPLES = json.loads((DATA / "lora_constraint_examples.json").read_text())
SECOND_READING = json.loads((DATA / "config_fields.json").read_text())["methods"]

SCHEMA = load_schema("adapter_config")
DEFINITIONS = SCHEMA["$defs"]
FIELDS = {**DEFINITIONS["common"]["properties"], **DEFINITIONS["LORA"]["properties"]}
METHODS = sorted(set(HISTORY["peft_types"]))
EVERY_FIELD = {
    f"{method}.{name}": schema for method in METHODS for name, schema in DEFINITIONS[method]["properties"].items()
}
MEMBERS = {
    f"{definition}.{name}": schema
    for definition in HISTORY["nested"]
    for name, schema in DEFINITIONS[definition]["properties"].items()
}


# PEFT refuses these defaults: a config must give a value.
WITHOUT_DEFAULT = {"peft_type", "ADALORA.total_step", "ADAPTION_PROMPT.adapter_len", "ADAPTION_PROMPT.adapter_layers"}
WITHOUT_DEFAULT |= {
    f"{method}.num_virtual_tokens"
    for method in ("CARTRIDGE", "MULTITASK_PROMPT_TUNING", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING")
}


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_has_a_versioned_id() -> None:
    assert SCHEMA["$id"] == "https://adapter-format.github.io/schemas/1.0/adapter_config.schema.json"


def test_the_schema_has_every_field_that_a_release_had_and_no_other() -> None:
    assert set(FIELDS) == set(HISTORY["fields"])


@pytest.mark.parametrize("name", sorted(HISTORY["fields"]))
def test_a_field_came_and_went_as_in_peft(name: str) -> None:
    field = fields_of("LORA")[name]
    assert (field.since, field.until) == (HISTORY["fields"][name]["since"], HISTORY["fields"][name]["until"])


@pytest.mark.parametrize("name", sorted(set(HISTORY["fields"]) - {"peft_type", "runtime_config"}))
def test_a_field_has_the_default_of_peft(name: str) -> None:
    assert fields_of("LORA")[name].default == ast.literal_eval(HISTORY["fields"][name]["default"])


@pytest.mark.parametrize("definition", sorted(HISTORY["nested"]))
def test_a_nested_config_has_every_member(definition: str) -> None:
    found = {
        name: {"since": schema["x-peft-since"], "until": schema.get("x-peft-until")}
        for name, schema in DEFINITIONS[definition]["properties"].items()
    }
    assert found == HISTORY["nested"][definition]


ALL_FIELDS = {**FIELDS, **MEMBERS, **EVERY_FIELD}


def test_each_field_is_described_in_its_own_words() -> None:
    unfit = [
        name
        for name, schema in ALL_FIELDS.items()
        if not 0 < len(schema["title"]) <= 40
        or not 10 < len(schema["description"]) <= 240
        or not schema["description"].endswith(".")
    ]
    assert not unfit


def test_the_default_of_each_field_is_valid() -> None:
    unfit = [
        name
        for name in ALL_FIELDS.keys() - WITHOUT_DEFAULT
        if not compile_schema({**ALL_FIELDS[name], "$defs": DEFINITIONS})(ALL_FIELDS[name]["default"])
    ]
    assert len(ALL_FIELDS) > 600
    assert not unfit


def test_the_methods_and_their_history_are_those_of_peft() -> None:
    found = {name: method._asdict() for name, method in known_peft_types().items()}
    assert found == HISTORY["peft_types"]


def test_each_task_names_its_first_release() -> None:
    assert values_since("task_type", "LORA") == HISTORY["task_types"]


@pytest.mark.parametrize("name", ["bias", "init_lora_weights", "task_type"])
def test_each_enumerated_value_names_its_first_release(name: str) -> None:
    branches = (FIELDS[name], *FIELDS[name].get("anyOf", ()))
    allowed = [value for branch in branches for value in branch.get("enum", ()) if value is not None]
    assert list(values_since(name, "LORA")) == allowed


def test_every_method_of_every_release_is_described() -> None:
    assert [name for name in known_peft_types() if not describes(name)] == []


@pytest.mark.parametrize("method", METHODS)
def test_the_history_of_every_field_is_that_of_a_second_reading(method: str) -> None:
    known = fields_of(method)
    second = SECOND_READING[method]

    assert set(known) == set(second)
    born, died = HISTORY["peft_types"][method]["since"], HISTORY["peft_types"][method]["until"]
    for name, (since, until, default, *_) in second.items():
        field = known[name]
        # A field that all methods share is dated once, from its own first release on.
        assert max(release(field.since), release(born)) == release(since), name
        shared = name in DEFINITIONS["common"]["properties"]
        assert field.until == until or (until is not None and shared and until == died), name
        if name != "peft_type" and not (died and shared):
            assert json.dumps(field.default) == json.dumps(default), name


def release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def test_the_stored_history_dates_every_default_as_a_second_reading_does() -> None:
    stored = load_schema("peft_releases")
    found = {
        (method, name): field["defaults"]
        for method, entry in stored["methods"].items()
        for name, field in {**stored["common"], **entry["fields"]}.items()
        if "defaults" in field
    }
    expected = {
        (method, name): entry[3]
        for method, fields in SECOND_READING.items()
        for name, entry in fields.items()
        if len(entry) > 3
    }
    assert found == expected


def test_the_condition_of_every_method_leads_to_its_fields() -> None:
    conditions = {branch["then"]["$ref"]: branch["if"] for branch in SCHEMA["allOf"] if "if" in branch}
    assert set(conditions) == {f"#/$defs/{method}" for method in METHODS}
    for method in METHODS:
        assert conditions[f"#/$defs/{method}"]["properties"] == {"peft_type": {"const": method}}


@pytest.mark.parametrize("name", ["common", "peft_types", "EvaConfig", "", "lora"])
def test_a_definition_that_is_no_method_is_not_described(name: str) -> None:
    assert not describes(name)
    assert set(fields_of(name)) == set(DEFINITIONS["common"]["properties"])


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("target_module", "target_modules"),
        ("lora_r", "r"),
        ("alpha", "lora_alpha"),
        ("use-dora", "use_dora"),
        ("USE_RSLORA", "use_rslora"),
        ("quantum_flux", None),
        ("x" * 10_000, None),
        ("", None),
    ],
)
def test_the_nearest_field_of_a_misspelling(misspelt: str, meant: str | None) -> None:
    assert nearest_field(misspelt, "LORA") == meant


@pytest.mark.parametrize("name", ["../pyproject", "layouts/../adapter_config", "/dev/zero", ""])
def test_only_listed_schemas_are_loaded(name: str) -> None:
    with pytest.raises(UsageError, match="There is no packaged schema"):
        load_schema(name)


@pytest.mark.parametrize("name", schema_names())
def test_every_packaged_file_is_an_object_in_ascii_or_utf8(name: str) -> None:
    assert load_schema(name) == json.loads(schema_text(name))


def test_constraints_have_unique_ids_in_kebab_case() -> None:
    ids = [constraint.id for constraint in constraints_of("LORA")]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", one) for one in ids)


def test_a_method_without_a_table_has_no_constraints() -> None:
    assert constraints_of("BONE") == ()


def by_id(constraint: Constraint) -> str:
    return constraint.id


@pytest.mark.parametrize("constraint", constraints_of("LORA"), ids=by_id)
def test_a_constraint_speaks_of_known_fields_in_sentences(constraint: Constraint) -> None:
    assert set(constraint.fields) <= set(FIELDS)
    assert constraint.why.endswith(".")
    assert constraint.mend.endswith(".")
    assert constraint.peft in ("warns", "silent-wrong") or not constraint.differs


def test_every_constraint_has_an_example_and_the_other_way_round() -> None:
    assert [constraint.id for constraint in constraints_of("LORA")] == list(EXAMPLES)


def config_of(fields: dict[str, Any]) -> dict[str, Any]:
    defaults = {name: field.default for name, field in fields_of("LORA").items()}
    return {**defaults, "peft_type": "LORA", "task_type": "CAUSAL_LM", **fields}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_breaks_its_constraint(name: str) -> None:
    example = EXAMPLES[name]
    config = config_of({**example["valid"], **example["broken"]})
    assert name in [constraint.id for constraint in broken_constraints(config, "LORA")]
    assert is_valid(config)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_valid_twin_of_an_example_breaks_nothing(name: str) -> None:
    config = config_of(EXAMPLES[name]["valid"])
    assert [constraint.id for constraint in broken_constraints(config, "LORA")] == []
    assert is_valid(config)


def test_absent_fields_count_with_their_defaults() -> None:
    absent = {"peft_type": "LORA", "lora_bias": True, "megatron_config": {"x": 1}}
    assert [constraint.id for constraint in broken_constraints(absent, "LORA")] == []
