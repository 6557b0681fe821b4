"""What callers say wrong of an adapter that is not there yet: to `expected_size` and to `adapter_format.testing`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adapter_format as af
from adapter_format.testing import adapters, configs, damage, sample_adapter


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"peft_type": "LOKR", "config": {"r": "x"}}, '`r` is "x", expected an integer of at least 1.'),
        ({"config": {"rr": 4}}, "LoRA has no config field 'rr'"),
        ({"config": {"r": 4.0}}, "`r` is 4.0, expected an integer without a fraction."),
        ({"r": 0}, "`r` is 0, expected an integer of at least 1."),
        ({"r": 8, "peft_type": "IA3"}, "IA3 takes no rank."),
        ({"r": 8, "peft_type": "VERRA"}, "did you mean 'VERA'?"),
    ],
)
def test_a_wrong_setting_has_no_size(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(af.UsageError) as raised:
        af.expected_size([(8, 8)], **arguments)
    assert sentence in str(raised.value)


def _draw(strategy: st.SearchStrategy[Any]) -> None:
    @settings(max_examples=1, database=None)
    @given(strategy)
    def draw(_: Any) -> None:
        pass

    draw()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: damage(sample_adapter("VERA"), "AF999"), "There is no rule 'AF999'."),
        (lambda: damage(sample_adapter("VERA"), "AF101"), "No damage breaks AF101; there is damage for AF209, "),
        (lambda: sample_adapter("vera"), "did you mean 'VERA'?"),
        (lambda: _draw(adapters(dtypes=["XX"])), "The element type 'XX' is none of BOOL, "),
        (lambda: _draw(adapters(methods=[])), "No method is named"),
        (lambda: _draw(configs("XX")), "No layout is known for the method 'XX'"),
    ],
)
def test_what_testing_does_not_know(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(af.UsageError) as raised:
        call()
    assert sentence in str(raised.value)


def test_a_rule_may_be_named_by_its_slug() -> None:
    by_slug, by_id = (damage(sample_adapter("VERA"), name) for name in ("key-prefix-missing", "AF301"))
    assert by_id is not None
    assert by_slug == by_id


@settings(max_examples=5)
@given(adapters(methods="VERA", dtypes="F32"))
def test_a_single_method_needs_no_list(adapter: Any) -> None:
    assert adapter.config["peft_type"] == "VERA"
