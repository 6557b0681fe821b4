"""Fitting a config to an older release: what goes, what stays, and what the text looks like."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_format.consumers.held import Held
from adapter_format.consumers.history import releases
from adapter_format.consumers.requests import Request
from adapter_format.repair.config_text import without_fields
from adapter_format.repair.retarget import Retargeting, retarget
from adapter_format.testing.drawn_fields import defaults_of

LORA = {**defaults_of("LORA"), "peft_type": "LORA", "target_modules": ["q_proj"], "peft_version": "0.21.2"}


def planned(config: dict[str, Any], release: str) -> Retargeting:
    return retarget(Held(config, None), json.dumps(config, indent=2), Request("peft", release))


def test_fields_with_their_defaults_go() -> None:
    plan = planned(LORA, "0.13.2")
    assert plan.obstacles == ()
    assert {"eva_config", "peft_version", "exclude_modules", "qalora_group_size"} <= set(plan.dropped)
    assert set(json.loads(plan.text)) == set(LORA) - set(plan.dropped)
    assert all(json.loads(plan.text)[name] == LORA[name] for name in json.loads(plan.text))


@pytest.mark.parametrize("release", [release for release in releases() if release != "0.1.0"])
def test_what_is_left_is_known_to_the_release(release: str) -> None:
    plan = planned(LORA, release)
    assert plan.obstacles == ()
    again = planned(json.loads(plan.text), release)
    assert (again.dropped, again.obstacles, again.text) == ({}, (), plan.text)


@pytest.mark.parametrize(
    ("field", "value", "release"),
    [
        ("exclude_modules", ["k_proj"], "0.13.2"),
        ("use_dora", True, "0.8.2"),
        ("qalora_group_size", 8, "0.13.2"),
        ("eva_config", {"rho": 2.0}, "0.13.2"),
        ("use_dora", True, "0.5.0"),
        ("kasa_config", {}, "0.20.0"),
    ],
)
def test_a_field_that_says_something_is_never_dropped(field: str, value: object, release: str) -> None:
    plan = planned({**LORA, field: value}, release)
    assert field not in plan.dropped or value in ({},)
    if field not in plan.dropped:
        assert [field] == [(reason.location.pointer or "")[1:] for reason in plan.obstacles]


def test_a_field_that_changes_nothing_but_says_something_stays_where_it_is_dropped_anyway() -> None:
    plan = planned({**LORA, "velora_config": {"num_groups": 2}}, "0.17.1")
    assert plan.obstacles == ()
    assert "velora_config" in json.loads(plan.text)


def test_what_no_dropping_mends_is_an_obstacle() -> None:
    lacking = planned({"peft_type": "C3A", "peft_version": "0.21.2"}, "0.13.2")
    assert [reason.kind for reason in lacking.obstacles] == ["method"]
    otherwise = planned({"peft_type": "LOKR", "r": 4, "alpha": 8, "exclude_modules": None}, "0.13.2")
    assert [reason.kind for reason in otherwise.obstacles] == ["layout"]


@given(
    st.dictionaries(st.text(max_size=4), st.none() | st.integers() | st.text(max_size=4), max_size=5),
    st.sampled_from([2, 4, "\t", None]),
    st.booleans(),
    st.sampled_from(["", "\n", " \n"]),
)
def test_the_layout_of_the_text_is_kept(config: dict[str, Any], indent: Any, escaped: bool, end: str) -> None:
    both = {**config, "to go": 1}
    text = json.dumps(both, indent=indent, ensure_ascii=escaped) + end
    left = without_fields(text, frozenset({"to go"}))
    assert json.loads(left) == config
    assert left == json.dumps(config, indent=indent, ensure_ascii=escaped) + end or not config


def test_a_text_that_loses_nothing_stays_as_it_is() -> None:
    text = '{ "r":4,\n\n"x" : 1 }'
    assert without_fields(text, frozenset({"y"})) == text


def test_a_text_of_another_layout_gets_that_of_peft() -> None:
    assert without_fields('{"r":4,\n"x" : 1 }', frozenset({"x"})) == '{\n  "r": 4\n}'
