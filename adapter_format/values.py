"""Scanning every value of an adapter, in file order."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from adapter_format.dtypes import BITS
from adapter_format.errors import UnreadableAdapterError
from adapter_format.storage.regular_file import open_file
from adapter_format.tensor_scan import SCANNED, TensorStatistics, joined, scan
from adapter_format.tensor_scan import identical as same_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from typing_extensions import Self

    from adapter_format.storage.safetensors_header import Header
    from adapter_format.tensors import TensorInfo

_LEAST_READ = 512 << 10
"""Bytes read at once, so that small tensors share a read; more would not stay in the second-level cache."""

_LARGEST_READ = 32 << 20
"""Bytes of a tensor that are in memory at once; a larger tensor is scanned in parts, so that no file costs more."""


class TensorBytes:
    """The raw bytes of the tensors of one open file, read into one buffer that is used again and again.

    The file is read, not mapped: a file that another process truncates must not kill this one. A buffer as small as
    the largest tensor stays in the processor's cache, which makes up for most of the copy.
    """

    def __init__(self, path: str | os.PathLike[str], header: Header, largest_read: int = _LARGEST_READ) -> None:
        self._file = io.FileIO(open_file(path).descriptor)
        self._data_start = header.data_start
        self.largest_read = largest_read
        largest = max((info.nbytes for info in header.tensors.values()), default=0)
        self._buffer = memoryview(bytearray(max(min(largest, largest_read), _LEAST_READ)))
        self._start = self._end = 0

    def of(self, info: TensorInfo) -> memoryview:
        """Return the bytes of one tensor or part; they are overwritten when those of the next are asked for.

        Args:
            info: what to read, of at most `largest_read` bytes.

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
        """Whether two tensors of the same type and shape hold the same bytes."""
        pairs = zip(_parts(first, self.largest_read), _parts(second, self.largest_read), strict=True)
        return all(same_bytes(memoryview(bytes(self.of(left))), self.of(right)) for left, right in pairs)

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
        if info.dtype not in SCANNED:
            continue
        if info.nbytes <= source.largest_read:
            scanned = scan(source.of(info), info)
        else:
            scanned = _scan_in_parts(source, info, progress, total)
        if scanned is not None:
            statistics[info.name] = scanned
        if progress is not None:
            progress(info.end, total)
    return statistics


def _parts(info: TensorInfo, most: int) -> Iterator[TensorInfo]:
    """Cut a tensor into parts of whole rows, or of single elements where a row is larger than a part may be."""
    width = BITS[info.dtype] // 8
    rows = info.shape[0] if len(info.shape) > 1 else 0
    row = info.nbytes // rows if rows else 0
    unit, rest = (row, info.shape[1:]) if 0 < row <= most else (width, ())
    for start in range(info.start, info.end, max(most // unit, 1) * unit):
        end = min(start + max(most // unit, 1) * unit, info.end)
        yield info._replace(shape=((end - start) // unit, *rest), start=start, end=end)


def _scan_in_parts(
    source: TensorBytes, info: TensorInfo, progress: Callable[[int, int], None] | None, total: int
) -> TensorStatistics | None:
    """Scan a large tensor part by part; rows larger than a part are not looked at for zeros."""
    whole: TensorStatistics | None = None
    for part in _parts(info, source.largest_read):
        scanned = scan(source.of(part), part)
        if scanned is None:
            return None
        whole = scanned if whole is None else joined(whole, scanned, rows=(part.start - info.start) // _row(part))
        if progress is not None:
            progress(part.end, total)
    return whole


def _row(part: TensorInfo) -> int:
    return part.nbytes // part.shape[0]
