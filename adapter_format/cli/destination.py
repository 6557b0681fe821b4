"""Where a report goes: standard output, or a file that appears only when it is complete."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from adapter_format.errors import UsageError
from adapter_format.reading import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def open_output(path: str | None) -> Iterator[TextIO]:
    """Yield the stream that a report is written to.

    A file is written under a temporary name in its own directory and renamed at the end: who looks finds the old file
    or the whole new one. What is no regular file, such as a pipe or `/dev/null`, is written to directly.

    Args:
        path: the file, or None for standard output.

    Raises:
        UsageError: the file can't be written.
    """
    if path is None:
        yield sys.stdout
        return
    target = os.path.realpath(path) if "\0" not in path else ""
    if not target or os.path.isdir(target):
        raise UsageError(f"{shorten(path)} is no name of a file to write to.")
    temporary = _temporary_name(target)
    flags = os.O_WRONLY | (os.O_CREAT | os.O_EXCL if temporary else 0)
    try:
        descriptor = os.open(temporary or target, flags, 0o666)
    except OSError as error:
        raise UsageError(f"{shorten(path)} can't be written: {error.strerror}.") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
            yield stream
        if temporary:
            os.replace(temporary, target)
            temporary = ""
    finally:
        if temporary:
            with suppress(OSError):
                os.unlink(temporary)


def _temporary_name(target: str) -> str:
    """Return a name beside a regular file, whether it exists yet or not; "" for anything else."""
    if os.path.exists(target) and not os.path.isfile(target):
        return ""
    from secrets import token_hex

    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name[:100]}.{token_hex(8)}.tmp")
