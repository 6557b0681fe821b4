"""What a layout predicts from base features and config alone is what real PEFT stored: every key, every shape.

The goldens of all methods whose base layers are in the table below; their tensors beside the method's own are left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import adapter_format as af
from adapter_format.layouts import MODULE, known_layouts, layout_of
from adapter_format.prediction import predict
from adapter_format.reading import read_checkpoint

METHODS = Path(__file__).parent / "golden" / "methods"

_LLAMA = {
    "q_proj": (12, 12), "k_proj": (12, 6), "v_proj": (12, 6), "o_proj": (12, 12),
    "gate_proj": (12, 20), "up_proj": (12, 20), "down_proj": (20, 12), "lm_head": (12, 40), "score": (12, 3),
}  # fmt: skip
FEATURES: dict[str, dict[str, tuple[int, int]]] = {
    "perceptron": {"lin0": (10, 16), "lin1": (16, 12), "head": (12, 6)},
    "even_perceptron": {"lin0": (8, 16), "lin1": (16, 12), "lin2": (12, 8), "head": (8, 4)},
    "normed_perceptron": {"lin0": (10, 8), "lin1": (8, 6)},
    "embedding_net": {"lin": (8, 5)},
    "square_conv_net": {"lin": (36, 4)},
    "tiny_gpt2": {
        "attn.c_attn": (12, 36), "attn.c_proj": (12, 12), "mlp.c_fc": (12, 48), "mlp.c_proj": (48, 12),
    },
    "tiny_bert_classifier": {
        "query": (12, 12), "key": (12, 12), "value": (12, 12), "attention.output.dense": (12, 12),
        "intermediate.dense": (12, 20), "output.dense": (20, 12), "pooler.dense": (12, 12), "classifier": (12, 3),
    },
    "tiny_t5": {"q": (12, 12), "k": (12, 12), "v": (12, 12), "o": (12, 12), "wi": (12, 16), "wo": (16, 12)},
    "tiny_t5_labelled": {},
    **dict.fromkeys(
        ("tiny_llama", "tiny_llama_bf16", "tiny_llama_classifier", "tiny_llama_deep", "tiny_llama_tied",
         "tiny_llama_resized", "tiny_llama_uncached"), _LLAMA,
    ),
}  # fmt: skip
"""Input and output features of the linear layers of the bases, by base and by the end of their paths."""

NOT_PREDICTED: dict[str, str] = {
    "adamss": "the sizes of clusters of the base weight's rows",
    "adaption_prompt": "the prompts are as wide as the base model",
    "boft_butterfly": "the CUDA extension decides how many factors there are",
    "ln_tuning": "copies of any module",
    "shadow": "a network of the base model's own kind",
    "trainable_tokens": "the rows are as wide as the base embedding",
}
"""Goldens, by how their names begin, whose sizes are not in the config and the features of linear layers."""

OTHERWISE: dict[str, str] = {
    "hira_rank_pattern_followed/second": "PEFT follows `rank_pattern` only in a second adapter",
    "xlora": "PEFT leaves out the layers of the router that have the number of an expert",
}
"""Goldens, by how their names begin, of what prediction does not mean."""

UNBIASED = {"even_perceptron": ("lin1",)}
"""Linear layers of the bases that have no bias, where it is of any account."""


class Stored:
    """A golden adapter: its config, its own tensors, and the features of its modules as far as the table has them."""

    def __init__(self, folder: str, base: str) -> None:
        checkpoint = read_checkpoint(str(METHODS / folder))
        assert checkpoint.layout is not None
        assert checkpoint.anatomy is not None
        self.layout, self.config = checkpoint.layout, dict(checkpoint.config or {})
        self.tensors = {info.name: info for unit in checkpoint.anatomy.units for info in unit.roles.values()}
        table = FEATURES.get(base, {})
        found = {path: _features(path, table) for path in checkpoint.anatomy.modules}
        self.features = {path: features for path, features in found.items() if features is not None}
        self.known = len(self.features) == len(found)
        others = {layer for kind in self.layout.kinds for layer in kind.layers} - {"linear"}
        unbiased = UNBIASED.get(base, ()) if "linear without bias" in others else ()
        self.layers = {path: "linear without bias" if path in unbiased else "linear" for path in found}


def _features(path: str, table: dict[str, tuple[int, int]]) -> tuple[int, int] | None:
    names = sorted((name for name in table if f".{path}".endswith(f".{name}")), key=len)
    return table[names[-1]] if names else None


def _goldens() -> dict[str, str]:
    manifest = json.loads((METHODS / "manifest.json").read_text(encoding="utf-8"))
    return {
        adapter["folder"]: golden["base"]
        for golden in manifest["goldens"]
        for adapter in golden["adapters"]
        if layout_of(golden["peft_type"]) is not None
        and (METHODS / adapter["folder"] / "adapter_model.safetensors").exists()
    }


def _reason(folder: str) -> str:
    return next((reason for name, reason in NOT_PREDICTED.items() if folder.startswith(name)), "")


GOLDENS = {folder: Stored(folder, base) for folder, base in _goldens().items()}
PREDICTED = [
    folder
    for folder, stored in GOLDENS.items()
    if stored.known and not _reason(folder) and not folder.startswith(tuple(OTHERWISE))
]


@pytest.mark.parametrize("folder", PREDICTED)
def test_every_key_and_shape_is_predicted(folder: str) -> None:
    stored = GOLDENS[folder]

    found = list(predict(stored.layout, stored.config, stored.features, stored.layers))

    assert {tensor.key: tensor.shape for tensor in found} == {name: info.shape for name, info in stored.tensors.items()}
    for tensor in found:
        assert tensor.dtype in ("", stored.tensors[tensor.key].dtype)


@pytest.mark.parametrize("folder", [folder for folder in GOLDENS if _reason(folder)])
def test_what_can_not_be_known_is_not_guessed(folder: str) -> None:
    stored = GOLDENS[folder]
    layers = {layer for kind in stored.layout.kinds if kind.scope == MODULE for layer in kind.layers}

    for layer in layers:
        with pytest.raises(af.UsageError, match="not known before training"):
            list(predict(stored.layout, stored.config, dict.fromkeys(stored.features or ["module"], (12, 12)), layer))


def test_every_method_is_predicted_somewhere_or_has_a_reason() -> None:
    predicted = {GOLDENS[folder].layout.peft_type for folder in PREDICTED}
    excused = {
        stored.layout.peft_type
        for folder, stored in GOLDENS.items()
        if _reason(folder) or folder.startswith(tuple(OTHERWISE))
    }
    without_goldens = {"LORA", "BONE"}

    assert {layout.peft_type for layout in known_layouts()} - predicted - excused - without_goldens == set()


def test_a_reason_stands_for_a_golden() -> None:
    assert all(any(folder.startswith(name) for folder in GOLDENS) for name in (*NOT_PREDICTED, *OTHERWISE))


def test_a_router_is_predicted_in_full() -> None:
    stored = GOLDENS["xlora_depth_2"]

    found = {tensor.key: tensor.shape for tensor in predict(stored.layout, stored.config, {})}

    assert {name: info.shape for name, info in stored.tensors.items()}.items() <= found.items()
    assert found.keys() - stored.tensors.keys() == {
        "base_model.internal_xlora_classifier.layers.0.weight",
        "base_model.internal_xlora_classifier.layers.0.bias",
    }


def test_the_first_adapter_has_the_rank_of_the_config() -> None:
    layout = layout_of("HIRA")
    assert layout is not None
    config = {"r": 2, "rank_pattern": {"lin0": 3}}

    assert [tensor.shape for tensor in predict(layout, config, {"lin0": (10, 16)})] == [(2, 10), (16, 2)]


def test_parameters_of_prompts_need_no_module() -> None:
    config: dict[str, Any] = {"num_virtual_tokens": 20, "token_dim": 64, "task_type": "SEQ_2_SEQ_LM"}
    layout = layout_of("PROMPT_TUNING")
    assert layout is not None

    assert [tensor.shape for tensor in predict(layout, config, {})] == [(40, 64)]
