"""Statistics of one stored tensor, read from its raw little-endian words.

Values are never widened. In every float format of the container the word without its sign bit, its magnitude, grows
with the absolute value; infinity follows the largest finite value and NaN follows infinity. (The FNUZ formats have
no infinity, and their NaN is the word that would be -0.) So the largest magnitude says if a block is free of NaN and
infinity, and only a block that is not is looked at element by element.

One pass over the words mostly does. All words joined by OR are no less than any of them: while the joined magnitude
is that of a finite value, so is each, and the exponent bits of an adapter's small values rarely fill up when joined.
Below a power of two, as the smallest normal value is, the joined magnitude lies if and only if all do; and it is zero
if all are. Where it is not small enough, the largest magnitude is sought. That needs no temporary array either: words
of negative values are the upper half of the unsigned range, so the unsigned maximum is the largest negative magnitude,
and the signed maximum the largest positive one.

Sources of the formats: IEEE 754 for F16, F32 and F64; OCP 8-bit Floating Point Specification 1.0 for F8_E4M3
and F8_E5M2; OCP Microscaling Formats 1.0 for F8_E8M0; arXiv:2206.02915 for the FNUZ formats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adapter_format.dtypes import DTYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter_format.tensors import TensorInfo

BLOCK_BYTES = 256 * 1024
"""Bytes per step; a block is read more than once and should stay in the second-level cache."""

_WIDE_ROW_BYTES = 4096
_SAMPLES = 512
_CHECKSUM_MASK = (1 << 64) - 1
_OCTET = np.dtype("u1")
_WORD64 = np.dtype("<u8")

# Less overhead than the array methods. `argmax` has less still, but copies an array that is read-only.
_maximum = np.maximum.reduce
_joined = np.bitwise_or.reduce
_sum = np.add.reduce


class TensorStatistics(NamedTuple):
    """What the stored values of one tensor are like.

    An element of a complex tensor is NaN, or infinite, when either part is; it may be both, as in NumPy.

    Attributes:
        elements: number of elements.
        nan: number of NaN elements.
        infinite: number of infinite elements.
        first_nan: flat index of the first NaN element, or None.
        first_infinite: flat index of the first infinite element, or None.
        zeros: there are elements and each is +0 or -0. F8_E8M0 has no zero.
        zero_rows: number of rows along the first axis that are all zero; 0 with fewer than two dimensions.
        first_zero_row: index of the first such row, or None.
        subnormal_only: some value is not zero, and each such value is subnormal.
        checksum: sum modulo 2**64 of 500 to 1,000 little-endian 64-bit words spread over the tensor. Equal
            bytes have equal sums; where element type, shape and sum agree, ask `identical`.
    """

    elements: int
    nan: int
    infinite: int
    first_nan: int | None
    first_infinite: int | None
    zeros: bool
    zero_rows: int
    first_zero_row: int | None
    subnormal_only: bool
    checksum: int


class _Format(NamedTuple):
    """How to read the words of one element type.

    Attributes:
        unsigned: the word, little-endian.
        signed: the same word as a signed integer.
        mask: the bits that make the magnitude; all bits where there is no sign.
        finite: magnitude of the largest finite value; equal to `mask` where every magnitude is finite.
        infinity: magnitude of infinity, or -1 where the format has none.
        normal: magnitude of the smallest normal value, a power of two.
        nonzero: the bits that make a word other than zero, as a word; None where the format has no zero.
        nonzero64: the same bits in every word of 64 bits.
        nan_is_negative_zero: the word with only its sign bit set is the one NaN (FNUZ).
        parts: words per element.
        is_float: whether values, and not only zeros, are of interest.
    """

    unsigned: np.dtype[Any]
    signed: np.dtype[Any]
    mask: int
    finite: int
    infinity: int
    normal: int
    nonzero: Any
    nonzero64: Any
    nan_is_negative_zero: bool
    parts: int
    is_float: bool

    def with_nonzero(self, bits: int) -> _Format:
        """Return the same format with other bits that tell a word from zero."""
        lanes = bits.to_bytes(self.unsigned.itemsize, "little") * (8 // self.unsigned.itemsize)
        return self._replace(nonzero=self.unsigned.type(bits), nonzero64=np.uint64(int.from_bytes(lanes, "little")))


def _float_format(
    word_bytes: int, mantissa_bits: int, finite: int, *, infinity: bool = True, parts: int = 1
) -> _Format:
    mask = (1 << (8 * word_bytes - 1)) - 1
    return _Format(
        unsigned=np.dtype(f"<u{word_bytes}"),
        signed=np.dtype(f"<i{word_bytes}"),
        mask=mask,
        finite=finite,
        infinity=finite + 1 if infinity else -1,
        normal=1 << mantissa_bits,
        nonzero=None,
        nonzero64=None,
        nan_is_negative_zero=False,
        parts=parts,
        is_float=True,
    ).with_nonzero(mask)


def _fnuz_format(mantissa_bits: int) -> _Format:
    signed_zero = _float_format(1, mantissa_bits, 0x7F, infinity=False)
    return signed_zero._replace(nan_is_negative_zero=True).with_nonzero(0xFF)


def _integer_format(word_bytes: int) -> _Format:
    mask = (1 << (8 * word_bytes)) - 1
    signed = _float_format(word_bytes, 0, mask, infinity=False)
    return signed._replace(mask=mask, is_float=False).with_nonzero(mask)


_FORMATS: dict[str, _Format] = {
    "F64": _float_format(8, 52, 0x7FEF_FFFF_FFFF_FFFF),
    "F32": _float_format(4, 23, 0x7F7F_FFFF),
    "C64": _float_format(4, 23, 0x7F7F_FFFF, parts=2),
    "F16": _float_format(2, 10, 0x7BFF),
    "BF16": _float_format(2, 7, 0x7F7F),
    "F8_E5M2": _float_format(1, 2, 0x7B),
    "F8_E4M3": _float_format(1, 3, 0x7E, infinity=False),
    "F8_E5M2FNUZ": _fnuz_format(2),
    "F8_E4M3FNUZ": _fnuz_format(3),
    "F8_E8M0": _float_format(1, 0, 0xFE, infinity=False)._replace(mask=0xFF, normal=0, nonzero=None),
    **{
        dtype.name: _integer_format(dtype.bits // 8)
        for dtype in DTYPES.values()
        if dtype.kind in {"signed", "unsigned", "bool"}
    },
}

SCANNED = frozenset(_FORMATS)
"""Names of the element types that `scan` reads: all but those of 4 and 6 bits."""


class _NonFinite(NamedTuple):
    """NaN and infinity in one block, with element indices counted from the start of the block."""

    nan: int
    infinite: int
    first_nan: int | None
    first_infinite: int | None


def scan(
    raw: memoryview | NDArray[np.uint8], info: TensorInfo, block_bytes: int = BLOCK_BYTES
) -> TensorStatistics | None:
    """Return the statistics of one tensor, or None for an element type that is not scanned (4 and 6 bits).

    Args:
        raw: the contiguous stored bytes of this tensor; they may start at any address.
        info: element type and shape; name and byte range are not used.
        block_bytes: bytes per step, a positive multiple of 8. Temporary memory stays within a few blocks.

    Raises:
        ValueError: the number of bytes is not that of the shape, or `block_bytes` is not a positive multiple
            of 8.
    """
    form = _FORMATS.get(info.dtype)
    if form is None:
        return None
    elements = info.elements
    nbytes = elements * form.unsigned.itemsize * form.parts
    if raw.nbytes != nbytes:
        expected = f"{info.dtype} {list(info.shape)} takes {nbytes} bytes"
        raise ValueError(f"{info.name}: {expected}, got {raw.nbytes}")
    if block_bytes <= 0 or block_bytes % 8:
        raise ValueError(f"block_bytes must be a positive multiple of 8, got {block_bytes}")
    if not elements:
        return TensorStatistics(0, 0, 0, None, None, False, 0, None, False, 0)
    octets: NDArray[np.uint8] = raw if isinstance(raw, np.ndarray) else np.frombuffer(raw, _OCTET)

    # Reductions over unaligned words are several times slower than a copy into an aligned block.
    aligned = nbytes < 8 or octets[:8].view(_WORD64).flags.aligned
    scratch = None if aligned else np.empty(min(nbytes, block_bytes), _OCTET)

    nan = infinite = 0
    first_nan = first_infinite = None
    joined = 0
    for start in range(0, nbytes, block_bytes):
        block = octets[start : start + block_bytes]
        if scratch is not None:
            target = scratch[: block.size]
            target[:] = block
            block = target
        words = block.view(form.unsigned)
        bits = int(_joined(words))
        joined |= bits
        suspicious = bits & form.mask > form.finite or (form.nan_is_negative_zero and bits > form.mask)
        if suspicious and _holds_non_finite(words, form):
            found = _count_non_finite(words, form)
            offset = start // (form.unsigned.itemsize * form.parts)
            if first_nan is None and found.first_nan is not None:
                first_nan = offset + found.first_nan
            if first_infinite is None and found.first_infinite is not None:
                first_infinite = offset + found.first_infinite
            nan += found.nan
            infinite += found.infinite

    joined &= form.mask
    all_finite = not (nan or infinite)
    zeros = joined == 0 and all_finite and form.nonzero is not None
    zero_rows, first_zero_row = 0, None
    if len(info.shape) > 1:
        if zeros:
            zero_rows, first_zero_row = info.shape[0], 0
        elif form.nonzero is not None:
            zero_rows, first_zero_row = _zero_rows(octets, info.shape[0], form, aligned, block_bytes)
    return TensorStatistics(
        elements,
        nan,
        infinite,
        first_nan,
        first_infinite,
        zeros,
        zero_rows,
        first_zero_row,
        form.is_float and all_finite and 0 < joined < form.normal,
        _checksum(octets),
    )


def joined(first: TensorStatistics, second: TensorStatistics, rows: int) -> TensorStatistics:
    """Put the statistics of two neighbouring parts of one tensor together.

    Args:
        first: of everything in front.
        second: of the part that follows.
        rows: number of rows in front of the second part.
    """

    def earliest(before: int | None, behind: int | None, offset: int) -> int | None:
        return before if before is not None else None if behind is None else behind + offset

    return TensorStatistics(
        elements=first.elements + second.elements,
        nan=first.nan + second.nan,
        infinite=first.infinite + second.infinite,
        first_nan=earliest(first.first_nan, second.first_nan, first.elements),
        first_infinite=earliest(first.first_infinite, second.first_infinite, first.elements),
        zeros=first.zeros and second.zeros,
        zero_rows=first.zero_rows + second.zero_rows,
        first_zero_row=earliest(first.first_zero_row, second.first_zero_row, rows),
        subnormal_only=(first.subnormal_only or second.subnormal_only)
        and all(part.subnormal_only or part.zeros for part in (first, second)),
        checksum=(first.checksum + second.checksum) & _CHECKSUM_MASK,
    )


def identical(
    first: memoryview | NDArray[np.uint8],
    second: memoryview | NDArray[np.uint8],
    block_bytes: int = BLOCK_BYTES,
) -> bool:
    """Say whether two tensors hold the same bytes; stops at the first block that differs.

    The comparison is of bytes: equal NaN words are the same, and +0 differs from -0.
    """
    if first.nbytes != second.nbytes:
        return False
    if not first.nbytes:
        return True
    left, right = np.frombuffer(first, _OCTET), np.frombuffer(second, _OCTET)
    return all(
        np.array_equal(left[start : start + block_bytes], right[start : start + block_bytes])
        for start in range(0, left.size, block_bytes)
    )


def _checksum(octets: NDArray[np.uint8]) -> int:
    """Sum of sampled 64-bit words, and of the incomplete last one padded with zeros, modulo 2**64."""
    tail = octets.size & 7
    rest = 0
    if tail:
        rest = int.from_bytes(octets[-tail:].tobytes(), "little")
        octets = octets[:-tail]
    words = octets.view(_WORD64)
    # An odd step visits all columns of a matrix whose rows are a power of two.
    sample = words[:: words.size // _SAMPLES | 1]
    return (int(_sum(sample)) + rest) & _CHECKSUM_MASK


def _holds_non_finite(words: NDArray[Any], form: _Format) -> bool:
    """Say whether there is NaN or infinity among the words of one block."""
    magnitude = int(_maximum(words))
    if magnitude <= form.mask:
        return magnitude > form.finite
    signed = words.view(form.signed)
    if form.nan_is_negative_zero and int(signed.min()) == -form.mask - 1:
        return True
    return max(magnitude & form.mask, int(_maximum(signed))) > form.finite


def _count_non_finite(words: NDArray[Any], form: _Format) -> _NonFinite:
    """Count NaN and infinity among the words of one block that is known to hold some."""
    word = form.unsigned.type
    magnitudes = words & word(form.mask)
    if form.nan_is_negative_zero:
        is_nan = words == word(form.mask + 1)
    else:
        is_nan = magnitudes > word(max(form.finite, form.infinity))
    is_infinite = np.zeros(words.shape, np.bool_) if form.infinity < 0 else magnitudes == word(form.infinity)
    if form.parts > 1:
        is_nan = is_nan.reshape(-1, form.parts).any(axis=1)
        is_infinite = is_infinite.reshape(-1, form.parts).any(axis=1)
    nan, infinite = int(np.count_nonzero(is_nan)), int(np.count_nonzero(is_infinite))
    return _NonFinite(
        nan=nan,
        infinite=infinite,
        first_nan=int(is_nan.argmax()) if nan else None,
        first_infinite=int(is_infinite.argmax()) if infinite else None,
    )


def _zero_rows(
    octets: NDArray[np.uint8], rows: int, form: _Format, aligned: bool, block_bytes: int
) -> tuple[int, int | None]:
    """Count the all-zero rows and find the first.

    A row can only be zero if its first word is, so the first column picks the rows that are read whole. The
    column is of 64-bit words where rows divide into them, which leaves fewer rows picked by chance.
    """
    if aligned and octets.size // rows % 8 == 0:
        words, nonzero = octets.view(_WORD64), form.nonzero64
    else:
        words, nonzero = octets.view(form.unsigned), form.nonzero
    row_words = words.size // rows
    column = words[::row_words]
    step = block_bytes // 8
    count = 0
    first = None
    for start in range(0, rows, step):
        masked = column[start : start + step] & nonzero
        if np.count_nonzero(masked) == masked.size:
            continue
        picked = np.flatnonzero(masked == 0) + start
        if row_words > 1:
            picked = picked[_are_zero(words.reshape(rows, -1), picked, nonzero, block_bytes)]
        if picked.size:
            count += int(picked.size)
            first = int(picked[0]) if first is None else first
    return count, first


def _are_zero(matrix: NDArray[Any], picked: NDArray[np.intp], nonzero: Any, block_bytes: int) -> NDArray[np.bool_]:
    """Say for each picked row of the matrix whether none of its words has a bit that makes it nonzero."""
    row_words = matrix.shape[1]
    row_bytes = row_words * matrix.itemsize
    if row_bytes < min(_WIDE_ROW_BYTES, block_bytes):
        step = block_bytes // row_bytes
        chunks = (picked[start : start + step] for start in range(0, picked.size, step))
        return np.concatenate([~(matrix[chunk] & nonzero).any(axis=1) for chunk in chunks])
    step = block_bytes // matrix.itemsize
    starts = range(0, row_words, step)
    return np.array(
        [not any((matrix[row, start : start + step] & nonzero).any() for start in starts) for row in picked],
        dtype=np.bool_,
    )
