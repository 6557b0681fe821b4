"""Regular files, opened once and judged by their descriptor, so that nothing can be exchanged or hang on the way."""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from adapter_format.errors import UnreadableAdapterError

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a FIFO must not wait for somebody who writes to it
    | getattr(os, "O_BINARY", 0)
)


class OpenFile(NamedTuple):
    """A regular file that is open for reading.

    Attributes:
        path: where it was found, for messages.
        descriptor: what to read from; whoever got it from `open_file` closes it.
        size: its size in bytes when it was opened.
    """

    path: str
    descriptor: int
    size: int


def open_file(path: str | os.PathLike[str], *, follow_symlinks: bool = True) -> OpenFile:
    """Open a regular file for reading; anything else (FIFO, device, directory) is refused without waiting.

    Args:
        path: the file.
        follow_symlinks: whether the last part of the path may be a symlink, as in the cache of the Hugging
            Face Hub.

    Raises:
        UnreadableAdapterError: there is no such file, it can't be opened, or it is not a regular file.
    """
    text = os.fspath(path)
    flags = _FLAGS if follow_symlinks else _FLAGS | getattr(os, "O_NOFOLLOW", 0)
    try:
        if not follow_symlinks and os.path.islink(text):
            raise UnreadableAdapterError(f"The file {text!r} is a symlink, which is not followed here.")
        descriptor = os.open(text, flags)
    except (OSError, ValueError) as error:
        raise UnreadableAdapterError(f"The file {text!r} can't be opened: {_reason(error)}.") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableAdapterError(f"{text!r} is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no regular file')}.")
    except BaseException:
        os.close(descriptor)
        raise
    return OpenFile(text, descriptor, status.st_size)


def read_at(file: OpenFile, count: int, offset: int) -> bytes:
    """Read `count` bytes from `offset`; fewer come back only when the file ends before.

    Raises:
        UnreadableAdapterError: the operating system reports an error while reading.
    """
    parts: list[bytes] = []
    try:
        while count > 0:
            part = _pread(file.descriptor, min(count, _LARGEST_READ), offset)
            if not part:
                break
            parts.append(part)
            count -= len(part)
            offset += len(part)
    except OSError as error:
        raise UnreadableAdapterError(f"The file {file.path!r} can't be read: {_reason(error)}.") from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


@contextmanager
def opened(path: str | os.PathLike[str], *, follow_symlinks: bool = True) -> Iterator[OpenFile]:
    """Open a regular file and close it in the end; see `open_file`."""
    file = open_file(path, follow_symlinks=follow_symlinks)
    try:
        yield file
    finally:
        os.close(file.descriptor)


def read_file(path: str | os.PathLike[str], limit: int) -> bytes:
    """Read a whole regular file of at most `limit` bytes.

    Raises:
        UnreadableAdapterError: it can't be opened or read, is not a regular file, or is longer.
    """
    with opened(path) as file:
        data = read_at(file, limit + 1, 0)
    if len(data) > limit:
        raise UnreadableAdapterError(f"The file {os.fspath(path)!r} is longer than the limit of {limit:,} bytes.")
    return data


_LARGEST_READ = 1 << 30
"""What one call of the operating system is asked for; Linux and macOS stop near 2 GiB."""

_KINDS = {
    stat.S_IFDIR: "a directory, expected a file",
    stat.S_IFIFO: "a FIFO, expected a regular file",
    stat.S_IFSOCK: "a socket, expected a regular file",
    stat.S_IFCHR: "a device, expected a regular file",
    stat.S_IFBLK: "a device, expected a regular file",
}

if sys.platform == "win32":
    _position = threading.Lock()

    def _pread(descriptor: int, count: int, offset: int) -> bytes:
        with _position:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.read(descriptor, count)

else:
    _pread = os.pread


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
