from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_format.dtypes import DTYPES
from adapter_format.tensor_scan import SCANNED, TensorStatistics, identical, scan
from adapter_format.tensors import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

float_limits: Any = ml_dtypes.finfo

FLOATS = sorted(name for name in SCANNED if DTYPES[name].kind in {"float", "complex"})
SIGNED_FLOATS = sorted(set(FLOATS) - {"F8_E8M0"})
BYTE_FLOATS = sorted(name for name in FLOATS if DTYPES[name].bits == 8)
INTEGERS = sorted(SCANNED - set(FLOATS))


class Expected(NamedTuple):
    elements: int
    nan: int
    infinite: int
    first_nan: int | None
    first_infinite: int | None
    zeros: bool
    zero_rows: int
    first_zero_row: int | None
    subnormal_only: bool


class Stored(NamedTuple):
    info: TensorInfo
    raw: bytes
    offset: int
    block_bytes: int

    def at_offset(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        buffer = np.empty(len(self.raw) + 16, np.uint8)
        part = buffer[self.offset : self.offset + len(self.raw)]
        part[:] = np.frombuffer(self.raw, np.uint8) if self.raw else 0
        return part


def array_type(dtype: str) -> np.dtype[Any]:
    name = DTYPES[dtype].array_name
    return np.dtype(getattr(ml_dtypes, name, name))


def stored_bytes(dtype: str, values: Sequence[complex]) -> bytes:
    kind = array_type(dtype)
    with np.errstate(all="ignore"):
        return np.array(values).astype(kind if kind.kind == "c" else np.float64).astype(kind).tobytes()


def statistics(dtype: str, shape: tuple[int, ...], raw: bytes, **options: int) -> TensorStatistics:
    found = scan(memoryview(raw), TensorInfo("t", dtype, shape, 0, len(raw)), **options)
    assert found is not None
    return found


def expected_statistics(info: TensorInfo, raw: bytes) -> Expected:
    """The slow way: decode with NumPy or ml_dtypes, widen to 64 bits, ask NumPy."""
    stored = np.frombuffer(raw, array_type(info.dtype)) if raw else np.empty(0, array_type(info.dtype))
    is_float = DTYPES[info.dtype].kind in {"float", "complex"}
    if not is_float:
        nan = infinite = np.zeros(stored.shape, np.bool_)
        parts = np.empty(0)
        is_zero = stored == 0
        smallest_normal = 0.0
    else:
        complex_type = info.dtype == "C64"
        with np.errstate(all="ignore"):
            wide = stored.astype(np.complex128 if complex_type else np.float64)
            nan, infinite, is_zero = np.isnan(wide), np.isinf(wide), wide == 0
        parts = np.abs(np.concatenate([wide.real, wide.imag]) if complex_type else wide)
        smallest_normal = float(float_limits(np.float32 if complex_type else stored.dtype).smallest_normal)
    nonzero = parts[parts != 0]
    rows = np.empty(0, np.intp)
    if len(info.shape) > 1 and stored.size:
        rows = np.flatnonzero(is_zero.reshape(info.shape[0], -1).all(axis=1))
    return Expected(
        elements=stored.size,
        nan=int(nan.sum()),
        infinite=int(infinite.sum()),
        first_nan=int(np.flatnonzero(nan)[0]) if nan.any() else None,
        first_infinite=int(np.flatnonzero(infinite)[0]) if infinite.any() else None,
        zeros=bool(stored.size and is_zero.all()),
        zero_rows=rows.size,
        first_zero_row=int(rows[0]) if rows.size else None,
        subnormal_only=bool(nonzero.size and (nonzero < smallest_normal).all()),
    )


def plain_word_sum(raw: bytes) -> int:
    return sum(int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)) % 2**64


@st.composite
def stored_words(draw: st.DrawFn, dtype: str) -> bytes:
    size = DTYPES[dtype].bits // 8
    notable = [0.0, -0.0, 1.0, -1.0, float("inf"), float("-inf"), float("nan")]
    if dtype in FLOATS:
        limits = float_limits(np.float32 if dtype == "C64" else array_type(dtype))
        notable += [float(limits.max), -float(limits.max), float(limits.smallest_normal)]
        notable += [float(limits.smallest_subnormal), -float(limits.smallest_subnormal)]
        values = st.sampled_from(notable)
        if dtype == "C64":
            pairs = st.tuples(values, values)
            return draw(pairs.map(lambda pair: b"".join(stored_bytes("F32", [part]) for part in pair)))
        return draw(
            st.one_of(
                values.map(lambda value: stored_bytes(dtype, [value])),
                st.binary(min_size=size, max_size=size),
            )
        )
    if dtype == "BOOL":
        return draw(st.sampled_from([b"\0", b"\1"]))
    return draw(st.one_of(st.just(bytes(size)), st.binary(min_size=size, max_size=size)))


