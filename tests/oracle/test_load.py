"""Does `af.load` read what PEFT wrote, bit for bit? The safetensors library for torch says what is in the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.torch
import torch

import adapter_format as af

from .golden_adapters import WEIGHTS, GoldenAdapter, golden_adapters, parameters

if TYPE_CHECKING:
    from pathlib import Path

STORED_IN_SAFETENSORS = parameters(lambda adapter: adapter.has_safetensors)


def torch_bytes(tensor: torch.Tensor) -> bytes:
    """The values as they lie in memory, through a view of integers; torch has no NumPy type for some of its own."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def torch_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "read"])
@pytest.mark.parametrize("adapter", STORED_IN_SAFETENSORS)
def test_the_tensors_are_those_of_the_file(adapter: GoldenAdapter, mapped: bool) -> None:
    expected = safetensors.torch.load_file(adapter.folder / WEIGHTS)

    tensors = af.load(adapter.folder, mapped=mapped).tensors

    assert tensors.keys() == expected.keys()
    for key, tensor in expected.items():
        array = tensors[key]
        assert (array.dtype.name, array.shape) == (torch_name(tensor), tuple(tensor.shape)), key
        assert array.tobytes() == torch_bytes(tensor), key


@pytest.mark.parametrize("adapter", STORED_IN_SAFETENSORS)
def test_the_config_is_that_of_the_file(adapter: GoldenAdapter) -> None:
    expected = json.loads((adapter.folder / "adapter_config.json").read_text(encoding="utf-8"))

    assert dict(af.load(adapter.folder).config) == expected


def test_every_element_type_of_the_goldens_is_met() -> None:
    met = {
        array.dtype.name
        for adapter in golden_adapters()
        if adapter.has_safetensors
        for array in af.load(adapter.folder).tensors.values()
    }

    assert met == {"bfloat16", "float16", "float32", "float8_e4m3fn", "int16", "int32", "int64", "uint8"}


@pytest.mark.parametrize(
    "name",
    ["bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "bfloat16", "float32",
     "float64", "complex64", "float8_e5m2", "float8_e4m3fn", "float8_e5m2fnuz", "float8_e4m3fnuz", "float8_e8m0fnu"],
)  # fmt: skip
def test_every_bit_pattern_of_an_element_type_survives(name: str, tmp_path: Path) -> None:
    words = torch.randint(0, 256, (64, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    tensor = (words % 2).bool() if name == "bool" else words.view(getattr(torch, name))
    safetensors.torch.save_file({"x": tensor}, tmp_path / WEIGHTS, {"format": "pt"})
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')

    array = af.load(tmp_path).tensors["x"]

    assert (array.dtype.name, array.shape) == (name, tuple(tensor.shape))
    assert np.array_equal(np.frombuffer(array.tobytes(), "u1"), np.frombuffer(torch_bytes(tensor), "u1"))
