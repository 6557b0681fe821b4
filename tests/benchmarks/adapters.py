"""The adapters that are measured: rank 16 on the seven linear layers of a 7B Llama, in any number of layers.

They are written without the code under test. Seven modules in 32 layers make 448 tensors.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RANK = 16
LAYERS = 32
HIDDEN, INTERMEDIATE = 4096, 11008
MODULES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, HIDDEN),
    "self_attn.v_proj": (HIDDEN, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (HIDDEN, INTERMEDIATE),
    "mlp.up_proj": (HIDDEN, INTERMEDIATE),
    "mlp.down_proj": (INTERMEDIATE, HIDDEN),
}
"""Module in a layer to `(d_in, d_out)`."""

CONFIG: dict[str, Any] = {
    "alora_invocation_tokens": None,
    "alpha_pattern": {},
    "arrow_config": None,
    "auto_mapping": None,
    "base_model_name_or_path": "example/llama-7b",
    "bias": "none",
    "corda_config": None,
    "ensure_weight_tying": False,
    "eva_config": None,
    "exclude_modules": None,
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "kasa_config": None,
    "layer_replication": None,
    "layers_pattern": None,
    "layers_to_transform": None,
    "loftq_config": {},
    "lora_alpha": 32,
    "lora_bias": False,
    "lora_dropout": 0.05,
    "lora_ga_config": None,
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "monteclora_config": None,
    "peft_type": "LORA",
    "peft_version": "0.21.2",
    "qalora_group_size": 16,
    "r": RANK,
    "rank_pattern": {},
    "revision": None,
    "target_modules": [path.partition(".")[2] for path in MODULES],
    "target_parameters": None,
    "task_type": "CAUSAL_LM",
    "trainable_token_indices": None,
    "use_bdlora": None,
    "use_dora": False,
    "use_qalora": False,
    "use_rslora": False,
    "velora_config": None,
}
"""Every field that PEFT 0.21.2 writes."""

ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


class Written(NamedTuple):
    """An adapter on disk: its directory, and the bytes of header and config as a JSON reader gets them."""

    path: Path
    header: bytes
    config: bytes
    data_bytes: int


def shapes(layers: int = LAYERS) -> dict[str, tuple[int, int]]:
    """Map key to shape, in the order in which PEFT's writer lays the tensors out."""
    found = {}
    for layer in range(layers):
        for module, (d_in, d_out) in MODULES.items():
            path = f"base_model.model.model.layers.{layer}.{module}"
            found[f"{path}.lora_A.weight"] = (RANK, d_in)
            found[f"{path}.lora_B.weight"] = (d_out, RANK)
    return dict(sorted(found.items()))


def write(
    folder: Path,
    tensors: dict[str, tuple[int, int]],
    dtype: str = "F16",
    values: NDArray[np.float32] | None = None,
    config: dict[str, Any] | None = None,
) -> Written:
    """Write an adapter; without values its data section is one hole in the file."""
    folder.mkdir(parents=True)
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for key, shape in tensors.items():
        end = position + math.prod(shape) * ITEM_BYTES[dtype]
        entries[key] = {"dtype": dtype, "shape": shape, "data_offsets": (position, end)}
        position = end
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with (folder / "adapter_model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        if values is None:
            file.truncate(8 + len(header) + position)
        else:
            stored(values, dtype).tofile(file)
    text = json.dumps(config or CONFIG, indent=2, sort_keys=True).encode()
    (folder / "adapter_config.json").write_bytes(text)
    return Written(folder, header, text, position)


def trained_values(tensors: dict[str, tuple[int, int]]) -> NDArray[np.float32]:
    """Draw values like those of a trained adapter for all tensors, one behind the other."""
    count = sum(math.prod(shape) for shape in tensors.values())
    values = np.random.default_rng(0).standard_normal(count, dtype=np.float32)
    values *= np.float32(0.02)
    return values


def stored(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """Return values as they are stored in an element type; bfloat16 by cutting, not rounding."""
    if dtype == "F16":
        return values.astype("<f2")
    if dtype == "BF16":
        return (values.view(np.uint32) >> 16).astype("<u2")
    return values.astype("<f4")
