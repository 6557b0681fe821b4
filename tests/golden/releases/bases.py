"""Three more bases, for what the oracle's own do not show; `register` puts them there."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from tests.oracle import base_models


class Expert(nn.Module):
    """A linear layer called as those of mixture-of-experts models."""

    def __init__(self) -> None:
        super().__init__()
        self.up_proj = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.up_proj(x))


class Block(nn.Module):
    """A layer with two numbered experts, both of them used."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([Expert(), Expert()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.experts[0](x) - self.experts[1](x)


class NumberedExperts(nn.Module):
    """Two numbered layers, whose paths hold two numbers: `model.layers.0.experts.1.up_proj`."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.layers = nn.ModuleList([Block(), Block()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.model.layers:
            x = layer(x)
        return x


def tiny_llama_ungrouped() -> nn.Module:
    """Llama as `tiny_llama`, with as many key-value heads as query heads."""
    config = LlamaConfig(
        vocab_size=40, hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=16, tie_word_embeddings=False, attn_implementation="eager",
        bos_token_id=1, eos_token_id=2, pad_token_id=None,
    )  # fmt: skip
    model = base_models.fill(LlamaForCausalLM(config))
    model.config._name_or_path = model.name_or_path = "example/tiny-llama-ungrouped"
    return model


class ConfiguredPerceptron(base_models.Perceptron):
    """The perceptron with a config, which AdaLoRA of 0.4 asks for, though it gives a plain tensor."""

    config: ClassVar = {"model_type": "custom", "_name_or_path": "example/perceptron"}


def numbered_experts_batch() -> dict[str, torch.Tensor]:
    """Three rows of six numbers."""
    return {"x": base_models.uniform_noise("input", torch.Size((3, 6)), 1.0)}


def register() -> None:
    """Put the bases among those of the oracle; once or more often comes to the same."""
    base_models.BASES.setdefault(
        "tiny_llama_ungrouped", base_models.Base(tiny_llama_ungrouped, base_models.BASES["tiny_llama"].batch)
    )
    base_models.BASES.setdefault(
        "configured_perceptron",
        base_models.Base(lambda: base_models.fill(ConfiguredPerceptron()), base_models.BASES["perceptron"].batch),
    )
    base_models.BASES.setdefault(
        "numbered_experts", base_models.Base(lambda: base_models.fill(NumberedExperts()), numbered_experts_batch)
    )
