"""The files are those of the official writer, byte for byte, and right where that writer is wrong."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adapter_format.dtypes import BY_ARRAY_NAME, ML_DTYPES_NAMES
from adapter_format.errors import UsageError
from adapter_format.storage.safetensors_header import LIBRARY_HEADER_LIMIT, parse_header
from adapter_format.storage.safetensors_writer import plan, write
from tests.storage.awkward_arrays import AWKWARD

FORMAT = {"format": "pt"}
DTYPES = [np.dtype(getattr(ml_dtypes, name) if name in ML_DTYPES_NAMES else name) for name in BY_ARRAY_NAME]


def saved(arrays: dict[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    file = io.BytesIO()
    planned = plan(arrays, metadata)
    write(file, planned)
    assert len(file.getvalue()) == planned.total_size
    return file.getvalue()


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """C-contiguous arrays of every type that can be stored, of any bits."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    count = int(np.prod(shape, dtype=int)) * dtype.itemsize
    return np.frombuffer(draw(st.binary(min_size=count, max_size=count)), dtype).reshape(shape)


NAMES = st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda name: name != "__metadata__")


@given(st.dictionaries(NAMES, arrays(), max_size=6))
@settings(max_examples=150, deadline=None)
def test_file_equals_that_of_the_official_writer(tensors: dict[str, Any]) -> None:
    assert saved(tensors, FORMAT) == safetensors.numpy.save(tensors, FORMAT)


@given(st.dictionaries(NAMES, arrays(), max_size=4))
@settings(max_examples=40, deadline=None)
def test_file_without_metadata_equals_that_of_the_official_writer(tensors: dict[str, Any]) -> None:
    assert saved(tensors) == safetensors.numpy.save(tensors)


@given(NAMES, NAMES)
@settings(max_examples=60, deadline=None)
def test_metadata_is_escaped_as_by_the_official_writer(key: str, value: str) -> None:
    tensors = {"w": np.zeros(1, np.float32)}
    assert saved(tensors, {key: value}) == safetensors.numpy.save(tensors, {key: value})


def test_every_ascii_character_is_escaped_as_by_the_official_writer() -> None:
    tensors = {chr(code) + "x": np.zeros(1, np.uint8) for code in range(256)}
    assert saved(tensors, FORMAT) == safetensors.numpy.save(tensors, FORMAT)


def test_smallest_file_is_spelt_out() -> None:
    expected = b'{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    expected += b" " * (-len(expected) % 8)
    data = struct.pack("<Q", len(expected)) + expected + struct.pack("<f", 1.5)
    assert saved({"w": np.array([1.5], np.float32)}, FORMAT) == data


def test_order_is_wider_types_first_then_names_by_their_utf8_bytes() -> None:
    names = ["z", "B", "_", "a", "a.10", "a.9", "b", "é", "\uffff", "\U00010000"]
    tensors: dict[str, Any] = {name: np.zeros(1, np.float32) for name in names}
    tensors |= {"u8": np.zeros(1, np.uint8), "f64": np.zeros(1), "f16": np.zeros(1, np.float16)}
    order = [info.name for info, _ in plan(tensors).tensors]
    middle = ["B", "_", "a", "a.10", "a.9", "b", "z", "é", "\uffff", "\U00010000"]
    assert order == ["f64", *middle, "f16", "u8"]


@given(st.permutations(list("abcdef")), st.permutations(list("uvwxyz")))
@settings(max_examples=30, deadline=None)
def test_order_of_the_input_does_not_matter(names: list[str], keys: list[str]) -> None:
    tensors = {name: np.full(3, ord(name), np.float32 if name < "d" else np.float16) for name in names}
    metadata = {key: key for key in keys}
    same = dict(sorted(tensors.items()))
    assert saved(tensors, metadata) == saved(same, dict(sorted(metadata.items())))


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_array_is_read_back_right_by_the_official_reader(name: str) -> None:
    value = AWKWARD[name]
    data = saved({"v": value}, FORMAT)
    back = bfloat16_of(data) if value.dtype == ml_dtypes.bfloat16 else safetensors.numpy.load(data)["v"]
    np.testing.assert_array_equal(back.reshape(value.shape), value)


def bfloat16_of(data: bytes) -> np.ndarray[Any, Any]:
    """Return the one BF16 tensor of a file by its definition: the upper half of a float32."""
    ((_, tensor),) = safetensors.deserialize(data)
    words = np.frombuffer(tensor["data"], "<u2").astype(np.uint32) << 16
    return words.view(np.float32)


def test_header_has_no_defects_and_starts_the_data_aligned() -> None:
    data = saved({"a" * size: np.zeros(size, np.float64) for size in range(9)}, FORMAT)
    header = parse_header(data, len(data))
    assert header.defects == ()
    assert header.metadata == FORMAT
    assert header.data_start % 8 == 0
    assert [info.elements for info in header.tensors.values()] == list(range(9))


def test_each_tensor_is_written_once_and_without_joining() -> None:
    sizes = []

    class Recorder(io.BytesIO):
        def write(self, data: Any) -> int:
            sizes.append(len(data))
            return super().write(data)

    planned = plan({name: np.zeros(1000, np.float32) for name in "abc"}, FORMAT)
    write(Recorder(), planned)
    assert sizes == [len(planned.header_bytes), 4000, 4000, 4000]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("__metadata__", "can't be named `__metadata__`"),
        (b"w", "is a `bytes`, expected a string"),
        (3, "tensor name '3' is a `int`, expected a string"),
        (None, "expected a string"),
        ("a\ud800", "lone surrogate at character 1"),
    ],
)
def test_name_that_no_reader_takes_is_refused(name: Any, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        plan({name: np.zeros(1)})


@pytest.mark.parametrize("metadata", [{"a": 1}, {1: "a"}, {"a": None}, {"a": "\udfff"}, {"\udfff": "a"}])
def test_metadata_other_than_strings_is_refused(metadata: Any) -> None:
    with pytest.raises(UsageError, match=r"metadata (key|value)"):
        plan({"w": np.zeros(1)}, metadata)


def test_type_that_can_not_be_stored_is_refused_by_key() -> None:
    with pytest.raises(UsageError, match=r"'w' can't be stored: .*complex128"):
        plan({"w": np.zeros(1, complex)})


def test_header_that_no_reader_takes_is_refused() -> None:
    with pytest.raises(UsageError, match="the safetensors library reads 100,000,000 at most"):
        plan({"x" * LIBRARY_HEADER_LIMIT: np.zeros(1)})


def test_metadata_that_is_empty_is_left_out() -> None:
    data = saved({}, {})
    assert json.loads(data[8:]) == {}
