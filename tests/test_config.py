"""The config as programs see it: typed, complete with defaults, and faithful to what it does not know."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapter_format as af

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=6))
def test_what_is_not_known_is_written_back_unchanged(fields: dict[str, object]) -> None:
    assert dict(af.AdapterConfig.from_json(af.AdapterConfig(fields).to_json())) == fields


def test_an_absent_field_has_the_default_of_its_schema() -> None:
    config = af.AdapterConfig(peft_type="LORA")

    assert (config.r, config.lora_alpha, config.use_dora, config.rank_pattern) == (8, 8, False, {})


def test_a_default_can_not_be_changed_for_others() -> None:
    af.AdapterConfig(peft_type="LORA").rank_pattern["q_proj"] = 2

    assert af.AdapterConfig(peft_type="LORA").rank_pattern == {}


def test_a_field_that_no_method_has_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="a LORA config has no field 'rank'"):
        _ = af.AdapterConfig(peft_type="LORA").rank


def test_fields_are_sorted_but_the_order_of_patterns_is_kept() -> None:
    config = af.AdapterConfig(r=4, peft_type="LORA", alpha_pattern={"b": 1, "a": 2})

    text = config.to_json()

    assert list(json.loads(text)) == ["alpha_pattern", "peft_type", "r"]
    assert list(json.loads(text)["alpha_pattern"]) == ["b", "a"]
    assert text.startswith('{\n  "alpha_pattern": {\n    "b": 1,')
    assert not text.endswith("\n")


def test_sets_are_written_sorted() -> None:
    assert json.loads(af.AdapterConfig(target_modules={"v", "q"}).to_json())["target_modules"] == ["q", "v"]


def test_a_changed_copy_leaves_the_original_alone() -> None:
    config = af.AdapterConfig(peft_type="LORA", r=4)

    assert config.replace(r=8).r == 8
    assert config.r == 4


@pytest.mark.parametrize("text", ["", "[]", "{", '{"r": }', "null", "{'r': 1}"])
def test_text_that_is_no_config_is_an_error_of_one_sentence(text: str) -> None:
    with pytest.raises(af.UnreadableAdapterError, match=r"^adapter_config\.json .+"):
        af.AdapterConfig.from_json(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"x"])
def test_a_value_that_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(af.UsageError, match="can't be written as JSON"):
        af.AdapterConfig(lora_alpha=value).to_json()
