"""The config schema of every method but LoRA against what the newest real PEFT accepts."""

from __future__ import annotations

import json

import pytest

from adapter_format.config_fields import fields_of
from adapter_format.schema_check import float_integers, is_valid
from tests.oracle.config_refusals import CONFIG, how_often, measured, methods, own_fields
from tests.oracle.golden_adapters import golden_adapters

TROUBLE = (TypeError, AttributeError, RecursionError, NotImplementedError)


@pytest.mark.parametrize("method", methods())
def test_peft_refuses_what_the_schema_refuses_as_often_as_it_says(method: str) -> None:
    found = {field: how_often(odd) for field, odd in measured(method).items()}
    said = {field: fields_of(method)[field].refuses for field in own_fields(method)}
    assert found == said


@pytest.mark.parametrize("method", methods())
def test_peft_has_no_trouble_with_the_type_of_what_the_schema_takes(method: str) -> None:
    trouble = {
        (field, json.dumps(one.value)): one.error
        for field, odd in measured(method).items()
        for one in odd
        if one.valid and isinstance(one.error, TROUBLE)
    }
    assert trouble == {}


# A flag that is neither true nor false, a probability below 0 that turns dropout off: nobody means them.
FLAGS = {"block_share", "proportional_parameters", "psoft_orth", "runtime_offload_base_weight"}
FLAGS |= {"save_precomputed_indices", "save_projection", "use_dora"}


@pytest.mark.parametrize("method", methods())
def test_no_number_or_null_that_peft_takes_is_called_an_error(method: str) -> None:
    wrong = {
        (field, one.value)
        for field, odd in measured(method).items()
        for one in odd
        if not one.valid and one.same and fields_of(method)[field].refuses != "never"
        if one.value is None or isinstance(one.value, (int, float))
        if field not in FLAGS and not (field.endswith("dropout") and one.value == -1)
    }
    assert {place for place in wrong if not isinstance(place[1], bool) and place[1] != 0} <= ODD_BUT_TAKEN


ODD_BUT_TAKEN = {
    ("alpha_pattern", None),  # AdaLoRA does not read this field of LoRA at all
    ("num_frozen_tokens", 1.5),
    ("num_frozen_tokens", 2.0),
    ("shadow_num_attention_heads", 2.0),
    ("shadow_num_hidden_layers", 1.5),
    *(("monteclora_config", number) for number in (-1, 1, 1.5, 2.0)),  # nor this one
}


@pytest.mark.parametrize("method", methods())
def test_what_peft_wrote_is_valid(method: str) -> None:
    for golden in golden_adapters():
        if golden.peft_type == method:
            config = json.loads((golden.folder / CONFIG).read_text(encoding="utf-8"))
            assert is_valid(config), golden.folder
            assert list(float_integers(config)) == [], golden.folder
