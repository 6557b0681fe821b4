"""Scanning every value of an adapter, in file order, from memory-mapped bytes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from adapter_format.errors import UnreadableAdapterError
from adapter_format.storage.regular_file import open_file, read_at
from adapter_format.tensor_scan import TensorStatistics, scan
from adapter_format.tensor_scan import identical as same_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

    from adapter_format.storage.safetensors_header import Header
    from adapter_format.tensors import TensorInfo

_WINDOW = 8 << 20
"""Bytes read at once; several small tensors share a window, a large one has windows of its own."""


class TensorBytes:
    """The raw bytes of the tensors of one open file, read a window at a time.

    The file is read, not mapped: a file that another process truncates must not kill this one.
    """

    def __init__(self, path: str | os.PathLike[str], header: Header) -> None:
        self._file = open_file(path)
        self._header = header
        self._start = 0
        self._window = memoryview(b"")

    def of(self, info: TensorInfo) -> memoryview:
        """Return the bytes of one tensor.

        Raises:
            UnreadableAdapterError: the file ends before them.
        """
        start, end = self._header.data_start + info.start, self._header.data_start + info.end
        if start < self._start or end > self._start + len(self._window):
            self._window = memoryview(read_at(self._file, max(end - start, _WINDOW), start))
            self._start = start
        found = self._window[start - self._start : end - self._start]
        if len(found) < end - start:
            raise UnreadableAdapterError(f"The weights end inside {info.name!r}: the file was cut while it was read.")
        return found

    def identical(self, first: TensorInfo, second: TensorInfo) -> bool:
        """Whether two tensors hold the same bytes."""
        return same_bytes(memoryview(bytes(self.of(first))), self.of(second))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._file.descriptor)


def scan_all(
    source: TensorBytes, header: Header, progress: Callable[[int, int], None] | None = None
) -> Mapping[str, TensorStatistics]:
    """Scan every tensor in file order; element types that can't be scanned are left out.

    Args:
        source: where the bytes come from.
        header: what to scan.
        progress: called with bytes done and bytes in all.
    """
    statistics: dict[str, TensorStatistics] = {}
    total = header.file_size - header.data_start
    for info in sorted(header.tensors.values(), key=lambda info: info.start):
        scanned = scan(source.of(info), info)
        if scanned is not None:
            statistics[info.name] = scanned
        if progress is not None:
            progress(info.end, total)
    return statistics
