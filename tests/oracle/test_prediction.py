"""Predicted keys and shapes against those that PEFT builds on linear layers of chance sizes, with chance settings.

What PEFT refuses, the layouts refuse.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import peft
import pytest
from torch import nn

from adapter_format.errors import UsageError
from adapter_format.layouts import layout_of
from adapter_format.prediction import predict

_NAMES = ("lin0", "lin1", "lin2")
_DRAWS = 25

Settings = Callable[[random.Random], dict[str, Any]]


def _one_of(name: str, other: str, most: int) -> Settings:
    """Set one of two fields, and the other to 0."""

    def settings(chance: random.Random) -> dict[str, Any]:
        chosen, zero = (name, other) if chance.random() < 0.5 else (other, name)
        return {chosen: chance.randint(1, most), zero: 0}

    return settings


METHODS: dict[str, tuple[str, Settings]] = {
    "BEFT": ("BeftConfig", lambda _: {}),
    "BOFT": ("BOFTConfig", _one_of("boft_block_size", "boft_block_num", 4)),
    "C3A": ("C3AConfig", lambda chance: {"block_size": chance.randint(1, 4)}),
    "FOURIERFT": (
        "FourierFTConfig",
        lambda chance: {
            "n_frequency": chance.randint(1, 9),
            "n_frequency_pattern": chance.choice([{}, {"lin0": 3}]),
        },
    ),
    "HRA": ("HRAConfig", lambda chance: {"r": chance.randint(1, 6)}),
    "IA3": (
        "IA3Config",
        lambda chance: {"feedforward_modules": chance.choice([[], ["lin1"], ["lin0", "lin1"]])},
    ),
    "OFT": (
        "OFTConfig",
        lambda chance: {
            **_one_of("oft_block_size", "r", 12)(chance),
            "block_share": chance.random() < 0.3,
        },
    ),
    "OSF": (
        "OSFConfig",
        lambda chance: {
            "effective_rank": chance.choice([None, chance.randint(1, 9), chance.uniform(0.01, 1), 1.0]),
            "rank_pattern": chance.choice([None, {"lin0": chance.randint(1, 5)}, {"n0": 0.4}]),
        },
    ),
    "PSOFT": (
        "PsoftConfig",
        lambda chance: {
            "r": chance.randint(1, 6),
            "psoft_orth": chance.random() < 0.5,
            "psoft_mag_a": chance.random() < 0.5,
            "psoft_mag_b": chance.random() < 0.5,
        },
    ),
    "ROAD": (
        "RoadConfig",
        lambda chance: {
            "variant": chance.choice(["road_1", "road_2", "road_4"]),
            "group_size": chance.choice([2, 4]),
        },
    ),
    "SHIRA": ("ShiraConfig", lambda chance: {"r": chance.randint(1, 3)}),
    "SUPERTUNING": (
        "SupertuningConfig",
        lambda chance: {
            "sparsity": chance.choice([0.5, 0.9, 0.95, chance.uniform(0, 0.98)]),
            "save_precomputed_indices": chance.random() < 0.5,
            "r": chance.choice([None, 2]),
        },
    ),
    "WAVEFT": (
        "WaveFTConfig",
        lambda chance: {
            "n_frequency": chance.randint(1, 20),
            "proportional_parameters": chance.random() < 0.5,
            "n_frequency_pattern": chance.choice([{}, {"lin[01]": 3}]),
        },
    ),
}
"""Config class and settings by method; a method that is missing here is compared on its goldens alone."""


def _built(method: str, features: list[tuple[int, int]], settings: dict[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """What PEFT builds; None if it refuses."""
    layers = [nn.Linear(d_in, d_out, bias=index != 1) for index, (d_in, d_out) in enumerate(features)]
    base = nn.Sequential()
    for name, layer in zip(_NAMES, layers, strict=True):
        base.add_module(name, layer)
    config = getattr(peft, METHODS[method][0])(target_modules=list(_NAMES), **settings)
    try:
        model = peft.get_peft_model(base, config)
    except ValueError:
        return None
    return {key: tuple(tensor.shape) for key, tensor in peft.get_peft_model_state_dict(model).items()}


def _predicted(
    method: str, features: list[tuple[int, int]], settings: dict[str, Any]
) -> dict[str, tuple[int, ...]] | None:
    layout = layout_of(method)
    assert layout is not None
    config = {"peft_type": method, "target_modules": list(_NAMES), **settings}
    try:
        return {
            tensor.key: tensor.shape for tensor in predict(layout, config, dict(zip(_NAMES, features, strict=True)))
        }
    except UsageError:
        return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", METHODS)
def test_what_peft_builds_is_predicted(method: str) -> None:
    chance = random.Random(method)
    built = 0
    for _ in range(_DRAWS):
        step = chance.choice([1, 4])
        features = [(step * chance.randint(1, 4), step * chance.randint(1, 4)) for _ in _NAMES]
        settings = METHODS[method][1](chance)

        found = _built(method, features, settings)

        assert _predicted(method, features, settings) == found, (features, settings)
        built += found is not None
    assert built > _DRAWS // 5