@st.composite
def stored_tensors(draw: st.DrawFn) -> Stored:
    dtype = draw(st.sampled_from(sorted(SCANNED)))
    shape = tuple(draw(st.lists(st.integers(0, 9), max_size=3)))
    elements = int(np.prod(shape, dtype=np.int64))
    palette = draw(st.lists(stored_words(dtype), min_size=1, max_size=4))
    common = draw(st.sampled_from([0, 0, 50, 95]))
    picks = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    indices = picks.integers(0, len(palette), elements)
    indices[picks.integers(0, 100, elements) < common] = 0
    raw = b"".join(palette[index] for index in indices)
    info = TensorInfo("t", dtype, shape, 0, len(raw))
    return Stored(info, raw, draw(st.integers(0, 8)), draw(st.sampled_from([8, 16, 24, 64, 4096])))


@settings(max_examples=500)
@given(stored_tensors())
def test_statistics_are_those_of_the_decoded_values(tensor: Stored) -> None:
    found = scan(tensor.at_offset(), tensor.info, tensor.block_bytes)
    assert found is not None
    assert Expected(*found[:-1]) == expected_statistics(tensor.info, tensor.raw)


@given(stored_tensors())
def test_checksum_of_a_small_tensor_is_the_sum_of_all_its_words(tensor: Stored) -> None:
    found = scan(tensor.at_offset(), tensor.info, tensor.block_bytes)
    assert found is not None
    if len(tensor.raw) < 4096:
        assert found.checksum == plain_word_sum(tensor.raw)


@given(stored_tensors())
def test_address_and_block_size_change_nothing(tensor: Stored) -> None:
    assert scan(tensor.at_offset(), tensor.info, tensor.block_bytes) == scan(memoryview(tensor.raw), tensor.info)


@given(stored_tensors())
def test_scanned_bytes_are_left_alone(tensor: Stored) -> None:
    buffer = tensor.at_offset()
    scan(buffer, tensor.info, tensor.block_bytes)
    assert buffer.tobytes() == tensor.raw


@pytest.mark.parametrize("dtype", BYTE_FLOATS)
def test_every_8_bit_word_is_read_as_ml_dtypes_reads_it(dtype: str) -> None:
    for word in range(256):
        raw = bytes([word])
        found = statistics(dtype, (1,), raw)
        assert Expected(*found[:-1]) == expected_statistics(TensorInfo("t", dtype, (1,), 0, 1), raw), hex(word)


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_all_16_bit_words_together_count_as_numpy_counts_them(dtype: str) -> None:
    raw = np.arange(65536, dtype="<u2").tobytes()
    info = TensorInfo("t", dtype, (256, 256), 0, len(raw))
    assert Expected(*statistics(dtype, (256, 256), raw)[:-1]) == expected_statistics(info, raw)


@pytest.mark.parametrize("dtype", SIGNED_FLOATS)
def test_zero_rows_of_either_sign_are_found_in_wide_rows(dtype: str) -> None:
    values = np.ones((5, 3000))
    values[1] = 0
    values[3] = 0
    values[4, 0:2999] = 0
    kind = array_type(dtype)
    stored = values.astype(kind)
    if "FNUZ" not in dtype:
        stored[3] = -stored[3]
    found = statistics(dtype, (5, 3000), stored.tobytes(), block_bytes=4096)
    assert (found.zero_rows, found.first_zero_row) == (2, 1)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("position", [0, 63, 64, 65, 127, 128, 199])
def test_one_nan_is_found_at_any_block_boundary(dtype: str, position: int) -> None:
    values = [1.0] * 200
    values[position] = float("nan")
    block_bytes = 64 * DTYPES[dtype].bits // 8
    found = statistics(dtype, (200,), stored_bytes(dtype, values), block_bytes=block_bytes)
    assert (found.nan, found.first_nan) == (1, position)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_a_tensor_larger_than_a_block_counts_as_the_naive_way(dtype: str) -> None:
    values = np.random.default_rng(1).standard_normal((40_000, 16)) * 0.1
    values[12_345] = 0
    values[39_999] = -0.0
    values[30_000, 3] = np.inf
    values[30_001, 4] = np.nan
    raw = values.astype(array_type(dtype)).tobytes()
    info = TensorInfo("t", dtype, (40_000, 16), 0, len(raw))
    assert Expected(*statistics(dtype, (40_000, 16), raw)[:-1]) == expected_statistics(info, raw)


