"""The header of a safetensors file: bytes in, tensors and defects out; no file is opened here.

The format (https://huggingface.co/docs/safetensors): 8 bytes little-endian length N, N bytes of UTF-8 JSON that begin
with `{` and may be padded with spaces, then the data section, which the tensors cover without gap or overlap.
Where the library is laxer than its own documentation (duplicate keys, leading whitespace, other padding), the
documentation decides here.
"""

from __future__ import annotations

import hashlib
import json
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.dtypes import BITS, DTYPES
from adapter_format.limits import DEFAULT_LIMITS, Limits
from adapter_format.storage.defects import Defect
from adapter_format.storage.strict_json import read_json
from adapter_format.tensors import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

LENGTH_BYTES = 8
LIBRARY_HEADER_LIMIT = 100_000_000
"""Largest header that the safetensors library reads, in bytes."""

_LARGEST_SIZE = 2**63 - 1
_METADATA = "__metadata__"

UNKNOWN = ""
"""Element type of a tensor whose entry is so damaged that only its name is known."""


class Header(NamedTuple):
    """What a header says, as far as it could be read.

    Attributes:
        tensors: key to tensor, in the order of the header; damaged entries have the dtype `UNKNOWN`.
        metadata: the string map under `__metadata__`, or None.
        data_start: absolute offset of the data section in bytes.
        file_size: size of the file in bytes.
        defects: everything that is wrong, in the order found.
        readable: whether the tensors can be read from this file without reading wrong bytes.
        digest: SHA-256 of the JSON text; b"" where there is none.
    """

    tensors: dict[str, TensorInfo]
    metadata: Mapping[str, str] | None
    data_start: int
    file_size: int
    defects: tuple[Defect, ...]
    readable: bool
    digest: bytes = b""


def header_length(prefix: bytes) -> int:
    """Return N, the length of the JSON in bytes, from the first 8 bytes of the file."""
    return int.from_bytes(prefix[:LENGTH_BYTES], "little")


