"""Where findings are: byte offsets and lines, worked out only for the few places that a report shows first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from adapter_format.config import CONFIG_NAME
from adapter_format.errors import UnreadableAdapterError
from adapter_format.storage.regular_file import opened, read_at
from adapter_format.storage.safetensors_header import LENGTH_BYTES
from adapter_format.storage.strict_json import locate

if TYPE_CHECKING:
    from adapter_format.checkpoint import Checkpoint
    from adapter_format.findings import Finding, Location

_PLACES_SHOWN = 6


def with_offsets(finding: Finding, checkpoint: Checkpoint) -> Finding:
    """Add byte offsets, and lines in the config, to the first places of a finding."""
    first = [_with_offset(place, checkpoint) for place in finding.places[:_PLACES_SHOWN]]
    return finding._replace(places=(*first, *finding.places[_PLACES_SHOWN:]))


def _with_offset(place: Location, checkpoint: Checkpoint) -> Location:
    if place.offset is not None:
        return place
    if place.file == CONFIG_NAME and place.pointer is not None and checkpoint.config_data is not None:
        found = locate(checkpoint.config_data, place.pointer)
        if found is None:
            return place
        offset = found.offset if found.key_offset is None else found.key_offset
        return place._replace(offset=offset, line=found.line)
    if place.file == checkpoint.weights_file and place.pointer:
        return _in_header(place, checkpoint)
    if place.file == checkpoint.weights_file and place.tensor is not None:
        return _at_data(place, checkpoint)
    return place


def _at_data(place: Location, checkpoint: Checkpoint) -> Location:
    """Point to the first byte of a tensor's data."""
    header = checkpoint.header
    info = header.tensors.get(place.tensor) if header is not None and place.tensor is not None else None
    return place if info is None or header is None else place._replace(offset=header.data_start + info.start)


def _in_header(place: Location, checkpoint: Checkpoint) -> Location:
    """Point to a value in the JSON of the header, which is read once more for it."""
    header, listing = checkpoint.header, checkpoint.listing
    if header is None or listing is None or place.pointer is None:
        return place
    try:
        with opened(os.path.join(listing.path, checkpoint.weights_file)) as file:
            text = read_at(file, header.data_start - LENGTH_BYTES, LENGTH_BYTES)
    except UnreadableAdapterError:
        return place
    found = locate(text, place.pointer)
    return place if found is None else place._replace(offset=LENGTH_BYTES + found.offset)
