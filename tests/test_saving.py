"""Saving: what is refused, what is completed, and where several adapters go."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import adapter_format as af

KEY = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}


def _tensors(rank: int = 2) -> dict[str, np.ndarray]:
    return {KEY.format("A"): np.ones((rank, 6), "f4"), KEY.format("B"): np.ones((4, rank), "f4")}


def test_what_every_reader_needs_is_written_even_if_it_was_not_given(tmp_path: Path) -> None:
    af.save(tmp_path, _tensors(8), {"peft_type": "LORA"})

    written = json.loads((tmp_path / "adapter_config.json").read_text())

    assert written == {
        "base_model_name_or_path": None,
        "inference_mode": True,
        "lora_alpha": 8,
        "peft_type": "LORA",
        "r": 8,
        "target_modules": None,
        "task_type": None,
    }


def test_a_refusal_names_the_rule_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        af.RefusedError, match=r"^Not saved, AF401 rank-mismatch: .*rank 2, but the config gives 8"
    ) as refused:
        af.save(tmp_path / "new", _tensors(), {**CONFIG, "r": 8})

    assert [finding.rule for finding in refused.value.findings] == ["AF401"]
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_leaves_the_adapter_before_as_it_was(tmp_path: Path) -> None:
    af.save(tmp_path, _tensors(), CONFIG)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(af.RefusedError):
        af.save(tmp_path, {KEY.format("A"): np.ones((2, 6))}, CONFIG)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_tensor_that_can_not_be_stored_is_named(tmp_path: Path) -> None:
    with pytest.raises(af.UsageError, match="lora_A"):
        af.save(tmp_path / "new", {**_tensors(), KEY.format("A"): np.array([object()])}, CONFIG)


def test_the_default_adapter_is_in_the_folder_and_others_below_it(tmp_path: Path) -> None:
    af.save_all(tmp_path, {"default": (_tensors(), CONFIG), "other": (_tensors(), {**CONFIG, "lora_alpha": 8})})

    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")) == [
        "adapter_config.json",
        "other/adapter_config.json",
    ]
    assert af.load(tmp_path / "other").config.lora_alpha == 8
    assert [Path(found).name for found in af.find_adapters(tmp_path)] == [tmp_path.name, "other"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "..\\up", "c:", "a\nb", "a\0b"])
def test_a_name_that_can_not_be_a_folder_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(af.UsageError, match="can't be the name of a folder"):
        af.save_all(tmp_path / "new", {"default": (_tensors(), CONFIG), name: (_tensors(), CONFIG)})

    assert not (tmp_path / "new").exists()
