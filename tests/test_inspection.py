"""What is inside an adapter, against what the recipes of the goldens say, and on damaged ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from adapter_format.errors import UsageError
from adapter_format.inspection import CompanionGroup, inspect
from adapter_format.rules.edits import DenyReading
from adapter_format.rules.registry import all_rules
from adapter_format.testing.drafts import write_mutation

GOLDENS = Path(__file__).parent / "golden" / "lora"
# The superuser may read what `DenyReading` locks.
MUTATIONS = [
    (rule, rule.mutations[0])
    for rule in all_rules()
    if rule.mutations and rule.level == "header" and not isinstance(rule.mutations[0].edits[0], DenyReading)
    # A consumer is asked about by `validate` alone.
    if not rule.mutations[0].consumers
]


def _changed(source: str, folder: Path, **changes: Any) -> Path:
    shutil.copytree(GOLDENS / source, folder / "adapter")
    path = folder / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder / "adapter"


def test_modules_that_differ_in_a_number_share_a_row() -> None:
    rows = inspect(GOLDENS / "bf16").groups

    assert [(row.path, row.modules, row.rank, dict(row.symbols), row.scale, row.dtypes) for row in rows] == [
        ("model.layers.*.self_attn.q_proj", 2, 2, {"d_in": 12, "d_out": 12}, 2.0, ("BF16",)),
        ("model.layers.*.self_attn.v_proj", 2, 2, {"d_in": 12, "d_out": 6}, 2.0, ("BF16",)),
    ]
    # r (d_in + d_out) elements of 2 bytes in each of 2 layers
    assert [(row.parameters, row.bytes) for row in rows] == [(2 * 2 * 24, 4 * 2 * 24), (2 * 2 * 18, 4 * 2 * 18)]


def test_modules_of_other_rank_or_alpha_have_rows_of_their_own() -> None:
    rows = inspect(GOLDENS / "rank_and_alpha_pattern").groups

    # alpha 4, rsLoRA; rank 4 for q_proj, alpha 7 for that of layer 0: 7/sqrt(4), 4/sqrt(4), 4/sqrt(2)
    assert [(row.path, row.rank, row.alpha, round(row.scale or 0, 5)) for row in rows] == [
        ("model.layers.0.self_attn.q_proj", 4, 7.0, 3.5),
        ("model.layers.1.self_attn.q_proj", 4, 4.0, 2.0),
        ("model.layers.*.self_attn.v_proj", 2, 4.0, 2.82843),
    ]


def test_companions_are_counted_by_sort() -> None:
    # Two embeddings of 40 rows and width 12 in F32.
    assert inspect(GOLDENS / "embeddings_saved_on_demand").companions == (
        CompanionGroup("stored embedding", 2, 2 * 40 * 12, 4 * 2 * 40 * 12),
    )


def test_settings_are_what_differs_from_the_defaults() -> None:
    assert inspect(GOLDENS / "dora_gpt2").settings == {
        "target_modules": ["c_attn"],
        "fan_in_fan_out": True,
        "use_dora": True,
    }


def test_a_pattern_for_a_parameter_finds_its_module(tmp_path: Path) -> None:
    adapter = _changed("expert_parameter", tmp_path, alpha_pattern={"experts.weight": 99, "up_proj": 8, "down_proj": 8})

    config = json.loads((adapter / "adapter_config.json").read_text())
    (name,) = {target.rpartition(".")[2] for target in config["target_parameters"]}
    rows = [row for row in inspect(adapter).groups if row.kind == "parameter"]
    expected = {"experts.weight": 99.0}.get(f"experts.{name}", 8.0)
    assert [row.alpha for row in rows] == [expected]


def test_a_key_that_may_mean_two_parameters_has_no_single_scale(tmp_path: Path) -> None:
    adapter = _changed("mixtral_experts", tmp_path, alpha_pattern={"gate_up_proj": 64})

    experts = [row for row in inspect(adapter).groups if row.kind == "parameter"]
    assert [(row.alpha, row.scale) for row in experts] == [(None, None), (None, None)]


def test_an_alpha_that_is_no_number_leaves_the_rest_legible(tmp_path: Path) -> None:
    inspection = inspect(_changed("bf16", tmp_path, lora_alpha="16"))

    assert [(row.rank, row.scale) for row in inspection.groups] == [(2, None), (2, None)]


@pytest.mark.parametrize(("rule", "mutation"), MUTATIONS, ids=[rule.id for rule, _ in MUTATIONS])
def test_defects_do_not_keep_it_from_looking(rule: Any, mutation: Any, tmp_path: Path) -> None:
    write_mutation(mutation, tmp_path / "adapter")

    inspection = inspect(tmp_path / "adapter")

    stored = sum(row.bytes for row in inspection.groups) + sum(group.bytes for group in inspection.companions)
    assert rule.id in {finding.rule for finding in inspection.report.findings}
    assert inspection.size is None or inspection.size.stored_bytes <= max(stored, inspection.report.summary.bytes or 0)


def test_what_is_not_there_is_bad_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        inspect(tmp_path / "nope")
