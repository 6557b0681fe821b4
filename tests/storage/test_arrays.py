"""Whatever holds numbers becomes an array, an array becomes bytes, and bytes become a view."""

from __future__ import annotations

import array
import ctypes
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from adapter_format.dtypes import BY_ARRAY_NAME, DTYPES, ML_DTYPES_NAMES
from adapter_format.errors import AdapterFormatError, UnreadableAdapterError, UsageError
from adapter_format.storage.arrays import as_array, little_endian_bytes, stored_dtype, to_array
from adapter_format.tensors import TensorInfo
from tests.storage.awkward_arrays import AWKWARD, MATRIX


class Subclass(np.ndarray[Any, Any]):
    pass


class OffersArray:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return MATRIX


class OffersDLPack:
    def __dlpack__(self, **options: Any) -> Any:
        return MATRIX.__dlpack__()

    def __dlpack_device__(self) -> Any:
        return MATRIX.__dlpack_device__()


class OffersInterface:
    __array_interface__ = MATRIX.__array_interface__


def on_disk(values: np.ndarray[Any, Any]) -> bytes:
    """Return C-order little-endian bytes, element by element, without the code under test."""
    plain = np.array(values, order="C", copy=True)
    if plain.dtype.byteorder == ">":
        plain = plain.astype(plain.dtype.newbyteorder("<"))
    return plain.tobytes()


@pytest.mark.parametrize("offer", [OffersArray(), OffersDLPack(), OffersInterface(), memoryview(MATRIX)])
def test_what_offers_an_array_is_taken_without_a_copy(offer: object) -> None:
    result = as_array("w", offer)
    np.testing.assert_array_equal(result, MATRIX)
    assert np.shares_memory(result, MATRIX)


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "stored"),
    [
        (True, "BOOL", (), b"\x01"),
        (7, "I64", (), b"\x07" + bytes(7)),
        (-1, "I64", (), b"\xff" * 8),
        (1.0, "F64", (), bytes.fromhex("000000000000f03f")),
        (np.float16(1), "F16", (), bytes.fromhex("003c")),
        (np.bool_(0), "BOOL", (), b"\x00"),
        (np.array(2, ">i2"), "I16", (), b"\x02\x00"),
        (b"\x01\x02", "U8", (2,), b"\x01\x02"),
        (bytearray(b"\x03"), "U8", (1,), b"\x03"),
        (memoryview(b"abcd").cast("h"), "I16", (2,), b"abcd"),
        (array.array("i", [1, -2]), "I32", (2,), bytes.fromhex("01000000feffffff")),
        (array.array("B"), "U8", (0,), b""),
        ((ctypes.c_uint16 * 2)(1, 2), "U16", (2,), bytes.fromhex("01000200")),
        (np.complex64(1 + 2j), "C64", (), bytes.fromhex("0000803f00000040")),
        (np.array([1 + 2j], ">c8"), "C64", (1,), bytes.fromhex("0000803f00000040")),
        (np.array([[1]], np.int8).view(Subclass), "I8", (1, 1), b"\x01"),
        (ml_dtypes.bfloat16(1), "BF16", (), bytes.fromhex("803f")),
        (np.array([1, -2], ml_dtypes.float8_e4m3fn), "F8_E4M3", (2,), bytes.fromhex("38c0")),
        (np.array([1, -2], ml_dtypes.float8_e5m2), "F8_E5M2", (2,), bytes.fromhex("3cc0")),
        (np.array([2], ml_dtypes.float8_e8m0fnu), "F8_E8M0", (1,), bytes.fromhex("80")),
    ],
)
def test_value_has_the_stored_type_shape_and_bytes(
    value: object, dtype: str, shape: tuple[int, ...], stored: bytes
) -> None:
    result = as_array("w", value)
    assert type(result) is np.ndarray
    assert stored_dtype(result).name == dtype
    assert result.shape == shape
    assert bytes(little_endian_bytes(result)) == stored


@pytest.mark.parametrize("name", AWKWARD)
def test_bytes_of_an_awkward_array_are_its_values_in_c_order(name: str) -> None:
    value = AWKWARD[name]
    assert bytes(little_endian_bytes(as_array("w", value))) == on_disk(value)


