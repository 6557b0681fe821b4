"""The element types of safetensors: names, widths and what each means for an adapter.

Source: the `Dtype` enum of the safetensors library, in its order, which is also the order in which the official writer
sorts tensors (last first).
"""

from __future__ import annotations

from typing import NamedTuple


class Dtype(NamedTuple):
    """One element type of the container.

    Attributes:
        name: the spelling in the header, such as `BF16`.
        bits: width of one element in bits.
        kind: `float`, `signed`, `unsigned`, `bool` or `complex`.
        rank: position in the order of the safetensors enum; the writer stores higher ranks first.
        array_name: the NumPy or `ml_dtypes` type of the same values, or "" where there is none.
    """

    name: str
    bits: int
    kind: str
    rank: int
    array_name: str


_TABLE = (
    ("BOOL", 8, "bool", "bool"),
    ("F4", 4, "float", ""),
    ("F6_E2M3", 6, "float", ""),
    ("F6_E3M2", 6, "float", ""),
    ("U8", 8, "unsigned", "uint8"),
    ("I8", 8, "signed", "int8"),
    ("F8_E5M2", 8, "float", "float8_e5m2"),
    ("F8_E4M3", 8, "float", "float8_e4m3fn"),
    ("F8_E8M0", 8, "float", "float8_e8m0fnu"),
    ("F8_E4M3FNUZ", 8, "float", "float8_e4m3fnuz"),
    ("F8_E5M2FNUZ", 8, "float", "float8_e5m2fnuz"),
    ("I16", 16, "signed", "int16"),
    ("U16", 16, "unsigned", "uint16"),
    ("F16", 16, "float", "float16"),
    ("BF16", 16, "float", "bfloat16"),
    ("I32", 32, "signed", "int32"),
    ("U32", 32, "unsigned", "uint32"),
    ("F32", 32, "float", "float32"),
    ("C64", 64, "complex", "complex64"),
    ("F64", 64, "float", "float64"),
    ("I64", 64, "signed", "int64"),
    ("U64", 64, "unsigned", "uint64"),
)

DTYPES: dict[str, Dtype] = {
    name: Dtype(name, bits, kind, rank, array_name) for rank, (name, bits, kind, array_name) in enumerate(_TABLE)
}

BITS: dict[str, int] = {dtype.name: dtype.bits for dtype in DTYPES.values()}

BY_ARRAY_NAME: dict[str, Dtype] = {dtype.array_name: dtype for dtype in DTYPES.values() if dtype.array_name}

ML_DTYPES_NAMES = frozenset(
    dtype.array_name for dtype in DTYPES.values() if dtype.array_name.startswith(("float8", "bfloat"))
)
"""Element types that NumPy itself does not have and the `ml_dtypes` package supplies."""
