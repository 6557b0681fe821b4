"""Which modules a config targets, as `check_target_module_exists` of PEFT 0.21.2 answered for the same input."""

from __future__ import annotations

from typing import Any

import pytest

from adapter_format.layouts import layout_of
from adapter_format.targets import COVERED, EXCLUDED, NOT_NAMED, OTHER_LAYER, SAVED, read_targets

LAYERED: dict[str, Any] = {"target_modules": ["q_proj", "model.layers.3.v_proj"], "layers_to_transform": [0]}


@pytest.mark.parametrize(
    ("config", "path", "answer"),
    [
        ({"target_modules": ["q_proj"]}, "model.layers.0.q_proj", COVERED),
        ({"target_modules": ["q_proj"]}, "model.layers.0.my_q_proj", NOT_NAMED),
        ({"target_modules": ["0.q_proj"]}, "model.layers.10.q_proj", NOT_NAMED),
        ({"target_modules": "q_proj"}, "model.q_proj", NOT_NAMED),
        ({"target_modules": r".*\.q_proj"}, "model.q_proj", COVERED),
        (LAYERED, "model.layers.0.q_proj", COVERED),
        (LAYERED, "model.layers.1.q_proj", OTHER_LAYER),
        (LAYERED, "model.layers.3.v_proj", COVERED),
        (LAYERED, "layers.0.q_proj", OTHER_LAYER),
        ({**LAYERED, "layers_to_transform": []}, "model.layers.1.q_proj", COVERED),
        ({**LAYERED, "layers_to_transform": 1}, "model.layers.1.experts.0.q_proj", COVERED),
        ({**LAYERED, "layers_pattern": "layers"}, "layers.0.q_proj", COVERED),
        ({**LAYERED, "layers_pattern": ["h", "layers"]}, "model.layers.0.h.1.q_proj", OTHER_LAYER),
        ({"target_modules": ["q_proj"], "exclude_modules": ["q_proj"]}, "model.q_proj", EXCLUDED),
        ({"target_modules": ["q_proj"], "exclude_modules": "q_proj"}, "model.q_proj", COVERED),
        ({"target_modules": ["q_proj"], "modules_to_save": ["score"]}, "model.score.q_proj", SAVED),
        ({"target_modules": ["q_proj"], "modules_to_save": ["score"]}, "model.scores.q_proj", COVERED),
    ],
)
def test_targets_are_those_of_peft(config: dict[str, Any], path: str, answer: str) -> None:
    layout = layout_of("LORA")
    assert layout is not None

    assert read_targets(layout, config).covers(path) == answer
