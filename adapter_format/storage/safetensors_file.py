"""A safetensors file on disk, as far as the header goes; NumPy is not needed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter_format.limits import DEFAULT_LIMITS, Limits
from adapter_format.storage.regular_file import OpenFile, opened, read_at
from adapter_format.storage.safetensors_header import LENGTH_BYTES, Header, header_length, parse_header

if TYPE_CHECKING:
    import os

_SIGNATURE_BYTES = 64
"""How much of a file that is no container is looked at to say what it is."""


def read_header(
    path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS, *, follow_symlinks: bool = True
) -> Header:
    """Read the header of a file: names, types, shapes, offsets and everything that is wrong with them.

    At most `8 + limits.header_bytes` bytes are read, whatever the first 8 say.

    Raises:
        UnreadableAdapterError: the file can't be opened or read, or is not a regular file; damage inside the
            file is not an error but a defect of the header.
    """
    with opened(path, follow_symlinks=follow_symlinks) as file:
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
