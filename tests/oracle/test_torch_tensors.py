"""Tensors of torch are stored as they are, and PEFT's own container library reads them back bit for bit."""

from __future__ import annotations

import io
import re
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.torch
import torch

from adapter_format.errors import AdapterFormatError, UsageError
from adapter_format.storage.arrays import as_array
from adapter_format.storage.safetensors_data import open_tensors
from adapter_format.storage.safetensors_writer import plan, write

if TYPE_CHECKING:
    from pathlib import Path

WIDTHS = {
    torch.bool: 1,
    torch.uint8: 1,
    torch.int8: 1,
    torch.float8_e5m2: 1,
    torch.float8_e4m3fn: 1,
    torch.float8_e5m2fnuz: 1,
    torch.float8_e4m3fnuz: 1,
    torch.float8_e8m0fnu: 1,
    torch.float16: 2,
    torch.bfloat16: 2,
    torch.int16: 2,
    torch.int32: 4,
    torch.float32: 4,
    torch.int64: 8,
    torch.float64: 8,
    torch.complex64: 8,
}


def sample(dtype: torch.dtype) -> torch.Tensor:
    """Return 4x6 values of the type, of random bits."""
    bits = torch.randint(0, 2 if dtype is torch.bool else 256, (4, 6 * WIDTHS[dtype]), dtype=torch.uint8)
    return bits.view(dtype)


def saved(tensors: dict[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    write(file, plan({name: as_array(name, value) for name, value in tensors.items()}, {"format": "pt"}))
    return file.getvalue()


@pytest.mark.parametrize("dtype", WIDTHS, ids=str)
def test_file_equals_that_of_the_official_torch_writer(dtype: torch.dtype) -> None:
    tensors = {"w": sample(dtype), "scalar": sample(dtype)[0, 0].clone(), "empty": sample(dtype)[:0]}
    assert saved(tensors) == safetensors.torch.save(tensors, {"format": "pt"})


@pytest.mark.parametrize("dtype", WIDTHS, ids=str)
def test_strided_tensor_is_read_back_bit_for_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = sample(dtype).T[::2]
    (tmp_path / "w").write_bytes(saved({"w": tensor}))
    back = safetensors.torch.load_file(tmp_path / "w")["w"]
    assert back.dtype == dtype
    assert back.shape == tensor.shape
    assert bits(back) == bits(tensor)
    assert open_tensors(tmp_path / "w")["w"].tobytes() == bits(tensor)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def test_whole_file_of_mixed_types_equals_that_of_the_official_torch_writer() -> None:
    tensors = {str(dtype): sample(dtype) for dtype in WIDTHS}
    assert saved(tensors) == safetensors.torch.save(tensors, {"format": "pt"})


def test_parameter_that_requires_a_gradient_is_taken_without_a_copy() -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.bfloat16))
    array = as_array("w", parameter)
    assert array.ctypes.data == parameter.data_ptr()


def test_conjugate_and_negative_views_are_resolved() -> None:
    tensor = torch.tensor([1 + 2j, 3 - 4j], dtype=torch.complex64)
    np.testing.assert_array_equal(as_array("w", tensor.conj()), [1 - 2j, 3 + 4j])
    np.testing.assert_array_equal(as_array("w", tensor.conj().imag), [-2, 4])


@pytest.mark.parametrize(
    "tensor",
    [
        torch.empty(2, device="meta"),
        torch.eye(2).to_sparse(),
        torch.ones(2, dtype=torch.complex128),
        torch.zeros(2, dtype=torch.float4_e2m1fn_x2),
    ],
    ids=["meta", "sparse", "complex128", "float4"],
)
def test_tensor_that_can_not_be_stored_is_refused_by_key(tensor: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=re.escape("The tensor 'layer.w' ")):
        as_array("layer.w", tensor)


def test_without_ml_dtypes_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(AdapterFormatError, match=r"'w' is BF16.*adapter-format\[dtypes\]"):
        as_array("w", torch.ones(2, dtype=torch.bfloat16))
