"""A torch `.bin` container, written without torch: a zip of a pickle and one file a storage, as since torch 1.6."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter_format.testing.examples import Stored

_STORAGES = {"F64": "DoubleStorage", "F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage",
             "I64": "LongStorage", "I32": "IntStorage", "U8": "ByteStorage", "BOOL": "BoolStorage"}  # fmt: skip


def torch_zip(tensors: Mapping[str, Stored]) -> bytes:
    """Return the bytes of `torch.save` of a dict of contiguous tensors."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("adapter_model/data.pkl", _pickle(tensors))
        archive.writestr("adapter_model/byteorder", b"little")
        for index, stored in enumerate(tensors.values()):
            archive.writestr(f"adapter_model/data/{index}", stored.data)
        archive.writestr("adapter_model/version", b"3\n")
    return buffer.getvalue()


def _pickle(tensors: Mapping[str, Stored]) -> bytes:
    out = [b"\x80\x02}"]
    for index, (key, stored) in enumerate(tensors.items()):
        elements = 1
        strides: list[int] = []
        for size in reversed(stored.shape):
            strides.insert(0, elements)
            elements *= size
        storage = b"(" + _text("storage") + _global("torch", _STORAGES[stored.dtype]) + _text(str(index)) + _text("cpu")
        out += [
            _text(key),
            _global("torch._utils", "_rebuild_tensor_v2"),
            b"(" + storage + _integer(elements) + b"tQ",
            _integer(0) + _tuple(stored.shape) + _tuple(strides) + b"\x89",
            _global("collections", "OrderedDict") + b")R" + b"tR" + b"s",
        ]
    return b"".join([*out, b"."])


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _tuple(values: tuple[int, ...] | list[int]) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"
