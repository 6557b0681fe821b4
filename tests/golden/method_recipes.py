"""The table of golden adapters of every method but LoRA, from one table for each family."""

from __future__ import annotations

from tests.golden import (
    method_recipes_low_rank,
    method_recipes_networks,
    method_recipes_orthogonal,
    method_recipes_prompts,
    method_recipes_shared,
    method_recipes_sparse,
)

GOLDENS = [
    *method_recipes_low_rank.GOLDENS,
    *method_recipes_shared.GOLDENS,
    *method_recipes_orthogonal.GOLDENS,
    *method_recipes_sparse.GOLDENS,
    *method_recipes_prompts.GOLDENS,
    *method_recipes_networks.GOLDENS,
]
