"""A mended config, written beside untouched weights: over the old one, or with a copy of the weights elsewhere."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adapter_format.config import CONFIG_NAME, LEGACY_WEIGHTS_NAME, WEIGHTS_NAME
from adapter_format.errors import UsageError
from adapter_format.storage.atomic import publish
from adapter_format.storage.regular_file import open_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO


def write_config(directory: str, text: str) -> None:
    """Replace the config of an adapter; the weights are not touched.

    Raises:
        SaveError: the operating system refused; the old config is still there.
    """
    publish(Path(directory), [(CONFIG_NAME, partial(_write_text, text))], hide=CONFIG_NAME)


def copy_with_config(directory: str, target: str, text: str) -> None:
    """Write an adapter with a new config and the same weights into another directory.

    Args:
        directory: the adapter.
        target: where to; made if it does not exist.
        text: the new config.

    Raises:
        UsageError: the target is the adapter's own directory, or a file.
        UnreadableAdapterError: the weights are no regular file or can't be opened.
        SaveError: the operating system refused; the target is as it was.
    """
    if os.path.realpath(directory) == os.path.realpath(target):
        raise UsageError("The output is the adapter's own directory; --in-place writes there.")
    if os.path.lexists(target) and not os.path.isdir(target):
        raise UsageError(f"The output {target[:200]!r} is no directory.")
    files: list[tuple[str, Callable[[BinaryIO], None]]] = [
        (name, partial(_copy, os.path.join(directory, name)))
        for name in (WEIGHTS_NAME, LEGACY_WEIGHTS_NAME)
        if os.path.lexists(os.path.join(directory, name))
    ]
    publish(Path(target), [*files, (CONFIG_NAME, partial(_write_text, text))], hide=CONFIG_NAME)


def _write_text(text: str, file: BinaryIO) -> None:
    file.write(text.encode("utf-8"))


def _copy(source: str, file: BinaryIO) -> None:
    with os.fdopen(open_file(source).descriptor, "rb") as opened:
        shutil.copyfileobj(opened, file, 1 << 20)
