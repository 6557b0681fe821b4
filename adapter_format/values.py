"""Scanning every value of an adapter, in file order."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from adapter_format.errors import UnreadableAdapterError
from adapter_format.storage.regular_file import open_file
from adapter_format.tensor_scan import TensorStatistics, scan
from adapter_format.tensor_scan import identical as same_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

    from adapter_format.storage.safetensors_header import Header
    from adapter_format.tensors import TensorInfo

_LEAST_READ = 64 << 10
"""Bytes read at once, so that many small tensors share a read; a larger tensor is read by itself."""


class TensorBytes:
    """The raw bytes of the tensors of one open file, read into one buffer that is used again and again.

    The file is read, not mapped: a file that another process truncates must not kill this one. A buffer as small as
    the largest tensor stays in the processor's cache, which makes up for most of the copy.
    """

    def __init__(self, path: str | os.PathLike[str], header: Header) -> None:
        self._file = io.FileIO(open_file(path).descriptor)
        self._data_start = header.data_start
        largest = max((info.nbytes for info in header.tensors.values()), default=0)
        self._buffer = memoryview(bytearray(max(largest, _LEAST_READ)))
        self._start = self._end = 0

    def of(self, info: TensorInfo) -> memoryview:
        """Return the bytes of one tensor; they are overwritten when those of the next are asked for.

        Raises:
            UnreadableAdapterError: the file ends before them, or the operating system can't read it.
        """
        start, end = self._data_start + info.start, self._data_start + info.end
        if start < self._start or end > self._end:
            self._read(start, max(end - start, _LEAST_READ))
        if end > self._end:
            raise UnreadableAdapterError(f"The weights end inside {info.name!r}: the file was cut while it was read.")
        return self._buffer[start - self._start : end - self._start]

    def _read(self, start: int, count: int) -> None:
        """Fill the buffer with bytes of the file; fewer only where the file ends."""
        self._start = self._end = start
        try:
            self._file.seek(start)
            while self._end < start + count:
                read = self._file.readinto(self._buffer[self._end - start : count])
                if not read:
                    return
                self._end += read
        except OSError as error:
            raise UnreadableAdapterError(f"The weights can't be read: {error.strerror or error}.") from error

    def identical(self, first: TensorInfo, second: TensorInfo) -> bool:
        """Whether two tensors hold the same bytes."""
        return same_bytes(memoryview(bytes(self.of(first))), self.of(second))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


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
