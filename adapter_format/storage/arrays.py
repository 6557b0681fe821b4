"""What holds numbers becomes a NumPy array, an array becomes stored bytes, stored bytes become a view."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter_format.dtypes import BY_ARRAY_NAME, DTYPES, ML_DTYPES_NAMES, Dtype
from adapter_format.errors import AdapterFormatError, UnreadableAdapterError, UsageError

if TYPE_CHECKING:
    import mmap
    from types import ModuleType

    import numpy.typing as npt

    from adapter_format.tensors import TensorInfo

_FOREIGN_FAILURES = (
    ArithmeticError,
    AttributeError,
    BufferError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What the conversion hooks of other packages raise when they can't convert."""


def as_array(name: str, value: object) -> npt.NDArray[Any]:
    """Return `value` as a NumPy array of a type that safetensors can store.

    Taken are NumPy arrays of any strides and byte order, NumPy and Python scalars (`int` becomes I64, `float`
    F64), and what offers `__array__`, the buffer protocol or DLPack. Tensors of torch are detached and
    brought to the CPU; their bfloat16 and float8 become the types of `ml_dtypes`. Nothing is copied where a
    view will do.

    Args:
        name: the key of the tensor, for messages.
        value: what holds the numbers.

    Raises:
        UsageError: `value` is no array, is masked, or has an element type that safetensors can't store.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise UsageError(
            f"The tensor {shown(name)} is a masked array, whose mask can't be stored; "
            "fill it first with `.filled(value)`."
        )
    try:
        array = _convert(name, value)
    except _FOREIGN_FAILURES as error:
        kind = type(value).__qualname__
        raise UsageError(f"The tensor {shown(name)} of type `{kind}` can't be made a NumPy array: {error}") from error
    if array is None:
        kind = type(value).__qualname__
        raise UsageError(
            f"The tensor {shown(name)} is a `{kind}`; expected a NumPy array, or what offers `__array__`, "
            "DLPack or the buffer protocol."
        )
    if array.dtype.name not in BY_ARRAY_NAME:
        raise UsageError(f"The tensor {shown(name)} {_refusal(array.dtype)}.")
    return array


def stored_dtype(array: npt.NDArray[Any]) -> Dtype:
    """Return the safetensors element type that holds the values of `array` exactly.

    Raises:
        UsageError: safetensors has no such type.
    """
    dtype = BY_ARRAY_NAME.get(array.dtype.name)
    if dtype is None:
        raise UsageError(f"The array {_refusal(array.dtype)}.")
    return dtype


def little_endian_bytes(array: npt.NDArray[Any]) -> memoryview:
    """Return the elements in C order, least significant byte first: a view where they lie so already."""
    flat = np.ascontiguousarray(array).reshape(-1)
    width = flat.dtype.itemsize // 2 if flat.dtype.kind == "c" else flat.dtype.itemsize
    order = flat.dtype.byteorder
    if width > 1 and (order == ">" or (order == "=" and sys.byteorder == "big")):
        flat = flat.view(f"u{width}").byteswap()
    return flat.view(np.uint8).data


def to_array(buffer: bytes | memoryview | mmap.mmap, info: TensorInfo, data_start: int = 0) -> npt.NDArray[Any]:
    """Return the values of one stored tensor as a view of `buffer`, not writeable where `buffer` is not.

    On a machine with the most significant byte first, BF16 is copied; everything else is a view there too.

    Args:
        buffer: bytes that hold the data section.
        info: name, type, shape and byte range of the tensor.
        data_start: offset of the data section in `buffer`, in bytes.

    Raises:
        UnreadableAdapterError: NumPy has no such type or shape, `ml_dtypes` is missing, or `buffer` is too
            short.
    """
    dtype = DTYPES.get(info.dtype)
    if dtype is None or not dtype.array_name:
        raise UnreadableAdapterError(
            f"The tensor {shown(info.name)} is stored as {info.dtype}, which NumPy can't represent; "
            "only its name, shape and offsets can be read."
        )
    if info.elements * dtype.bits != info.nbytes * 8:
        raise UnreadableAdapterError(
            f"The tensor {shown(info.name)} of {info.dtype} and shape {_short(info.shape)} does not fill "
            f"its {info.nbytes:,} bytes."
        )
    extended = dtype.array_name in ML_DTYPES_NAMES
    raw: np.dtype[Any] = np.dtype(f"u{dtype.bits // 8}" if extended else dtype.array_name).newbyteorder("<")
    try:
        array: npt.NDArray[Any] = np.ndarray(info.shape, raw, buffer, data_start + info.start)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnreadableAdapterError(
            f"The tensor {shown(info.name)} of shape {_short(info.shape)} can't be made an array: {error}."
        ) from error
    if extended:
        scalar = _extended_type(info.name, dtype, UnreadableAdapterError)
        array = array.astype(raw.newbyteorder("="), copy=False).view(scalar)
    return array


def shown(name: object) -> str:
    """Return a key as messages show it: quoted, control characters escaped, its first 200 characters."""
    text = str(name)
    return repr(text) if len(text) <= 200 else f"{text[:200]!r}..."


def _convert(name: str, value: Any) -> npt.NDArray[Any] | None:
    """Return `value` as an array, None if it offers none; whatever its own hooks raise is let through."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _from_torch(name, value, torch)
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if isinstance(value, (bool, float, complex)):
        return np.asarray(value)
    if isinstance(value, int):
        return np.asarray(value, np.int64)  # the default integer of NumPy differs between platforms
    if isinstance(value, (str, list, tuple, dict)):
        return None
    if any(hasattr(value, hook) for hook in ("__array__", "__array_interface__", "__array_struct__")):
        return np.asarray(value)
    if hasattr(value, "__dlpack__"):
        return np.asarray(np.from_dlpack(value))
    try:
        view = memoryview(value)
    except TypeError:
        return None
    return np.asarray(view)


