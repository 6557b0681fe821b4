"""Arrays whose memory is not laid out as safetensors stores it."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

MATRIX = np.arange(12, dtype=np.float32).reshape(3, 4)

AWKWARD: dict[str, np.ndarray[Any, Any]] = {
    "transposed": MATRIX.T,
    "fortran": np.asfortranarray(MATRIX),
    "strided": MATRIX[:, ::2],
    "reversed": MATRIX[::-1, ::-1],
    "broadcast": np.broadcast_to(MATRIX[0], (5, 4)),
    "big-endian": MATRIX.astype(">f4"),
    "big-endian transposed": MATRIX.astype(">f4").T,
    "unaligned": np.frombuffer(b"x" + MATRIX.tobytes(), np.float32, offset=1).reshape(3, 4),
    "0-d": np.array(1.5),
    "0-d of a reversed": MATRIX[::-1][0, 0, ...],
    "empty": np.empty((0, 3), np.float32),
    "empty of a big-endian": np.empty((3, 0), ">u8"),
    "bfloat16 reversed": MATRIX.astype(ml_dtypes.bfloat16)[::-1],
    "field of a structure": np.zeros(3, [("a", "<i4"), ("b", "<f8")])["b"],
    "read-only": np.frombuffer(bytes(8), np.float64),
    "complex big-endian reversed": (MATRIX * (1 + 2j)).astype(">c8")[::-1],
}
