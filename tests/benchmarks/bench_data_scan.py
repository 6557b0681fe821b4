"""Speed of the `--data` scan of every tensor against a plain 64-bit sum over the same cached bytes.

The bar is one third of the speed of the sum, in one thread. The adapter has the 448 tensors of a rank-16 LoRA
on seven modules of 32 layers of width 4096: small tensors, for which the overhead per tensor weighs most.
"""

from __future__ import annotations

import mmap
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import numpy as np

from adapter_format.dtypes import BITS
from adapter_format.tensor_scan import scan
from adapter_format.tensors import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

BAR = 1 / 3
RANK, WIDTH, PAIRS = 16, 4096, 224
ROUNDS = 15


def measure() -> dict[str, float]:
    """Return the speed of the scan as a fraction of the speed of the sum, by element type."""
    return {dtype: _ratio(dtype) for dtype in ("F32", "F16", "BF16")}


def main() -> int:
    """Print the ratios; return 1 if one is under the bar."""
    ratios = measure()
    for dtype, ratio in ratios.items():
        sys.stdout.write(f"{dtype:5} {ratio:.2f} of the speed of a 64-bit sum (bar {BAR:.2f})\n")
    return int(min(ratios.values()) < BAR)


def _ratio(dtype: str) -> float:
    infos = _tensor_infos(dtype)
    with tempfile.TemporaryFile() as file:
        file.write(_stored_bytes(dtype))
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
            view = memoryview(mapping)
            words = np.frombuffer(view, np.uint64)
            sum_seconds = scan_seconds = float("inf")
            for _ in range(ROUNDS):
                sum_seconds = min(sum_seconds, _seconds(words.sum))
                scan_seconds = min(scan_seconds, _seconds(lambda: _scan_all(view, infos)))
            del words
            view.release()
    return sum_seconds / scan_seconds


def _scan_all(view: memoryview, infos: list[TensorInfo]) -> None:
    for info in infos:
        statistics = scan(view[info.start : info.end], info)
        assert statistics is not None
        assert not statistics.zeros


def _tensor_infos(dtype: str) -> list[TensorInfo]:
    size = RANK * WIDTH * BITS[dtype] // 8
    shapes = [(RANK, WIDTH), (WIDTH, RANK)] * PAIRS
    return [TensorInfo(f"t{i}", dtype, shape, i * size, (i + 1) * size) for i, shape in enumerate(shapes)]


def _stored_bytes(dtype: str) -> bytes:
    generator = np.random.default_rng(0)
    values: NDArray[np.float32] = generator.standard_normal(
        2 * PAIRS * RANK * WIDTH, dtype=np.float32
    ) * np.float32(0.02)
    if dtype == "F16":
        return values.astype("<f2").tobytes()
    if dtype == "BF16":
        return (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    return values.astype("<f4").tobytes()


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
