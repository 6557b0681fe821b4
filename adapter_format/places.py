"""Where findings are: byte offsets and lines, worked out only for the few places that a report shows first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from adapter_format.config import CONFIG_NAME
from adapter_format.errors import UnreadableAdapterError
from adapter_format.storage.regular_file import opened, read_at
from adapter_format.storage.safetensors_header import LENGTH_BYTES
from adapter_format.storage.strict_json import locate_all

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from adapter_format.checkpoint import Checkpoint
    from adapter_format.findings import Finding, Location
    from adapter_format.storage.strict_json import Place

_PLACES_SHOWN = 6


def with_offsets(findings: Iterable[Finding], checkpoint: Checkpoint) -> list[Finding]:
    """Add byte offsets, and lines in the config, to the first places of every finding."""
    findings = list(findings)
    shown = [place for finding in findings for place in finding.places[:_PLACES_SHOWN] if place.offset is None]
    in_config = [place.pointer for place in shown if place.file == CONFIG_NAME and place.pointer is not None]
    in_header = [place.pointer for place in shown if place.file == checkpoint.weights_file and place.pointer]
    # All at once: each file is read through for all of its places together.
    found: dict[str, Mapping[str, Place]] = {checkpoint.weights_file: _in_header(in_header, checkpoint)}
    if in_config and checkpoint.config_data is not None:
        found[CONFIG_NAME] = locate_all(checkpoint.config_data, in_config)

    def located(place: Location) -> Location:
        if place.offset is not None or place.file not in found:
            return place
        at = found[place.file].get(place.pointer) if place.pointer is not None else None
        if place.file == CONFIG_NAME:
            return place if at is None else place._replace(offset=_start(at), line=at.line)
        if place.pointer:
            return place if at is None else place._replace(offset=LENGTH_BYTES + at.offset)
        return _at_data(place, checkpoint)

    return [
        finding._replace(places=(*map(located, finding.places[:_PLACES_SHOWN]), *finding.places[_PLACES_SHOWN:]))
        for finding in findings
    ]


def _start(found: Place) -> int:
    return found.offset if found.key_offset is None else found.key_offset


def _at_data(place: Location, checkpoint: Checkpoint) -> Location:
    """Point to the first byte of a tensor's data."""
    header = checkpoint.header
    info = header.tensors.get(place.tensor) if header is not None and place.tensor is not None else None
    return place if info is None or header is None else place._replace(offset=header.data_start + info.start)


def _in_header(pointers: Collection[str], checkpoint: Checkpoint) -> Mapping[str, Place]:
    """Find values in the JSON of the header, which is read once more for them."""
    header, listing = checkpoint.header, checkpoint.listing
    if not pointers or header is None or listing is None:
        return {}
    try:
        with opened(os.path.join(listing.path, checkpoint.weights_file)) as file:
            text = read_at(file, header.data_start - LENGTH_BYTES, LENGTH_BYTES)
    except UnreadableAdapterError:
        return {}
    return locate_all(text, pointers)