def test_bytes_of_an_ordinary_array_are_not_copied() -> None:
    assert np.shares_memory(np.frombuffer(little_endian_bytes(MATRIX), np.uint8), MATRIX)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (np.array([None]), "`object`, which safetensors can't store"),
        (np.array(["a"]), "`str32`, which safetensors can't store"),
        (np.array([b"a"]), "`bytes8`"),
        (np.zeros(2, "V4"), "`void32`"),
        (np.zeros(2, [("a", "f4")]), "structured array"),
        (np.zeros(2, "c16"), "convert it to complex64"),
        (1j, "convert it to complex64"),
        (np.zeros(2, "M8[s]"), r"`datetime64\[s\]`"),
        (np.zeros(2, ml_dtypes.int4), "`int4`"),
        (np.zeros(2, ml_dtypes.float4_e2m1fn), "`float4_e2m1fn`"),
        (np.zeros(2, ml_dtypes.float8_e4m3), "`float8_e4m3`"),
        (np.ma.masked_array([1.0], [True]), r"masked array.*`\.filled\(value\)`"),
        (np.ma.masked, "masked array"),
        (None, "is a `NoneType`; expected a NumPy array"),
        ("text", "is a `str`; expected a NumPy array"),
        ([1.0], "is a `list`; expected a NumPy array"),
        ({}, "is a `dict`; expected a NumPy array"),
        (object(), "is a `object`; expected a NumPy array"),
        (2**70, "of type `int` can't be made a NumPy array"),
        (memoryview(b"abcd").cast("c"), "`bytes8`"),
    ],
)
def test_what_can_not_be_stored_is_refused_by_key_and_reason(value: object, complaint: str) -> None:
    with pytest.raises(UsageError, match=f"^The tensor 'layer.lora_A' .*{complaint}"):
        as_array("layer.lora_A", value)


@pytest.mark.parametrize("error", [TypeError, ValueError, RuntimeError, BufferError, NotImplementedError])
def test_failure_of_a_foreign_conversion_is_one_sentence_with_its_cause(error: type[Exception]) -> None:
    class Broken:
        def __array__(self, dtype: Any = None, copy: Any = None) -> None:
            raise error("it is on another device")

    with pytest.raises(UsageError, match=r"'w' of type `.*Broken` can't be made .*on another device") as caught:
        as_array("w", Broken())
    assert isinstance(caught.value.__cause__, error)


def test_hostile_key_is_escaped_and_shortened_in_messages() -> None:
    with pytest.raises(UsageError) as caught:
        as_array("\x1b[2J\n" + "x" * 1000, None)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_longdouble_wider_than_float64_is_refused() -> None:
    if np.dtype(np.longdouble).itemsize == 8:
        assert stored_dtype(as_array("w", np.zeros(1, np.longdouble))).name == "F64"
    else:
        with pytest.raises(UsageError, match="convert it to float64"):
            as_array("w", np.zeros(1, np.longdouble))


@pytest.mark.parametrize("name", BY_ARRAY_NAME)
def test_every_type_comes_back_as_it_was_stored(name: str) -> None:
    scalar = getattr(ml_dtypes, name) if name in ML_DTYPES_NAMES else np.dtype(name).type
    values = np.array([1, 0, 2], scalar)
    dtype = stored_dtype(values)
    assert dtype.array_name == name
    data = b"\xff" + bytes(little_endian_bytes(values))
    back = to_array(data, TensorInfo("w", dtype.name, (3, 1), 0, values.nbytes), 1)
    assert back.dtype == values.dtype
    assert back.tobytes() == values.tobytes()
    assert back.shape == (3, 1)
    assert not back.flags.writeable
    assert np.shares_memory(back, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("name", [name for name, dtype in DTYPES.items() if not dtype.array_name])
def test_type_that_numpy_lacks_is_a_clear_error(name: str) -> None:
    elements = 8
    info = TensorInfo("w", name, (elements,), 0, DTYPES[name].bits)
    with pytest.raises(UnreadableAdapterError, match=f"'w' is stored as {name}, which NumPy can't represent"):
        to_array(bytes(8), info)


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [
        ((1,) * 65, "can't be made an array"),
        ((2**40, 2**40, 0), "can't be made an array"),
        ((3,), "does not fill"),
    ],
)
def test_shape_that_numpy_can_not_hold_is_a_clear_error(shape: tuple[int, ...], complaint: str) -> None:
    count = 0 if 0 in shape else 1
    with pytest.raises(UnreadableAdapterError, match=complaint):
        to_array(bytes(8), TensorInfo("w", "F32", shape, 0, 4 * count))


def test_bytes_beyond_the_buffer_are_a_clear_error() -> None:
    with pytest.raises(UnreadableAdapterError, match="can't be made an array"):
        to_array(bytes(8), TensorInfo("w", "F32", (2,), 4, 12))


def test_without_ml_dtypes_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(AdapterFormatError, match=r"'w' is BF16.*install `adapter-format\[dtypes\]`"):
        to_array(bytes(2), TensorInfo("w", "BF16", (), 0, 2))


def test_with_an_old_ml_dtypes_the_release_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ml_dtypes, "float8_e8m0fnu")
    with pytest.raises(AdapterFormatError, match=r"F8_E8M0.*install version 0\.5 or newer"):
        to_array(bytes(1), TensorInfo("w", "F8_E8M0", (), 0, 1))


def test_without_ml_dtypes_other_types_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    assert to_array(bytes(4), TensorInfo("w", "F32", (), 0, 4)) == 0
