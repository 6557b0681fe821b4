"""The trainings of the release goldens: seeded noise, and AdaLoRA's pruning (of a model that gives a tensor)."""

from __future__ import annotations

import torch
from torch import nn

from tests.golden.releases.recipes import Recipe
from tests.oracle import base_models

PRUNING_STEPS = 8


def add_noise(model: nn.Module, recipe: Recipe) -> None:
    """Add seeded noise to every trainable tensor, as the newest goldens do."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                noise = base_models.uniform_noise(f"{recipe.name}:{name}", parameter.shape, 0.3, seed=1)
                parameter.add_(noise.to(parameter.dtype))


def prune_ranks(model: nn.Module, recipe: Recipe) -> None:
    """Noise, then backward passes after each of which AdaLoRA takes ranks away, as a training would."""
    add_noise(model, recipe)
    model.train()
    for step in range(PRUNING_STEPS):
        model(**base_models.batch(recipe.base)).square().mean().backward()
        model.base_model.update_and_allocate(step)
        model.zero_grad()
    model.eval()


TRAININGS = {"add_noise": add_noise, "prune_ranks": prune_ranks}
