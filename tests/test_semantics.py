"""The scale: PEFT's `lora_alpha / r` and `lora_alpha / sqrt(r)`, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from adapter_format.errors import UnreadableAdapterError
from adapter_format.layouts import Layout, layout_of
from adapter_format.semantics import scaling

Q = "model.layers.0.self_attn.q_proj"
LAYER_ONE = "model.layers.1.self_attn.q_proj"


@pytest.fixture
def lora() -> Layout:
    layout = layout_of("LORA")
    assert layout is not None
    return layout


@pytest.mark.parametrize(
    ("config", "path", "rank", "scale"),
    [
        ({"lora_alpha": 32}, Q, 16, 2.0),
        ({"lora_alpha": 32, "use_rslora": True}, Q, 16, 8.0),
        ({"lora_alpha": 32, "use_rslora": False}, Q, 16, 2.0),
        ({"lora_alpha": 1.5}, Q, 3, 0.5),
        ({}, Q, 4, 2.0),  # PEFT's default of lora_alpha is 8
        ({"lora_alpha": 0}, Q, 4, 0.0),
        ({"lora_alpha": 8, "alpha_pattern": {"q_proj": 64}}, Q, 16, 4.0),
        ({"lora_alpha": 8, "alpha_pattern": {"k_proj": 64}}, Q, 16, 0.5),
        ({"lora_alpha": 8, "alpha_pattern": {"0.self_attn.q_proj": 64, "q_proj": 32}}, Q, 16, 4.0),
        ({"lora_alpha": 8, "alpha_pattern": {"0.self_attn.q_proj": 64, "q_proj": 32}}, LAYER_ONE, 16, 2.0),
        # The first that matches decides, not the longest.
        ({"lora_alpha": 8, "alpha_pattern": {"q_proj": 32, "0.self_attn.q_proj": 64}}, Q, 16, 2.0),
        ({"lora_alpha": 8, "alpha_pattern": {r".*layers\.[01]\..*": 16}, "use_rslora": True}, Q, 4, 8.0),
    ],
)
def test_the_scale_is_that_of_peft(lora: Layout, config: dict[str, Any], path: str, rank: int, scale: float) -> None:
    assert scaling(lora, config, path, rank) == scale


@pytest.mark.parametrize("alpha", [None, "16", True, [16], 10**400, float("inf"), float("nan")])
def test_no_number_no_scale(lora: Layout, alpha: object) -> None:
    with pytest.raises(UnreadableAdapterError, match="lora_alpha"):
        scaling(lora, {"lora_alpha": alpha}, Q, 16)


@pytest.mark.parametrize("rank", [0, -4])
def test_no_rank_no_scale(lora: Layout, rank: int) -> None:
    with pytest.raises(UnreadableAdapterError, match="rank"):
        scaling(lora, {"lora_alpha": 16}, Q, rank)
