"""`save` against one raw write and sync of the same bytes; `load` without a copy."""

from __future__ import annotations

import mmap
import os
import shutil
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

import adapter_format as af
from tests.benchmarks.adapters import CONFIG, shapes, trained_values, write
from tests.benchmarks.figures import Figure
from tests.benchmarks.measuring import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

MOST_TIMES_WRITE = 1.5
ROUNDS = 9


def figures(folder: Path) -> Iterator[Figure]:
    """Measure; files are made in the folder."""
    tensors = shapes()
    written = write(folder / "loaded", tensors, values=trained_values(tensors))
    whole = (written.path / "adapter_model.safetensors").read_bytes()
    adapter = af.load(written.path, mapped=False)
    arrays = {name: np.array(array) for name, array in adapter.tensors.items()}
    yield _save(folder, arrays, whole)
    del arrays, adapter, whole
    yield _load(written.path, written.data_bytes)


def _save(folder: Path, arrays: dict[str, NDArray[Any]], whole: bytes) -> Figure:
    fresh, raw = folder / "saved", folder / "raw"
    times = []
    for _ in range(ROUNDS):
        ours = seconds(lambda: af.save(fresh, arrays, CONFIG))
        assert (fresh / "adapter_model.safetensors").stat().st_size == len(whole)
        shutil.rmtree(fresh)
        times.append((ours, seconds(lambda: _write_raw(raw, whole))))
        raw.unlink()
    ours, yardstick = median(time for time, _ in times), median(time for _, time in times)
    detail = f"{ours * 1e3:.0f} ms against {yardstick * 1e3:.0f} ms for {len(whole) / 1e6:.0f} MB"
    name = "`save` into a new directory, against one raw write and sync of the same bytes"
    return Figure(name, ours / yardstick, "times", MOST_TIMES_WRITE, detail=detail)


def _write_raw(path: Path, whole: bytes) -> None:
    with path.open("wb", buffering=0) as file:
        assert file.write(whole) == len(whole)
        os.fsync(file.fileno())


def _load(path: Path, data_bytes: int) -> Figure:
    adapter = af.load(path)
    before = _own_memory()
    time = seconds(lambda: af.load(path))
    arrays = [adapter.tensors[name] for name in adapter.tensors]
    copied = sum(not isinstance(_owner(array), mmap.mmap) for array in arrays)
    grown = (_own_memory() - before) / 1e6
    detail = f"{data_bytes / 1e6:.0f} MB in {time * 1e3:.1f} ms, {grown:.1f} MB of memory of the process's own"
    return Figure(f"Copies that `load` makes of {len(arrays)} tensors", copied, "", 0, detail=detail)


def _owner(array: NDArray[Any]) -> object:
    """Follow an array to what its memory belongs to."""
    owner: object = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return owner.obj if isinstance(owner, memoryview) else owner


def _own_memory() -> int:
    """Return the bytes that are resident and belong to no file; 0 where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))
    except OSError:
        return 0