@pytest.mark.parametrize("dtype", sorted(SCANNED))
@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0), (2, 0, 3)])
def test_an_empty_tensor_has_nothing_to_report(dtype: str, shape: tuple[int, ...]) -> None:
    found = statistics(dtype, shape, b"")
    assert found == TensorStatistics(0, 0, 0, None, None, False, 0, None, False, 0)


def test_a_scalar_is_one_element_without_rows() -> None:
    found = statistics("F32", (), stored_bytes("F32", [0.0]))
    assert (found.elements, found.zeros, found.zero_rows) == (1, True, 0)


@pytest.mark.parametrize("dtype", SIGNED_FLOATS)
def test_zeros_make_every_row_a_zero_row(dtype: str) -> None:
    found = statistics(dtype, (6, 5), stored_bytes(dtype, [0.0] * 30))
    assert (found.zeros, found.zero_rows, found.first_zero_row) == (True, 6, 0)


@pytest.mark.parametrize("dtype", SIGNED_FLOATS)
def test_zeros_beside_a_nan_are_not_all_zeros(dtype: str) -> None:
    found = statistics(dtype, (2, 2), stored_bytes(dtype, [0.0, float("nan"), 0.0, 0.0]))
    assert (found.zeros, found.zero_rows, found.first_zero_row) == (False, 1, 1)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2FNUZ"])
def test_subnormals_beside_a_nan_are_not_subnormal_only(dtype: str) -> None:
    smallest = float(float_limits(array_type(dtype)).smallest_subnormal)
    assert statistics(dtype, (2,), stored_bytes(dtype, [0.0, smallest])).subnormal_only
    assert not statistics(dtype, (2,), stored_bytes(dtype, [float("nan"), smallest])).subnormal_only


def test_first_positions_are_those_of_the_first_block_that_has_any() -> None:
    values = [0.0, float("inf"), float("nan"), 0.0] * 5
    found = statistics("F32", (20,), stored_bytes("F32", values), block_bytes=8)
    assert (found.nan, found.first_nan, found.infinite, found.first_infinite) == (5, 2, 5, 1)


def test_e8m0_has_no_zero() -> None:
    found = statistics("F8_E8M0", (2, 4), bytes(8))
    assert (found.zeros, found.zero_rows, found.subnormal_only) == (False, 0, False)


def test_a_complex_element_can_be_nan_and_infinite_at_once() -> None:
    raw = stored_bytes("F32", [1.0, 2.0, float("nan"), float("-inf")])
    found = statistics("C64", (2,), raw)
    assert (found.nan, found.infinite, found.first_nan, found.first_infinite) == (1, 1, 1, 1)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_neither_nan_nor_subnormal(dtype: str) -> None:
    found = statistics(dtype, (3,), bytes([1]) * (3 * DTYPES[dtype].bits // 8))
    assert (found.zeros, found.nan, found.subnormal_only) == (False, 0, False)


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "F6_E3M2"])
def test_elements_narrower_than_a_byte_are_not_scanned(dtype: str) -> None:
    assert scan(memoryview(bytes(12)), TensorInfo("t", dtype, (16,), 0, 12)) is None


def test_every_other_element_type_is_scanned() -> None:
    assert set(DTYPES) - SCANNED == {"F4", "F6_E2M3", "F6_E3M2"}


def test_a_wrong_number_of_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"t: F32 \[2, 2\] takes 16 bytes, got 12"):
        statistics("F32", (2, 2), bytes(12))


@pytest.mark.parametrize("block_bytes", [0, -8, 12])
def test_a_block_that_would_split_words_is_refused(block_bytes: int) -> None:
    with pytest.raises(ValueError, match="positive multiple of 8"):
        statistics("F32", (2,), bytes(8), block_bytes=block_bytes)


@pytest.mark.parametrize("column", [0, 1, 7, 15])
def test_checksum_sees_a_change_confined_to_one_column(column: int) -> None:
    words = np.random.default_rng(2).integers(0, 2**62, (4096, 16), dtype=np.uint64)
    changed = words.copy()
    changed[:, column] += np.uint64(1)
    before = statistics("F64", (4096, 16), words.tobytes())
    assert statistics("F64", (4096, 16), changed.tobytes()).checksum != before.checksum


@given(st.binary(max_size=200), st.integers(0, 7), st.data())
def test_identical_is_equality_of_bytes(raw: bytes, offset: int, data: st.DataObject) -> None:
    other = bytearray(raw)
    if raw and data.draw(st.booleans()):
        other[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(0, 255))
    shifted = memoryview(bytes(offset) + bytes(other))[offset:]
    assert identical(memoryview(raw), shifted, block_bytes=16) == (raw == bytes(other))


def test_tensors_of_different_length_are_not_identical() -> None:
    assert not identical(memoryview(bytes(8)), memoryview(bytes(16)))
