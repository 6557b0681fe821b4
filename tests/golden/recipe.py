"""What a golden adapter is made of, and the trainings that differ from adding noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.lora.eva import initialize_lora_eva_weights
from peft.tuners.lora.loraga import preprocess_loraga
from torch import nn

from tests.oracle import base_models

Prepare = Callable[[Any, "Golden"], Any]
Train = Callable[[Any, "Golden"], None]


@dataclass(frozen=True)
class Golden:
    """One golden: what it shows, its base, its config and what is done besides the usual."""

    name: str
    base: str
    shows: str
    config: dict[str, Any]
    prepare: Prepare | None = None
    """Called with the base model; returns what is wrapped."""
    train: Train | None = None
    """Called with the wrapped model in place of adding noise."""
    saves: tuple[dict[str, Any], ...] = ({},)
    """Options of `save_pretrained`, one dictionary for each call."""
    wrap: dict[str, Any] = field(default_factory=dict)
    """Options of `get_peft_model`."""
    load: dict[str, Any] = field(default_factory=dict)
    """Options of `from_pretrained`, needed for the same outputs."""
    others: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further adapters: name and config."""
    stored_dtype: torch.dtype | None = None
    """The dtype to which every trainable tensor is cast just before it is saved."""
    written_by_transformers: bool = False
    """Wrapped and saved by Transformers' own `add_adapter` and `save_pretrained`."""
    trained_with: tuple[str, ...] = ()
    """Stand-ins, at training, for parts of PEFT that want special hardware."""
    loaded_with: tuple[str, ...] = ()
    """Stand-ins at loading."""
    tolerance: float = 1e-4
    peft_type: str = "LORA"
    inputs: dict[str, list[int]] = field(default_factory=dict)
    """What the wrapped model takes beside the batch of its base, as lists of integers."""
    not_kept: tuple[str, ...] = ()
    """Folders that PEFT writes beside the adapter and that are removed again."""
    why: str | None = None
    """For one that does not reload with the same outputs: the reason."""


def method(
    peft_type: str, setting: str, base: str, shows: str, /, also: dict[str, Any] | None = None, **config: Any
) -> Golden:
    """The golden `<peft_type>_<setting>` with that config; `also` are further members of the `Golden`."""
    return Golden(f"{peft_type.lower()}_{setting}", base, shows, config, peft_type=peft_type, **(also or {}))


def add_noise(model: nn.Module, golden: Golden) -> None:
    """Add seeded noise to every trainable tensor of the active adapter, and run nothing."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                noise = base_models.uniform_noise(f"{golden.name}:{name}", parameter.shape, 0.3, seed=1)
                parameter.add_(noise.to(parameter.dtype))


def leave_fresh(model: nn.Module, golden: Golden) -> None:
    """An adapter as it is before training."""


def add_noise_and_run(model: nn.Module, golden: Golden) -> None:
    """Noise, and two forward passes in training mode, by which buffers change."""
    add_noise(model, golden)
    model.train()
    for _ in range(2):
        model(**base_models.batch(golden.base))
    model.eval()


def add_noise_and_step_back(model: nn.Module, golden: Golden) -> None:
    """Noise, and a forward and a backward pass in training mode."""
    add_noise(model, golden)
    model.train()
    model(**base_models.batch(golden.base)).logits.square().mean().backward()
    model.zero_grad()
    model.eval()


def round_to_float8(model: nn.Module, golden: Golden) -> None:
    """Noise, then every trainable tensor rounded to float8 (still computed in float32)."""
    add_noise(model, golden)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(parameter.to(torch.float8_e4m3fn).to(parameter.dtype))


def initialise_eva(model: PeftModel, golden: Golden) -> None:
    """EVA's initialisation from activations, then noise."""
    rows = [base_models.batch(golden.base) for _ in range(3)]
    for number, row in enumerate(rows):
        row["input_ids"] = (row["input_ids"] * (3 + 2 * number)) % 40
        row["attention_mask"] = torch.ones_like(row["input_ids"])
        row["labels"] = row["input_ids"]
    initialize_lora_eva_weights(model, rows, show_progress_bar=False)
    add_noise(model, golden)


def prepare_corda(base: nn.Module, golden: Golden) -> nn.Module:
    """CorDA's statistics of the base, one sequence at a time."""

    def run() -> None:
        with torch.no_grad():
            for row in base_models.batch(golden.base)["input_ids"]:
                base(input_ids=row[None])

    preprocess_corda(base, LoraConfig(**golden.config), run_model=run)
    return base


def prepare_lora_ga(base: nn.Module, golden: Golden) -> nn.Module:
    """LoRA-GA's gradients of the base."""

    def step() -> None:
        base(**base_models.batch(golden.base)).logits.square().mean().backward()

    preprocess_loraga(base, LoraConfig(**golden.config), train_step=step)
    return base


def compile_base(base: nn.Module, golden: Golden) -> Any:
    """The base as `torch.compile` wraps it (it still runs eagerly: no compiler is needed)."""
    return torch.compile(base, backend="eager")