def _from_torch(name: str, tensor: Any, torch: ModuleType) -> npt.NDArray[Any]:
    """Return the values of a torch tensor; `torch` is the module that the caller has already imported."""
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    dtype = BY_ARRAY_NAME.get(str(plain.dtype).removeprefix("torch."))
    if dtype is None or dtype.array_name not in ML_DTYPES_NAMES:
        return np.asarray(plain.numpy())
    words = plain.view(torch.int16 if dtype.bits == 16 else torch.uint8).numpy()
    return np.asarray(words.view(_extended_type(name, dtype, UsageError)))


def _extended_type(name: str, dtype: Dtype, error_type: type[AdapterFormatError]) -> np.dtype[Any]:
    """Return the type of `ml_dtypes` for a stored type that NumPy itself does not have, such as BF16."""
    try:
        ml_dtypes = importlib.import_module("ml_dtypes")
    except ImportError as error:
        raise error_type(
            f"The tensor {shown(name)} is {dtype.name}, which NumPy has only with the package `ml_dtypes`; "
            "install `adapter-format[dtypes]`."
        ) from error
    scalar = getattr(ml_dtypes, dtype.array_name, None)
    if scalar is None:
        raise error_type(
            f"The tensor {shown(name)} is {dtype.name}, which the installed `ml_dtypes` is too old for; "
            "install version 0.5 or newer."
        )
    found: np.dtype[Any] = np.dtype(scalar)
    return found


def _refusal(dtype: np.dtype[Any]) -> str:
    """Say why a type can't be stored, as the end of a sentence, and what to do instead."""
    if dtype.names is not None:
        return "is a structured array; store each of its fields as a tensor of its own"
    mend = ""
    if dtype.kind == "O":
        mend = " (it holds Python objects: ragged nested lists?)"
    elif dtype.kind == "f":
        mend = "; convert it to float64 or smaller"
    elif dtype.kind == "c":
        mend = "; convert it to complex64"
    return f"has the element type `{dtype.name}`, which safetensors can't store{mend}"


def _short(shape: tuple[int, ...]) -> str:
    text = str(list(shape))
    return text if len(text) <= 60 else f"{text[:57]}..."