def parse_header(data: bytes, file_size: int, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Read a header from the first bytes of a file.

    Args:
        data: at least the first `8 + N` bytes, or all there is if the file is shorter or N is beyond the limit.
        file_size: size of the whole file in bytes.
        limits: bounds on header length and number of tensors.

    Returns:
        The header; never raises on any bytes.
    """
    broken = _broken_frame(data, file_size, limits)
    if broken is not None:
        return Header({}, None, 0, file_size, (broken,), readable=False)
    length = header_length(data)
    text = data[LENGTH_BYTES : LENGTH_BYTES + length]
    data_start = LENGTH_BYTES + length
    sound = _read_sound(text, file_size - data_start, limits)
    if sound is not None:
        return Header(*sound, data_start, file_size, (), True, hashlib.sha256(text).digest())
    document = read_json(text, max_depth=127, max_digits=308, negative_zero=True)
    defects = [*_padding_defects(text)]
    for fault in document.defects:
        kind = _JSON_KINDS.get(fault.kind, "header-not-json")
        offset = LENGTH_BYTES + fault.offset
        defects.append(Defect(kind, f"The header is not as it must be: {fault.message}.", None, fault.pointer, offset))
    if not document.complete:
        return Header({}, None, data_start, file_size, tuple(defects), readable=False)
    if not isinstance(document.value, dict):
        found = type(document.value).__name__
        defects.append(Defect("header-not-object", f"The header is a JSON {found}, expected an object.", offset=8))
        return Header({}, None, data_start, file_size, tuple(defects), readable=False)
    tensors, metadata, entry_defects = _read_entries(document.value, limits)
    unreadable = tuple(fault.pointer for fault in document.defects if fault.kind != "duplicate-key")
    defects += [defect for defect in entry_defects if not (defect.pointer or "").startswith(unreadable or ("!",))]
    layout_defects = _layout_defects(tensors, data_start, file_size) if _harmless(entry_defects) else []
    defects += layout_defects
    digest = hashlib.sha256(text).digest()
    readable = not defects or _harmless(defects)
    return Header(tensors, metadata, data_start, file_size, tuple(defects), readable, digest)


_JSON_KINDS = {"not-utf8": "header-not-utf8", "duplicate-key": "header-duplicate-key"}

_HARMLESS = frozenset(
    {"header-padding", "tensor-misaligned", "metadata-invalid", "tensor-entry-extra-field", "data-start-misaligned"}
)


def _harmless(defects: list[Defect]) -> bool:
    return all(defect.kind in _HARMLESS for defect in defects)


def _broken_frame(data: bytes, file_size: int, limits: Limits) -> Defect | None:
    """Return the defect that keeps the JSON from being looked at, if there is one."""
    start = data[:64].lower()
    # The length bytes of a sound file may spell a signature (a header of 640 bytes starts like a pickle).
    plausible = data[LENGTH_BYTES:64].lstrip()[:1] == b"{" and file_size > LENGTH_BYTES
    for magic, kind, what in () if plausible else _SIGNATURES:
        if start.startswith(magic):
            return Defect(kind, f"The file is {what}, not a safetensors container ({file_size:,} bytes).", offset=0)
    if file_size < LENGTH_BYTES:
        what = "empty" if file_size == 0 else f"only {file_size} bytes long"
        return Defect("file-too-short", f"The file is {what}; a container starts with 8 length bytes.", offset=0)
    length = header_length(data)
    if length > LIBRARY_HEADER_LIMIT:
        text = f"The first 8 bytes give a header of {length:,} bytes; the format allows {LIBRARY_HEADER_LIMIT:,}."
        return Defect("header-length", text, offset=0)
    if LENGTH_BYTES + length > file_size:
        if data[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{":
            text = f"The file ends inside its header: {file_size:,} bytes of at least {LENGTH_BYTES + length:,}."
            return Defect("file-truncated", text, offset=file_size)
        text = f"The first 8 bytes give a header of {length:,} bytes, but only {file_size - LENGTH_BYTES:,} follow."
        return Defect("header-length", text, offset=0)
    if length > limits.header_bytes:
        text = f"The header of {length:,} bytes is over the limit of {limits.header_bytes:,} set for this run."
        return Defect("header-over-limit", text, offset=0)
    if length == 0:
        return Defect("header-length", "The first 8 bytes give a header of 0 bytes; the smallest is `{}`.", offset=0)
    return None


_SIGNATURES = (
    (b"version https://git-lfs", "lfs-pointer", "a Git LFS pointer (the weights were never downloaded)"),
    (b"<!doctype", "not-safetensors", "an HTML page"),
    (b"<html", "not-safetensors", "an HTML page"),
    (b"<?xml", "not-safetensors", "an XML document"),
    (b"pk\x03\x04", "not-safetensors", "a zip archive (a torch `.bin` under another name?)"),
    (b"\x80\x02", "not-safetensors", "a Python pickle (a torch `.bin` under another name?)"),
    (b"\x80\x04", "not-safetensors", "a Python pickle"),
    (b"gguf", "not-safetensors", "a GGUF file"),
    (b"\x93numpy", "not-safetensors", "a NumPy array file"),
    (b"\x89hdf", "not-safetensors", "an HDF5 file"),
    (b"\x1f\x8b", "not-safetensors", "a gzip archive"),
    (b'{"', "not-safetensors", "a JSON text"),
    (b"{\n", "not-safetensors", "a JSON text"),
)


class _UnsoundError(Exception):
    """The header needs the slow look that names its defects."""


def _refuse(_: str) -> None:
    raise _UnsoundError


def _read_sound(
    text: bytes, available: int, limits: Limits
) -> tuple[dict[str, TensorInfo], Mapping[str, str] | None] | None:
    """Read a header in which nothing at all is wrong, as nearly every one is; None for any other.

    One pass decides: every object is one of those expected, so that a doubled key, the only defect that the JSON
    reader hides, shows as a colon too many.
    """
    if text[:1] != b"{" or len(text) % 8:
        return None
    try:
        source = text.decode("utf-8")
        entries = json.loads(source, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError, _UnsoundError):
        return None
    if type(entries) is not dict or source.rstrip(" ")[-1] != "}" or "\\" in source:
        return None
    if "true" in source or "false" in source:
        return None  # Python takes them for the numbers 1 and 0
    metadata = entries.pop(_METADATA, None)
    members = 4 * len(entries)
    if metadata is not None:
        if type(metadata) is not dict or not all(type(value) is str for value in metadata.values()):
            return None
        members += 1 + len(metadata)
    tensors, position = _read_in_order(entries)
    if position != available or source.count(":") != members or len(tensors) > limits.tensors:
        return None
    return tensors, metadata


def _read_in_order(entries: dict[str, Any]) -> tuple[dict[str, TensorInfo], int]:
    """Read entries that are sound and lie in the order of the header; return them and where the data ends.

    The end is -1 if anything is otherwise. Numbers are integers here: the text holds neither fractions nor booleans.
    """
    tensors: dict[str, TensorInfo] = {}
    make: Callable[..., TensorInfo] = tuple.__new__  # half the cost of a call of the class
    extents: dict[tuple[str, tuple[int, ...]], tuple[int, int]] = {}
    position = 0
    try:
        for name, entry in entries.items():
            dtype = entry["dtype"]
            listed = entry["shape"]
            start, end = entry["data_offsets"]
            shape = tuple(listed)
            extent = extents.get((dtype, shape))
            if extent is None:
                extent = extents[dtype, shape] = _extent(dtype, shape)
            nbytes, alignment = extent
            if start != position or end - start != nbytes or start % alignment:
                return {}, -1
            if len(entry) != 3 or type(listed) is not list:
                return {}, -1
            position = end
            tensors[name] = make(TensorInfo, (name, dtype, shape, start, end))
    except (KeyError, TypeError, ValueError):
        return {}, -1
    return tensors, position


def _extent(dtype: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the bytes of a tensor and the multiple that its offset has to be; ValueError if it is not sound."""
    bits = width = BITS[dtype]
    for size in shape:
        if type(size) is not int or size < 0:
            raise ValueError(size)
        bits *= size
    if bits % 8 or (not bits and _overflows(shape)):
        raise ValueError(shape)
    return bits // 8, max(width // 8, 1)


def _padding_defects(text: bytes) -> Iterator[Defect]:
    if text[:1] != b"{" and text.lstrip()[:1] == b"{":
        yield Defect(
            "header-padding", "The header begins with whitespace; it must begin with `{`.", offset=LENGTH_BYTES
        )
    bare = text.rstrip(b" ")
    if bare[-1:] in (b"\t", b"\r", b"\n"):
        offset = LENGTH_BYTES + len(bare) - 1
        yield Defect("header-padding", "The header is padded with something else than spaces (0x20).", offset=offset)
    if len(text) % 8 and text[:1] == b"{":
        message = f"The header is {len(text):,} bytes long, not a multiple of 8: the tensors start misaligned."
        yield Defect("data-start-misaligned", message, offset=0)


def _read_entries(
    entries: dict[str, Any], limits: Limits
) -> tuple[dict[str, TensorInfo], Mapping[str, str] | None, list[Defect]]:
    tensors: dict[str, TensorInfo] = {}
    metadata: Mapping[str, str] | None = None
    defects: list[Defect] = []
    bits_of = BITS
    for name, entry in entries.items():
        if name == _METADATA:
            metadata, fault = _read_metadata(entry)
            defects += fault
            continue
        try:
            dtype = entry["dtype"]
            shape = entry["shape"]
            start, end = entry["data_offsets"]
            bits = bits_of[dtype]
            for size in shape:
                if type(size) is not int or size < 0:
                    raise TypeError
                bits *= size
            if type(start) is not int or type(end) is not int or start < 0 or bits != (end - start) * 8:
                raise ValueError
            if len(entry) != 3 or type(shape) is not list or bits > _LARGEST_SIZE or (bits == 0 and _overflows(shape)):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            tensors[name], faults = _diagnose_entry(name, entry)
            defects += faults
            continue
        tensors[name] = TensorInfo(name, dtype, tuple(shape), start, end)
    if len(tensors) > limits.tensors:
        text = f"The header lists {len(tensors):,} tensors; the limit set for this run is {limits.tensors:,}."
        defects.append(Defect("header-over-limit", text, offset=LENGTH_BYTES))
    return tensors, metadata, defects


def _overflows(shape: Sequence[int]) -> bool:
    """Whether the product of the non-zero dimensions is beyond 63 bits, so that readers may wrap around."""
    product = 1
    for size in shape:
        product *= size or 1
        if product > _LARGEST_SIZE:
            return True
    return False


def _read_metadata(entry: object) -> tuple[Mapping[str, str] | None, list[Defect]]:
    pointer = f"/{_METADATA}"
    if not isinstance(entry, dict):
        text = f"`__metadata__` is {_json_type(entry)}, expected an object of strings."
        return None, [Defect("metadata-invalid", text, pointer=pointer)]
    faults = [
        Defect(
            "metadata-invalid",
            f"`__metadata__` holds {_json_type(value)} under {key!r}, expected a string.",
            pointer=f"{pointer}/{_escape(key)}",
        )
        for key, value in entry.items()
        if not isinstance(value, str)
    ]
    return (None if faults else entry), faults


def _diagnose_entry(name: str, entry: object) -> tuple[TensorInfo, list[Defect]]:
    """Say what is wrong with one entry; the tensor returned is of `UNKNOWN` type if nothing is sure but its name."""

    def fault(kind: str, message: str, field: str = "") -> tuple[TensorInfo, list[Defect]]:
        pointer = f"/{_escape(name)}{'/' if field else ''}{field}"
        return TensorInfo(name, UNKNOWN, (), 0, 0), [Defect(kind, message, tensor=name, pointer=pointer)]

    if not isinstance(entry, dict):
        return fault("tensor-entry-malformed", f"The entry is {_json_type(entry)}, expected an object.")
    for field in ("dtype", "shape", "data_offsets"):
        if field not in entry:
            return fault("tensor-entry-malformed", f"The entry has no `{field}`.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str):
        return fault("tensor-entry-malformed", f"`dtype` is {_json_type(dtype)}, expected a string.", "dtype")
    if dtype not in DTYPES:
        near = f" (did you mean {dtype.upper()}?)" if dtype.upper() in DTYPES else ""
        return fault("dtype-unknown", f"The dtype {dtype[:40]!r} is none of the format's{near}.", "dtype")
    if not isinstance(shape, list):
        return fault("shape-invalid", f"`shape` is {_json_type(shape)}, expected an array of sizes.", "shape")
    for index, size in enumerate(shape):
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            found = str(size)[:40] if isinstance(size, (int, float)) else _json_type(size)
            text = f"Dimension {index} of the shape is {found}, expected an integer of at least 0."
            return fault("shape-invalid", text, f"shape/{index}")
    if _overflows(shape) or _overflows([*shape, DTYPES[dtype].bits]):
        return fault("shape-overflow", f"The shape {_short(shape)} has more elements than 63 bits can count.", "shape")
    if not isinstance(offsets, list) or len(offsets) != 2:
        return fault("tensor-entry-malformed", "`data_offsets` is not an array of two integers.", "data_offsets")
    for index, offset in enumerate(offsets):
        if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset <= _LARGEST_SIZE:
            found = str(offset)[:40] if isinstance(offset, (int, float)) else _json_type(offset)
            text = f"Offset {index} is {found}, expected an integer of at least 0."
            return fault("offset-invalid", text, f"data_offsets/{index}")
    start, end = offsets
    if end < start:
        return fault("offsets-reversed", f"The data ends at {end:,}, before it starts at {start:,}.", "data_offsets")
    info = TensorInfo(name, dtype, tuple(shape), start, end)
    bits = info.elements * DTYPES[dtype].bits
    if bits % 8:
        return fault("shape-invalid", f"{info.elements} elements of {dtype} do not fill whole bytes.", "shape")
    if bits != (end - start) * 8:
        text = f"{dtype} of shape {_short(shape)} needs {bits // 8:,} bytes, but the offsets span {end - start:,}."
        return fault("tensor-size-mismatch", text, "data_offsets")
    extra = sorted(set(entry) - {"dtype", "shape", "data_offsets"})
    text = f"The entry has fields that the format does not know: {', '.join(map(repr, extra))[:120]}."
    return info, [Defect("tensor-entry-extra-field", text, tensor=name, pointer=f"/{_escape(name)}")]


def _layout_defects(tensors: dict[str, TensorInfo], data_start: int, file_size: int) -> list[Defect]:
    """Check that the tensors cover the data section exactly once, in the manner of the safetensors library."""
    defects: list[Defect] = []
    position = 0
    previous: TensorInfo | None = None
    available = file_size - data_start
    last = max((info.end for info in tensors.values()), default=0)
    for info in sorted(tensors.values(), key=itemgetter(3, 4)):
        start = info.start
        if start != position:
            offset = data_start + start
            if start < position:
                other = previous.name if previous else ""
                text = f"Its bytes {start:,} to {info.end:,} overlap those of {other!r}, which end at {position:,}."
                defects.append(Defect("tensor-overlap", text, info.name, f"/{_escape(info.name)}/data_offsets", offset))
            else:
                text = f"Bytes {position:,} to {start:,} of the data section belong to no tensor."
                defects.append(Defect("data-gap", text, info.name, f"/{_escape(info.name)}/data_offsets", offset))
        if _is_misaligned(start, BITS[info.dtype]) and info.end > start:
            text = f"The data starts at byte {start:,}, not a multiple of the {info.dtype} element size."
            defects.append(Defect("tensor-misaligned", text, info.name, None, data_start + start))
        if info.end > position:
            position = info.end
            previous = info
    if any(defect.kind == "tensor-overlap" for defect in defects):
        # The bytes that an overlapping tensor should have had are the same defect, not a second one.
        defects = [defect for defect in defects if defect.kind != "data-gap"]
    if last > available:
        text = f"The file holds {available:,} bytes of data, but the header promises {last:,}: it was cut short."
        defects.append(Defect("file-truncated", text, offset=file_size))
    elif last < available:
        text = f"{available - last:,} bytes follow the last tensor."
        defects.append(Defect("trailing-bytes", text, offset=data_start + last))
    return defects


def _is_misaligned(start: int, bits: int) -> bool:
    """Whether an element type of whole bytes starts off a multiple of its size; packed ones start at any byte."""
    return bits > 8 and start * 8 % bits != 0


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def _short(shape: list[int]) -> str:
    text = str(shape)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _json_type(value: object) -> str:
    names: tuple[tuple[type, str], ...] = (
        (bool, "a boolean"),
        (str, "a string"),
        (int, "a number"),
        (float, "a number"),
        (list, "an array"),
        (dict, "an object"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "null")
