"""Edits of a checkpoint as data: how a rule's mutation turns a valid adapter into one that breaks exactly this rule.

Patterns are regexes that are searched in keys. `adapter_format.testing` applies the edits; the rule pages print them.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class SetConfig(NamedTuple):
    """Set the config value at a JSON pointer; `-` as last part appends to an array."""

    pointer: str
    value: Any


class DropConfig(NamedTuple):
    """Remove the config value at a JSON pointer."""

    pointer: str


class ReplaceConfigText(NamedTuple):
    """Replace text in the bytes of `adapter_config.json`."""

    old: str
    new: str | bytes


class RenameTensors(NamedTuple):
    """Substitute `replacement` for `pattern` in every key."""

    pattern: str
    replacement: str


class DropTensors(NamedTuple):
    """Remove every tensor whose key matches."""

    pattern: str


class CopyTensor(NamedTuple):
    """Store a copy of the one tensor `source` under another key."""

    source: str
    key: str


class AddTensor(NamedTuple):
    """Add a tensor of seeded random values."""

    key: str
    shape: tuple[int, ...]
    dtype: str = "F32"


class ReshapeTensors(NamedTuple):
    """Give matching tensors another shape, filled with seeded random values."""

    pattern: str
    shape: tuple[int, ...]


class TransposeTensors(NamedTuple):
    """Transpose matching tensors."""

    pattern: str


class CastTensors(NamedTuple):
    """Convert matching tensors to another element type."""

    pattern: str
    dtype: str


class FillTensors(NamedTuple):
    """Overwrite values: all of a tensor, its first row, or its first element.

    `value` is a number, or the name of a special value: `nan`, `inf`, `subnormal`.
    """

    pattern: str
    value: float | str
    part: str = "all"


class ReplaceHeaderText(NamedTuple):
    """Replace the first occurrence of a text in the JSON of the header; the length bytes are recomputed."""

    old: str
    new: str | bytes
    pad: bool = True


class StoreFirst(NamedTuple):
    """Store the matching tensors at the start of the data section, in front of wider element types."""

    pattern: str


class InsertBytes(NamedTuple):
    """Insert unaccounted zero bytes in front of the first matching tensor's data."""

    pattern: str
    size: int


class PatchWeights(NamedTuple):
    """Overwrite bytes of the weights file from an offset on."""

    offset: int
    data: bytes


class TruncateWeights(NamedTuple):
    """Cut the weights file; a negative size counts from the end."""

    size: int


class AppendWeights(NamedTuple):
    """Append bytes to the weights file."""

    data: bytes


class WriteFile(NamedTuple):
    """Write a further file."""

    name: str
    data: bytes
    mode: int = 0o644


class RemoveFile(NamedTuple):
    """Remove a file."""

    name: str


class RenameFile(NamedTuple):
    """Rename a file."""

    name: str
    new: str


class CopyFile(NamedTuple):
    """Copy a file, creating folders on the way."""

    name: str
    new: str


class LinkFile(NamedTuple):
    """Replace a file by a symbolic link to a copy of it outside the adapter."""

    name: str


class MakeFolder(NamedTuple):
    """Replace a file, if there is one, by an empty folder."""

    name: str


class WriteLegacy(NamedTuple):
    """Also store the tensors in `adapter_model.bin`, without those that match `dropped`."""

    dropped: str = ""


class DenyReading(NamedTuple):
    """Take all permissions from a file."""

    name: str


Edit = (
    SetConfig
    | DropConfig
    | ReplaceConfigText
    | RenameTensors
    | DropTensors
    | CopyTensor
    | AddTensor
    | ReshapeTensors
    | TransposeTensors
    | CastTensors
    | FillTensors
    | ReplaceHeaderText
    | StoreFirst
    | InsertBytes
    | PatchWeights
    | TruncateWeights
    | AppendWeights
    | WriteFile
    | RemoveFile
    | RenameFile
    | CopyFile
    | LinkFile
    | MakeFolder
    | WriteLegacy
    | DenyReading
)


class Mutation(NamedTuple):
    """A minimal pair: a valid example and the edits that make it break one rule.

    Attributes:
        example: name of the valid example (`adapter_format.testing.examples`).
        edits: what is changed.
        name: tells several mutations of one rule apart.
        consumers: the consumers that have to be asked about for the rule to fire.
    """

    example: str
    edits: tuple[Edit, ...]
    name: str = ""
    consumers: tuple[str, ...] = ()


def mutation(example: str, *edits: Edit, name: str = "", consumers: tuple[str, ...] = ()) -> Mutation:
    """Declare a mutation."""
    return Mutation(example, edits, name, consumers)
