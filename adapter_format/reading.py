"""Reading one adapter at header level: from a directory or from memory into the parts that rules look at."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from adapter_format.anatomy import dissect
from adapter_format.checkpoint import Checkpoint
from adapter_format.config import CONFIG_NAME, LEGACY_WEIGHTS_NAME, WEIGHTS_NAME
from adapter_format.errors import UnreadableAdapterError, UsageError
from adapter_format.layouts import Layout, layout_of
from adapter_format.limits import DEFAULT_LIMITS, Limits
from adapter_format.size import stored_size
from adapter_format.storage.directory import Listing, list_directory
from adapter_format.storage.regular_file import read_file
from adapter_format.storage.safetensors_file import read_header
from adapter_format.storage.safetensors_header import Header
from adapter_format.storage.strict_json import JsonDocument, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter_format.storage.torch_bin import BinContents
    from adapter_format.tensors import TensorInfo


def adapter_directory(path: str | os.PathLike[str]) -> str:
    """Return the directory of an adapter from its own path or that of one of its two files.

    Raises:
        UsageError: the path does not exist, or is a file that is no part of an adapter.
    """
    text = os.fspath(path)
    try:
        if os.path.isdir(text):
            return text
        exists = os.path.lexists(text)
    except ValueError as error:
        raise UsageError(f"{text[:200]!r} is not a path: {error}.") from error
    if not exists:
        raise UsageError(f"{shorten(text)} does not exist.")
    if os.path.basename(text) in (CONFIG_NAME, WEIGHTS_NAME, LEGACY_WEIGHTS_NAME):
        return os.path.dirname(text) or "."
    raise UsageError(f"{shorten(text)} is a file, expected an adapter directory, `{WEIGHTS_NAME}` or `{CONFIG_NAME}`.")


def shorten(path: str) -> str:
    """Show a path in a message: quoted if it holds anything unusual, and of bounded length."""
    text = path if path.isprintable() else ascii(path)
    return text if len(text) <= 300 else f"{text[:140]}...{text[-140:]}"


def read_checkpoint(directory: str, limits: Limits = DEFAULT_LIMITS) -> Checkpoint:
    """Read everything that the header level looks at; never raises on the adapter's content."""
    listing = list_directory(directory, limits)
    config_data = _read_config(directory, listing, limits)
    document = read_json(config_data) if config_data is not None else None
    header = _read_header(directory, listing, limits)
    legacy = _read_legacy(directory, listing)
    return assemble(listing, _sub_adapters(directory, listing), config_data, document, header, legacy)


def assemble(
    listing: Listing | None,
    sub_adapters: tuple[str, ...],
    config_data: bytes | None,
    document: JsonDocument | None,
    header: Header | None,
    legacy: BinContents | None = None,
) -> Checkpoint:
    """Put the parts of an adapter together and tell what every tensor is."""
    config = document.value if document is not None and document.complete and isinstance(document.value, dict) else None
    layout = _layout_for(config)
    anatomy = None
    if layout is not None and header is not None and (header.tensors or header.readable):
        anatomy = dissect(layout, config, header.tensors)
    return Checkpoint(
        listing,
        sub_adapters,
        config_data,
        document,
        config,
        WEIGHTS_NAME,
        header,
        legacy,
        layout,
        anatomy,
        stored_size(anatomy) if anatomy is not None else None,
    )


def checkpoint_in_memory(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> Checkpoint:
    """Make a checkpoint of a config and tensors that are not on disk yet, for rules that need no file."""
    document = JsonDocument(dict(config), (), complete=True)
    last = max((info.end for info in tensors.values()), default=0)
    header = Header(dict(tensors), {"format": "pt"}, 0, last, (), readable=True)
    return assemble(None, (), None, document, header)


def _layout_for(config: Mapping[str, Any] | None) -> Layout | None:
    method = config.get("peft_type") if config is not None else None
    return layout_of(method) if isinstance(method, str) else None


def _read_config(directory: str, listing: Listing, limits: Limits) -> bytes | None:
    if listing.file(CONFIG_NAME) is None:
        return None
    try:
        return read_file(os.path.join(directory, CONFIG_NAME), limits.config_bytes)
    except UnreadableAdapterError:
        return None


def _read_header(directory: str, listing: Listing, limits: Limits) -> Header | None:
    if listing.file(WEIGHTS_NAME) is None:
        return None
    try:
        return read_header(os.path.join(directory, WEIGHTS_NAME), limits)
    except UnreadableAdapterError:
        return None


def _read_legacy(directory: str, listing: Listing) -> BinContents | None:
    if listing.file(LEGACY_WEIGHTS_NAME) is None:
        return None
    from adapter_format.storage.torch_bin import BinContents, read_contents

    try:
        return read_contents(os.path.join(directory, LEGACY_WEIGHTS_NAME))
    except UnreadableAdapterError:
        return BinContents(None, 0)


def is_adapter(directory: str) -> bool:
    """Whether a directory holds at least one of the files of an adapter."""
    return any(
        os.path.lexists(os.path.join(directory, name)) for name in (CONFIG_NAME, WEIGHTS_NAME, LEGACY_WEIGHTS_NAME)
    )


def _sub_adapters(directory: str, listing: Listing) -> tuple[str, ...]:
    folders = (entry.name for entry in listing.entries.values() if entry.kind == "folder" and not entry.link)
    return tuple(name for name in folders if is_adapter(os.path.join(directory, name)))
