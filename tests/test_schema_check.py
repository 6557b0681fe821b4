"""The fast check of the config schema against the jsonschema library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from adapter_format.config_fields import fields_of
from adapter_format.packaged import load_schema
from adapter_format.schema_check import Violation, compile_schema, float_integers, is_valid, violations

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = load_schema("adapter_config")
LIBRARY = Draft202012Validator(SCHEMA)

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def values_of(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema accepts, for the keywords that the packaged schema uses."""
    if "$ref" in schema:
        return values_of(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return st.one_of([values_of(branch) for branch in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "pattern" in schema:
        return st.from_regex(schema["pattern"])
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of([values_of_type(name, schema) for name in names])


def values_of_type(name: str, schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if name == "integer":
        return st.integers(low, high)
    if name == "number":
        above = schema.get("exclusiveMinimum")
        return st.floats(low if above is None else above, high, exclude_min=above is not None) | st.integers(
            1 if low is None else low, high
        )
    if name == "array":
        items = values_of(schema.get("items", {"type": "null"}))
        return st.lists(items, min_size=schema.get("minItems", 0), max_size=schema.get("maxItems", 3))
    if name == "object" and "properties" in schema:
        return st.fixed_dictionaries({}, optional={k: values_of(v) for k, v in schema["properties"].items()})
    if name == "object":
        rest = schema.get("additionalProperties")
        return st.dictionaries(st.text(max_size=4), values_of(rest) if rest else ANY_JSON, max_size=3)
    simple: dict[str, st.SearchStrategy[Any]] = {
        "string": st.text(min_size=schema.get("minLength", 0), max_size=8),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return simple[name]


FIELDS = {
    name: values_of(schema)
    for definition in ("common", "LORA")
    for name, schema in SCHEMA["$defs"][definition]["properties"].items()
    if name != "peft_type"
}
VALID_CONFIGS = st.fixed_dictionaries({"peft_type": st.just("LORA")}, optional=FIELDS)
NAMES = st.sampled_from(sorted(FIELDS)) | st.just("peft_type") | st.text(max_size=4)
MUTATIONS = st.dictionaries(NAMES, ANY_JSON)


@given(VALID_CONFIGS)
def test_generated_configs_are_valid_to_both(config: dict[str, Any]) -> None:
    assert is_valid(config)
    assert LIBRARY.is_valid(config)


@given(VALID_CONFIGS, MUTATIONS)
def test_both_agree_on_mutated_configs(config: dict[str, Any], changes: dict[str, Any]) -> None:
    mutated = {**config, **changes}
    assert is_valid(mutated) == LIBRARY.is_valid(mutated)


@given(st.sampled_from(sorted(FIELDS)), ANY_JSON)
def test_both_agree_on_any_value_of_one_field(name: str, value: Any) -> None:
    config = {"peft_type": "LORA", name: value}
    assert is_valid(config, "LORA") == LIBRARY.is_valid(config)


@given(VALID_CONFIGS, MUTATIONS)
def test_only_invalid_configs_have_violations(config: dict[str, Any], changes: dict[str, Any]) -> None:
    mutated = {**config, **changes}
    assert (list(violations(mutated)) == []) == is_valid(mutated)


def test_a_config_of_defaults_is_valid() -> None:
    defaults = {name: field.default for name, field in fields_of("LORA").items()}
    assert is_valid({**defaults, "peft_type": "LORA"})


def test_another_method_is_judged_by_the_common_fields_only() -> None:
    assert is_valid({"peft_type": "SOMETHING_NEW", "r": "high"})
    assert not is_valid({"peft_type": "SOMETHING_NEW", "task_type": "high"})


@pytest.mark.parametrize(
    ("schema", "value", "valid"),
    [
        ({"type": "integer"}, True, False),
        ({"type": "integer"}, 1.0, True),
        ({"type": "integer"}, 1.5, False),
        ({"type": "integer"}, float("inf"), False),
        ({"type": "number"}, False, False),
        ({"type": "number"}, float("nan"), True),
        ({"minimum": 1}, float("nan"), True),
        ({"minimum": 1}, True, True),
        ({"minimum": 1}, "0", True),
        ({"exclusiveMinimum": 0}, 0, False),
        ({"const": 1}, True, False),
        ({"const": 1}, 1.0, True),
        ({"const": True}, 1, False),
        ({"enum": [0, None]}, False, False),
        ({"enum": [0, None]}, [], False),
        ({"pattern": "b"}, "abc", True),
        ({"pattern": "^b"}, "abc", False),
        ({"minLength": 2}, "\U0001f600", False),
        ({"required": ["a"]}, [], True),
        ({"properties": {"a": False}}, {"a": 1}, False),
        ({"properties": {"a": True}, "additionalProperties": False}, {"b": 1}, False),
        ({"additionalProperties": {"type": "null"}}, {"b": 1}, False),
        ({"if": {"type": "null"}, "then": False}, None, False),
        ({"if": {"type": "null"}, "then": False}, 1, True),
        ({"items": {"type": "null"}, "maxItems": 1}, [None, None], False),
    ],
)
def test_the_check_means_what_json_schema_means(schema: dict[str, Any], value: Any, valid: bool) -> None:
    assert Draft202012Validator(schema).is_valid(value) is valid
    assert compile_schema(schema)(value) is valid


@pytest.mark.parametrize(
    "schema",
    [
        {"uniqueItems": True},
        {"properties": {"a": {"oneOf": []}}},
        {"enum": [[1]]},
        {"type": "float"},
        {"$ref": "https://example.org/schema"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    ],
)
def test_what_is_not_implemented_is_refused_when_compiling(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"implemented|exist|\$defs|itself"):
        compile_schema(schema)


def only_violation(**fields: Any) -> Violation:
    (violation,) = violations({"peft_type": "LORA", **fields})
    return violation


def test_a_violation_names_place_found_and_expected() -> None:
    assert only_violation(r=0).message == "`r` is 0, expected an integer of at least 1."


def test_a_wrong_item_is_reported_at_its_place() -> None:
    violation = only_violation(rank_pattern={"a/b~c": True})
    assert (violation.pointer, violation.keyword) == ("/rank_pattern/a~1b~0c", "type")


def test_a_value_of_no_allowed_type_breaks_the_type() -> None:
    violation = only_violation(target_modules=7)
    assert violation.keyword == "type"
    assert violation.expected == "a string that is not empty, a list (each item a string) or null"


def test_a_number_out_of_range_is_told_by_its_range() -> None:
    assert only_violation(layers_to_transform=-1).expected == "an integer of at least 0"


def test_a_missing_method_is_one_violation() -> None:
    (violation,) = violations({})
    assert violation.message == "The config lacks the field peft_type."


def test_long_values_are_cut() -> None:
    assert len(only_violation(bias="x" * 1_000_000).found) <= 60


def test_hostile_values_are_shown_in_ascii() -> None:
    assert only_violation(bias="\u202e\x1b[31m\n").found.isascii()
    assert only_violation(bias="\u202e\x1b[31m\n").found.isprintable()


def test_hostile_names_are_shown_in_ascii() -> None:
    message = only_violation(rank_pattern={"\u202e\n\x1b[31m" * 1000: None}).message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 200


def test_floats_in_place_of_integers_are_found_anywhere() -> None:
    config = json.loads(
        '{"peft_type": "LORA", "r": 8.0, "lora_alpha": 8.0, "rank_pattern": {"a": 1e1},'
        ' "trainable_token_indices": {"b": [1, 2.0]}, "use_bdlora": {"nblocks": 2.0}, "unknown": 1.0}'
    )
    assert [violation.pointer for violation in float_integers(config)] == [
        "/r",
        "/rank_pattern/a",
        "/trainable_token_indices/b/1",
        "/use_bdlora/nblocks",
    ]
    assert is_valid(config)
