"""The parts of one adapter at header level, read once, for the rules to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter_format.anatomy import Anatomy
    from adapter_format.layouts import Layout
    from adapter_format.size import StoredSize
    from adapter_format.storage.directory import Listing
    from adapter_format.storage.safetensors_header import Header
    from adapter_format.storage.strict_json import JsonDocument
    from adapter_format.storage.torch_bin import BinContents


class Checkpoint(NamedTuple):
    """One adapter as far as it can be read without tensor bytes; None where a part is missing or unreadable.

    Attributes:
        listing: the directory, None for an adapter that is only in memory.
        sub_adapters: names of sub-folders that hold an adapter of their own.
        config_data: bytes of `adapter_config.json`.
        document: the same, parsed.
        config: the config if it is a JSON object.
        weights_file: name of the safetensors file.
        header: its header.
        legacy: table of contents of `adapter_model.bin`.
        layout: layout of the method, None if the method is unknown.
        anatomy: what every tensor is, None without layout or tensors.
        size: how the stored bytes come about, None without anatomy.
    """

    listing: Listing | None
    sub_adapters: tuple[str, ...]
    config_data: bytes | None
    document: JsonDocument | None
    config: Mapping[str, Any] | None
    weights_file: str
    header: Header | None
    legacy: BinContents | None
    layout: Layout | None
    anatomy: Anatomy | None
    size: StoredSize | None
