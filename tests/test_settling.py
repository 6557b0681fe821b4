"""Which field a misfit is blamed on: goldens of real PEFT under a config that was changed in one field."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import adapter_format as af
from adapter_format.expressions import UNSOLVED, Solution, solve
from adapter_format.shapes import may_have, parse_shape, plain_scope

METHODS = Path(__file__).parent / "golden" / "methods"


def findings(folder: str, path: Path, **changes: Any) -> list[tuple[str, str, str]]:
    """Rule, severity and message of each error and warning under the changed config."""
    copy = path / folder
    shutil.copytree(METHODS / folder, copy)
    config = json.loads((copy / "adapter_config.json").read_text(encoding="utf-8"))
    (copy / "adapter_config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    report = af.validate(copy)
    return [(found.rule, found.severity, found.message) for found in report.findings if found.severity != "info"]


@pytest.mark.parametrize(
    ("folder", "field", "value", "rule"),
    [
        ("ia3_feedforward", "feedforward_modules", [], "AF414"),
        ("ia3_linear", "feedforward_modules", ["lin0"], "AF414"),
        ("psoft_free", "psoft_orth", True, "AF414"),
        ("psoft_orthogonal", "psoft_orth", False, "AF414"),
        ("boft_block_size", "boft_block_size", 2, "AF414"),
        ("boft_block_num", "boft_block_num", 2, "AF414"),
        ("oft_block_size", "oft_block_size", 2, "AF414"),
        ("oft_r", "r", 4, "AF414"),
        ("osf_rank", "effective_rank", 4, "AF414"),
        ("shadow_projection", "update_hidden_size", None, "AF414"),
        ("shadow_projection", "shadow_hidden_size", None, "AF414"),
        ("waveft_linear", "n_frequency", 20, "AF414"),
        ("trainable_tokens_tied", "token_indices", [7, 9], "AF414"),
        ("prompt_tuning_causal", "num_transformer_submodules", 2, "AF414"),
        ("adaption_prompt_llama", "adapter_layers", 1, "AF315"),
    ],
)
def test_one_finding_names_the_field(folder: str, field: str, value: Any, rule: str, tmp_path: Path) -> None:
    found = findings(folder, tmp_path, **{field: value})

    assert [(name, severity) for name, severity, _ in found] == [(rule, "error")]
    assert f"`{field}`" in found[0][2]


def test_fewer_modules_than_the_config_counts_are_a_warning(tmp_path: Path) -> None:
    """PEFT adds the lacking prompts with closed gates, or refuses if the base has no such layers."""
    found = findings("adaption_prompt_gpt2", tmp_path, adapter_layers=2)

    assert [(rule, severity) for rule, severity, _ in found] == [("AF316", "warning")]


def test_a_rank_that_only_conditional_tensors_have_is_a_rank(tmp_path: Path) -> None:
    found = findings("supertuning_low_rank", tmp_path, r=3)

    assert [rule for rule, _, _ in found] == ["AF401"]
    assert found[0][2].startswith("4 of 4 modules are stored with rank 2, but the config gives 3")


def test_tensors_that_are_computed_anew_are_no_error_where_the_config_drops_them(tmp_path: Path) -> None:
    found = findings("supertuning_linear", tmp_path, save_precomputed_indices=False)

    assert [(rule, severity) for rule, severity, _ in found] == [("AF306", "warning")]


def test_a_feedforward_list_of_null_leaves_the_choice_to_the_base(tmp_path: Path) -> None:
    assert findings("ia3_gpt2", tmp_path, feedforward_modules=None) == []


@pytest.mark.parametrize(
    ("text", "known", "solution"),
    [
        ("size if size else d_in/number", {"d_in": 12, "number": 2}, Solution("size", 4)),
        ("size if size else d_in/number", {"d_in": 12, "size": 0}, Solution("number", 3)),
        ("a if chosen else b", {"chosen": False, "a": 1}, Solution("b", 4)),
        ("a if chosen else b", {"a": 1, "b": 4}, UNSOLVED),
    ],
)
def test_a_choice_is_solved_where_it_can_be(text: str, known: dict[str, int], solution: Solution) -> None:
    assert solve(text, 4, plain_scope(known)) == solution


def test_what_sizes_a_shape_can_have() -> None:
    square, column = parse_shape(["n", "n"]), parse_shape(["1", "n", "*1"])

    assert may_have(square, (3, 3))
    assert not may_have(square, (3, 4))
    assert may_have(column, (1, 5, 1, 1))
    assert not may_have(column, (1, 5, 2))
    assert not may_have(column, (5, 1))
