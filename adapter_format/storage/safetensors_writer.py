"""Arrays to the bytes of a safetensors file: the same bytes for the same tensors, on every platform.

The bytes are those of the official writer (safetensors 0.8, `serialize`): tensors by element type, last of
the enum first, then by the UTF-8 bytes of their names; the JSON without spaces, non-ASCII characters as they
are; the header padded with spaces to a multiple of 8. Where the official writer leaves the order to chance
(several metadata keys), the keys are sorted here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from adapter_format.errors import UsageError
from adapter_format.storage.arrays import little_endian_bytes, shown, stored_dtype
from adapter_format.storage.safetensors_header import LENGTH_BYTES, LIBRARY_HEADER_LIMIT
from adapter_format.tensors import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from adapter_format.dtypes import Dtype

_ALIGNMENT = 8
_METADATA = "__metadata__"


class Plan(NamedTuple):
    """A file as it will be written.

    Attributes:
        header_bytes: everything before the data section: length, JSON and padding.
        tensors: each tensor with its array, in the order of the file.
        total_size: size of the whole file in bytes.
    """

    header_bytes: bytes
    tensors: tuple[tuple[TensorInfo, npt.NDArray[Any]], ...]
    total_size: int


def plan(arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str] | None = None) -> Plan:
    """Lay out a file; no tensor byte is read or copied.

    Args:
        arrays: key to array, in any order; strides and byte order are as they please.
        metadata: what goes under `__metadata__`; none is written if it is empty or None.

    Raises:
        UsageError: a key or metadata entry is no string, is not valid Unicode or is `__metadata__`, an
            element type can't be stored, or the header would be larger than the safetensors library reads.
    """
    placed: list[tuple[TensorInfo, npt.NDArray[Any]]] = []
    position = 0
    for dtype, name, array in sorted(_checked(arrays), key=lambda entry: (-entry[0].rank, entry[1])):
        end = position + array.nbytes
        placed.append((TensorInfo(name, dtype.name, array.shape, position, end), array))
        position = end
    header = _header(metadata, (info for info, _ in placed))
    return Plan(header, tuple(placed), len(header) + position)


def write(file: BinaryIO, plan: Plan) -> None:
    """Write the planned file: each tensor once, straight from its memory where that is laid out as stored."""
    file.write(plan.header_bytes)
    for _, array in plan.tensors:
        file.write(little_endian_bytes(array))


def _checked(arrays: Mapping[str, npt.NDArray[Any]]) -> Iterable[tuple[Dtype, str, npt.NDArray[Any]]]:
    for name, array in arrays.items():
        _check_text(name, "tensor name")
        if name == _METADATA:
            raise UsageError("A tensor can't be named `__metadata__`: no reader could open the file.")
        try:
            yield stored_dtype(array), name, array
        except UsageError as error:
            raise UsageError(f"The tensor {shown(name)} can't be stored: {error}") from error


def _check_text(text: object, what: str) -> None:
    if not isinstance(text, str):
        raise UsageError(f"The {what} {shown(repr(text))} is a `{type(text).__qualname__}`, expected a string.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"The {what} {shown(text)} holds a lone surrogate at character {error.start}, which UTF-8 can't express."
        ) from error


def _header(metadata: Mapping[str, str] | None, infos: Iterable[TensorInfo]) -> bytes:
    document: dict[str, object] = {}
    if metadata:
        for key, value in metadata.items():
            _check_text(key, "metadata key")
            _check_text(value, f"metadata value under {shown(key)}:")
        document[_METADATA] = dict(sorted(metadata.items()))
    for info in infos:
        document[info.name] = {
            "dtype": info.dtype,
            "shape": info.shape,
            "data_offsets": (info.start, info.end),
        }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > LIBRARY_HEADER_LIMIT:
        raise UsageError(
            f"The header of {len(document):,} tensors would take {len(text):,} bytes; "
            f"the safetensors library reads {LIBRARY_HEADER_LIMIT:,} at most."
        )
    return len(text).to_bytes(LENGTH_BYTES, "little") + text
