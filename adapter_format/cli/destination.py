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
    import secrets

    temporary = None
    try:
        target = os.path.realpath(path)
        if os.path.isdir(target):
            raise UsageError(f"{shorten(path)} is a directory, expected a file to write to.")
        if os.path.isfile(target) or not os.path.exists(target):
            name = os.path.basename(target)[:100]
            temporary = os.path.join(os.path.dirname(target), f".{name}.{secrets.token_hex(8)}.tmp")
        flags = os.O_WRONLY | (os.O_CREAT | os.O_EXCL if temporary else 0)
        descriptor = os.open(temporary or target, flags, 0o666)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
            yield stream
        if temporary is not None:
            os.replace(temporary, target)
            temporary = None
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{shorten(path)} can't be written: {reason}.") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
