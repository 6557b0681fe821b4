"""What a header says of one tensor."""

from __future__ import annotations

from typing import NamedTuple


class TensorInfo(NamedTuple):
    """Name, element type, shape and byte range of one stored tensor.

    Attributes:
        name: the key on disk.
        dtype: safetensors name of the element type, such as `F32`.
        shape: dimensions, outermost first; `()` for a scalar.
        start: first byte, counted from the start of the data section.
        end: one past the last byte.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        """Stored size in bytes."""
        return self.end - self.start

    @property
    def elements(self) -> int:
        """Number of elements: the product of the shape."""
        count = 1
        for size in self.shape:
            count *= size
        return count
