"""`--data`: the scan of every value, against a plain 64-bit sum over the same cached bytes.

The scan takes the product's whole path: it opens the file, reads it and scans each tensor, in one thread. The sum
runs over a memory map of the same file. The bar is for a sum over a map whose pages were all touched before, the
fastest there is; the other sum maps the file afresh, as any program that comes to it must.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adapter_format.storage.safetensors_file import read_header
from adapter_format.values import TensorBytes, scan_all
from tests.benchmarks.adapters import Written, shapes, trained_values, write
from tests.benchmarks.figures import Figure
from tests.benchmarks.measuring import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from adapter_format.storage.safetensors_header import Header

LEAST_OF_SUM = 1 / 3
DTYPES = ("F32", "F16", "BF16")
ROUNDS = 40


class Times(NamedTuple):
    """Shortest times in seconds over `nbytes` bytes."""

    scan: float
    fresh_sum: float
    touched_sum: float
    nbytes: int


def figures(folder: Path) -> Iterator[Figure]:
    """Measure; files are made in the folder."""
    for dtype, times in measure(folder).items():
        speed = times.nbytes / times.scan / 1e9
        detail = f"{speed:.1f} GB/s; {times.fresh_sum / times.scan:.2f} of the speed of a sum that maps the file afresh"
        name = f"`--data` scan of {dtype}, against a plain u64 sum over the same cached bytes"
        yield Figure(name, times.touched_sum / times.scan, "of its speed", LEAST_OF_SUM, at_least=True, detail=detail)


def measure(folder: Path) -> dict[str, Times]:
    """Return the times by element type."""
    tensors = shapes()
    values = trained_values(tensors)
    found = {}
    for dtype in DTYPES:
        written = write(folder / f"data-{dtype}", tensors, dtype, values)
        found[dtype] = _measure(written)
        (written.path / "adapter_model.safetensors").unlink()
    return found


def _measure(written: Written) -> Times:
    path = written.path / "adapter_model.safetensors"
    header = read_header(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as touched:
        times = [
            (
                seconds(lambda: _scan(path, header)),
                seconds(lambda: _sum_of_file(path, header)),
                seconds(lambda: _sum_of_map(touched, header)),
            )
            for _ in range(ROUNDS)
        ]
    scan, fresh_sum, touched_sum = map(min, zip(*times, strict=True))
    return Times(scan, fresh_sum, touched_sum, written.data_bytes)


def _scan(path: Path, header: Header) -> None:
    with TensorBytes(path, header) as source:
        statistics = scan_all(source, header)
    assert not any(found.nan or found.infinite or found.zeros for found in statistics.values())


def _sum_of_file(path: Path, header: Header) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        _sum_of_map(mapping, header)


def _sum_of_map(mapping: mmap.mmap, header: Header) -> None:
    np.frombuffer(mapping, "<u8", offset=header.data_start).sum()
