"""The tensor values of a safetensors file, as read-only arrays that are made when they are asked for."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adapter_format.errors import UnreadableAdapterError, UsageError
from adapter_format.limits import DEFAULT_LIMITS, Limits
from adapter_format.storage.arrays import shown, to_array
from adapter_format.storage.regular_file import OpenFile, open_file, read_at
from adapter_format.storage.safetensors_file import header_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from typing_extensions import Self

    from adapter_format.storage.safetensors_header import Header
    from adapter_format.tensors import TensorInfo


class TensorMapping(Mapping[str, "npt.NDArray[Any]"]):
    """The tensors of one file: key to read-only array, in the order of the header.

    With `mapped=True` every array is a view of one memory map of the file: nothing is copied, pages are read
    when an element is. Two arrays of the same key share their memory. The map lives as long as any array of
    it, also after `close`. **A file that is truncated while it is mapped kills the process with SIGBUS** at
    the next access to a lost page; overwriting it in place changes the values. `af.save` does neither: it
    puts a new file in the old one's place.

    With `mapped=False` every access reads the bytes of that tensor into memory of its own. Then a truncated
    file is an `UnreadableAdapterError`. Choose it for files that others may write to. It is also what happens
    where the file system can't map files.

    Several threads may read from one mapping.

    Attributes:
        header: what the header says.
    """

    __slots__ = ("__weakref__", "_close_file", "_file", "_map", "header")

    def __init__(self, file: OpenFile, header: Header, *, mapped: bool = True) -> None:
        """Take over an open file.

        Args:
            file: from `open_file`; this mapping closes it, also when this call fails.
            header: what was read from the same file.
            mapped: whether to map the file into memory.

        Raises:
            UnreadableAdapterError: the header has defects, or belongs to a file of another size.
        """
        self.header = header
        self._file = file
        self._map: mmap.mmap | None = None
        self._close_file = weakref.finalize(self, os.close, file.descriptor)
        try:
            _check(file, header)
            if mapped:
                self._map = _map(file)
        except BaseException:
            self.close()
            raise
        if self._map is not None:
            self._close_file()

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        info = self.header.tensors[name]
        if self._map is not None:
            return to_array(self._map, info, self.header.data_start)
        if not self._close_file.alive:
            raise UsageError(f"The tensor {shown(name)} is asked for after its file was closed.")
        data = read_at(self._file, info.nbytes, self.header.data_start + info.start)
        if len(data) < info.nbytes:
            raise UnreadableAdapterError(
                f"The file {self._file.path!r} ends inside the tensor {shown(name)}: "
                "it was truncated while it was open."
            )
        return to_array(data, info._replace(start=0, end=info.nbytes))

    def __iter__(self) -> Iterator[str]:
        return iter(self.header.tensors)

    def __len__(self) -> int:
        return len(self.header.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self.header.tensors

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self):,} tensors>"

    def info(self, name: str) -> TensorInfo:
        """Return element type, shape and offsets of one tensor without touching its values.

        Raises:
            KeyError: there is no such tensor.
        """
        return self.header.tensors[name]

    def close(self) -> None:
        """Let go of the file; names and shapes stay, and arrays that were handed out stay valid.

        The memory map goes when the last of those arrays does. To close twice is fine.
        """
        self._map = None
        self._close_file()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_tensors(
    path: str | os.PathLike[str],
    limits: Limits = DEFAULT_LIMITS,
    *,
    mapped: bool = True,
    follow_symlinks: bool = True,
) -> TensorMapping:
    """Open a safetensors file, read its header and offer its tensors; the file is opened once.

    Args:
        path: the file.
        limits: bounds on the header.
        mapped: whether to map the file (no copy) or to read each tensor when asked (safe on files that may
            shrink).
        follow_symlinks: whether `path` itself may be a symlink.

    Raises:
        UnreadableAdapterError: the file can't be opened or is not regular, or its header is so damaged that
            values would be wrong; the first defect is in the message.
    """
    file = open_file(path, follow_symlinks=follow_symlinks)
    try:
        header = header_of(file, limits)
    except BaseException:
        os.close(file.descriptor)
        raise
    return TensorMapping(file, header, mapped=mapped)


def _check(file: OpenFile, header: Header) -> None:
    if not header.readable:
        count = len(header.defects)
        rest = f" ({count - 1:,} more defects)" if count > 1 else ""
        first = header.defects[0].message if count else "its header could not be read."
        raise UnreadableAdapterError(f"The tensors of {file.path!r} can't be read: {first}{rest}")
    if header.file_size != file.size:
        raise UnreadableAdapterError(
            f"The file {file.path!r} has {file.size:,} bytes, but its header was read when it had "
            f"{header.file_size:,}: it was replaced in between."
        )


def _map(file: OpenFile) -> mmap.mmap | None:
    """Map the whole file, or return None where its file system can't."""
    try:
        return mmap.mmap(file.descriptor, file.size, access=mmap.ACCESS_READ)
    except OSError:
        return None
    except (ValueError, OverflowError) as error:
        raise UnreadableAdapterError(f"The file {file.path!r} can't be mapped: {error}.") from error
