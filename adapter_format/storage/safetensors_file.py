"""A safetensors file on disk, as far as the header goes; NumPy is not needed here.

A file is opened once and judged by its descriptor, so that it can't be exchanged between the check and the
reading.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from adapter_format.errors import UnreadableAdapterError
from adapter_format.limits import DEFAULT_LIMITS, Limits
from adapter_format.storage.safetensors_header import LENGTH_BYTES, Header, header_length, parse_header

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNATURE_BYTES = 64
"""How much of a file that is no container is looked at to say what it is."""

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
            raise UnreadableAdapterError(
                f"{text!r} is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no regular file')}."
            )
    except BaseException:
        os.close(descriptor)
        raise
    return OpenFile(text, descriptor, status.st_size)


def read_header(
    path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS, *, follow_symlinks: bool = True
) -> Header:
    """Read the header of a file: names, types, shapes, offsets and everything that is wrong with them.

    At most `8 + limits.header_bytes` bytes are read, whatever the first 8 say.

    Raises:
        UnreadableAdapterError: the file can't be opened or read, or is not a regular file; damage inside the
            file is not an error but a defect of the header.
    """
    with _opened(path, follow_symlinks=follow_symlinks) as file:
        return header_of(file, limits)


def header_of(file: OpenFile, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Read the header of a file that is open already, as `read_header` does.

    Raises:
        UnreadableAdapterError: the operating system reports an error while reading.
    """
    expected = min(_SIGNATURE_BYTES, file.size)
    start = read_at(file, expected, 0)
    whole = LENGTH_BYTES + header_length(start)
    if expected < whole <= min(file.size, LENGTH_BYTES + limits.header_bytes):
        start += read_at(file, whole - len(start), len(start))
        expected = whole
    # A file that shrank since it was opened is judged as what is left of it.
    return parse_header(start, file.size if len(start) >= expected else len(start), limits)


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
def _opened(path: str | os.PathLike[str], *, follow_symlinks: bool) -> Iterator[OpenFile]:
    file = open_file(path, follow_symlinks=follow_symlinks)
    try:
        yield file
    finally:
        os.close(file.descriptor)


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
