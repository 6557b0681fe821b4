"""Small valid adapters: what mutations start from, each with the base model that it belongs to.

Tensors follow from the layout; nothing but dimensions is written here. The base model is described, not built, so that
any framework can build it.
"""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adapter_format.dtypes import BITS, DTYPES
from adapter_format.errors import UsageError
from adapter_format.keys import key_of
from adapter_format.layouts import Layout, layout_of
from adapter_format.prediction import predict
from adapter_format.shapes import plain_scope, shape_of

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stored(NamedTuple):
    """One tensor as it lies in the file: safetensors dtype name, shape, little-endian bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class BaseLayer(NamedTuple):
    """One layer of a base model.

    Attributes:
        kind: `Linear`, `Embedding`, `Conv2d`, `LayerNorm`, or `Experts` (a module with one 3-D parameter).
        sizes: `(d_in, d_out)`, `(rows, width)`, `(c_in, c_out, kernel, groups)`, `(width,)` or
            `(experts, d_in, d_out)`.
        bias: whether it has a bias.
        buffers: boolean buffers by name and length.
        parameter: name of the 3-D parameter of `Experts`.
    """

    kind: str
    sizes: tuple[int, ...]
    bias: bool = False
    buffers: tuple[tuple[str, int], ...] = ()
    parameter: str = ""


class Example(NamedTuple):
    """A valid adapter and its base.

    Attributes:
        name: how mutations name it.
        config: content of `adapter_config.json`.
        tensors: key to stored tensor.
        base: path to layer of the base model.
    """

    name: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Stored]
    base: Mapping[str, BaseLayer]


WIDTH, RANK, LAYERS, VOCABULARY = 8, 4, 4, 16

_COMMON: dict[str, Any] = {
    "alpha_pattern": {},
    "auto_mapping": None,
    "base_model_name_or_path": "example/tiny-llama",
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "modules_to_save": None,
    "peft_type": "LORA",
    "r": RANK,
    "rank_pattern": {},
    "revision": None,
    "target_modules": ["q_proj", "v_proj"],
    "task_type": None,
    "use_dora": False,
    "use_rslora": False,
}

_LINEAR = {"d_in": WIDTH, "d_out": WIDTH}


def _decoder(bias: bool = False, head: Mapping[str, BaseLayer] | None = None) -> dict[str, BaseLayer]:
    """Describe a decoder; `head` stands in the place of its language-model head, `bias` concerns attention."""
    attention = {
        f"model.layers.{layer}.self_attn.{name}": BaseLayer("Linear", (WIDTH, WIDTH), bias)
        for layer in range(LAYERS)
        for name in ("q_proj", "k_proj", "v_proj", "o_proj")
    }
    return {
        "model.embed_tokens": BaseLayer("Embedding", (VOCABULARY, WIDTH)),
        **attention,
        "model.norm": BaseLayer("LayerNorm", (WIDTH,)),
        **(head or {"lm_head": BaseLayer("Linear", (WIDTH, VOCABULARY))}),
    }


def _adapted(*names: str) -> dict[str, tuple[str, dict[str, int]]]:
    return {
        f"model.layers.{layer}.self_attn.{name}": ("linear", dict(_LINEAR)) for layer in range(LAYERS) for name in names
    }


def values(name: str, dtype: str, shape: tuple[int, ...]) -> Stored:
    """Return a tensor of values that depend on its name alone: small, non-zero, and different in every row."""
    elements = int(np.prod(shape, dtype=np.int64))
    seed = zlib.crc32(name.encode())
    noise = np.random.default_rng(seed).uniform(0.05, 0.5, elements) * np.where(np.arange(elements) % 2, -1, 1)
    return Stored(dtype, shape, encode(noise, dtype))


def encode(numbers: np.ndarray[Any, Any], dtype: str) -> bytes:
    """Convert numbers to the bytes of an element type; types without a NumPy equivalent get a fixed bit pattern."""
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
    if dtype == "BF16":
        words = np.asarray(numbers, "<f4").view("<u4")
        return bytes(((words + 0x7FFF + ((words >> 16) & 1)) >> 16).astype("<u2").tobytes())
    if dtype in kinds:
        scale = 100 if DTYPES[dtype].kind in ("signed", "unsigned") else 1
        scaled = np.asarray(np.abs(numbers) * scale if dtype == "U8" else numbers * scale)
        return bytes(scaled.astype(kinds[dtype]).tobytes())
    return bytes([0x2A]) * (len(numbers) * BITS[dtype] // 8)


def _tensors(
    layout: Layout,
    modules: Mapping[str, tuple[str, Mapping[str, int]]],
    extra_roles: tuple[str, ...],
    ranks: Mapping[str, int],
    kernel: tuple[int, ...],
) -> dict[str, Stored]:
    stored: dict[str, Stored] = {}
    for path, (kind_name, sizes) in modules.items():
        rank = next((rank for name, rank in ranks.items() if path.endswith(name)), RANK)
        for role, shape in layout.kind(kind_name).shapes.items():
            if layout.roles[role].declared_by and role not in extra_roles:
                continue
            key = key_of(layout, path, role)
            stored[key] = values(key, "F32", shape_of(shape, plain_scope({"r": rank, **sizes}), kernel))
    return stored


def _example(
    name: str,
    modules: Mapping[str, tuple[str, Mapping[str, int]]],
    base: Mapping[str, BaseLayer],
    *,
    roles: tuple[str, ...] = (),
    ranks: Mapping[str, int] | None = None,
    kernel: tuple[int, ...] = (),
    companions: Mapping[str, tuple[str, tuple[int, ...]]] | None = None,
    **config: Any,
) -> Example:
    layout = layout_of(str(config.get("peft_type", _COMMON["peft_type"])))
    if layout is None:
        raise UsageError(f"The example {name!r} is of a method without a layout.")
    tensors = _tensors(layout, modules, roles, ranks or {}, kernel)
    for path, (dtype, shape) in (companions or {}).items():
        key = layout.prefix + path
        tensors[key] = values(key, dtype, shape)
    return Example(name, {**_COMMON, **config}, tensors, base)


def _of_method(name: str, peft_type: str, **config: Any) -> Example:
    """An example of another method on the query and value projections of the usual decoder."""
    layout = layout_of(peft_type)
    if layout is None:
        raise UsageError(f"The example {name!r} is of a method without a layout.")
    fields = {
        "peft_type": peft_type,
        "base_model_name_or_path": "example/tiny-llama",
        "inference_mode": True,
        "target_modules": ["q_proj", "v_proj"],
        "task_type": None,
        **config,
    }
    modules = dict.fromkeys(_adapted("q_proj", "v_proj"), (WIDTH, WIDTH))
    tensors = {
        tensor.key: positions(tensor.shape, WIDTH) if tensor.dtype else values(tensor.key, "F32", tensor.shape)
        for tensor in predict(layout, fields, modules)
    }
    return Example(name, fields, tensors, _decoder())


def positions(shape: tuple[int, ...], width: int) -> Stored:
    """Return a tensor of different positions in a matrix of that width: rows and columns of 32 bits."""
    flat = np.arange(shape[-1]) * 3 % (width * width)
    return Stored("I32", shape, np.stack([flat // width, flat % width]).astype("<i4").tobytes())


@functools.cache
def examples() -> dict[str, Example]:
    """Return every example by name."""
    q_and_v = _adapted("q_proj", "v_proj")
    embedding = {"model.token_embedding": BaseLayer("Embedding", (VOCABULARY, WIDTH))}
    experts = {
        f"model.layers.{layer}.mlp.experts": BaseLayer("Experts", (2, WIDTH, WIDTH), parameter="down_proj")
        for layer in range(LAYERS)
    }
    biased = _decoder(bias=True)
    score = {"score": BaseLayer("Linear", (WIDTH, 3), buffers=(("mask", 3),))}
    made = [
        _example("plain", q_and_v, _decoder()),
        _example("rslora", q_and_v, _decoder(), use_rslora=True),
        _example("regex", q_and_v, _decoder(), target_modules=r".*\.(q_proj|v_proj)"),
        _example("layers", q_and_v, _decoder(), layers_to_transform=[0, 1, 2, 3]),
        _example(
            "patterns",
            q_and_v,
            _decoder(),
            ranks={"q_proj": 2},
            rank_pattern={"q_proj": 2},
            alpha_pattern={"v_proj": 16},
        ),
        _example("dora", q_and_v, _decoder(), roles=("lora_magnitude_vector",), use_dora=True),
        _example("lora-bias", q_and_v, biased, roles=("lora_B_bias",), lora_bias=True),
        _example(
            "bias-all",
            q_and_v,
            biased,
            bias="all",
            companions={
                f"{path}.base_layer.bias" if path in q_and_v else f"{path}.bias": ("F32", (WIDTH,))
                for path, layer in biased.items()
                if layer.bias
            },
        ),
        _example(
            "embedding",
            {"model.token_embedding": ("embedding", {"vocabulary": VOCABULARY, "dim": WIDTH})},
            embedding,
            target_modules=["token_embedding"],
        ),
        _example(
            "convolution",
            {"features.0": ("convolution", {"c_in": 3, "c_out": 8, "groups": 1})},
            {"features.0": BaseLayer("Conv2d", (3, 8, 3, 1))},
            kernel=(3, 3),
            target_modules=["features.0"],
        ),
        _example(
            "experts",
            {path: ("parameter", {"experts": 2, "d_in": WIDTH, "d_out": WIDTH}) for path in experts},
            experts,
            target_modules=[],
            target_parameters=["mlp.experts.down_proj"],
        ),
        _example(
            "saved-module",
            q_and_v,
            _decoder(head=score),
            modules_to_save=["score"],
            companions={"score.weight": ("F32", (3, WIDTH)), "score.mask": ("BOOL", (3,))},
        ),
        _example(
            "tokens",
            q_and_v,
            _decoder(),
            trainable_token_indices=[1, 3, 5],
            companions={"model.embed_tokens.token_adapter.trainable_tokens_delta": ("F32", (3, WIDTH))},
        ),
        _of_method("circulant", "C3A", block_size=4),
        _of_method("sparse", "SHIRA", r=2),
    ]
    return {example.name: example for example in made}
