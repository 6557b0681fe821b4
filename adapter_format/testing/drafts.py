"""Edits applied: an example becomes files in a directory, changed as a mutation says.

The container is written here by other code than the product's own writer, so that damage can be written too.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adapter_format.config import CONFIG_NAME, LEGACY_WEIGHTS_NAME, WEIGHTS_NAME
from adapter_format.dtypes import DTYPES
from adapter_format.rules import edits as e
from adapter_format.testing.examples import Example, Stored, encode, examples, values
from adapter_format.testing.torch_zip import torch_zip


class Draft(NamedTuple):
    """An adapter between being edited and being written; the edits change it in place.

    Attributes:
        config: content of the config.
        tensors: stored tensors by key.
        first: patterns of keys that are stored first.
        gaps: `(pattern, bytes)` inserted in front of a tensor.
    """

    config: dict[str, Any]
    tensors: dict[str, Stored]
    first: list[str]
    gaps: list[tuple[str, int]]


def write_mutation(mutation: e.Mutation, directory: Path) -> None:
    """Write the mutated adapter into a directory, which is made."""
    write_edited(examples()[mutation.example], mutation.edits, directory)


def write_example(name: str, directory: Path) -> None:
    """Write a valid example into a directory, which is made."""
    write_edited(examples()[name], (), directory)


def write_edited(example: Example, edits: tuple[e.Edit, ...], directory: Path) -> None:
    """Write an example with some edits applied."""
    draft = Draft(json.loads(json.dumps(example.config)), dict(example.tensors), [], [])
    later = [edit for edit in edits if not edit_draft(edit, draft)]
    directory.mkdir(parents=True)
    (directory / CONFIG_NAME).write_bytes(json.dumps(draft.config, indent=2, sort_keys=True).encode())
    (directory / WEIGHTS_NAME).write_bytes(container(draft))
    for edit in later:
        edit_files(edit, directory, draft)


def container(draft: Draft) -> bytes:
    """Write a safetensors container: larger element types first, then by name, as the official writer does."""

    def order(key: str) -> tuple[bool, int, bytes]:
        early = any(re.search(pattern, key) for pattern in draft.first)
        return not early, -DTYPES[draft.tensors[key].dtype].rank, key.encode()

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts: list[bytes] = []
    position = 0
    gaps = list(draft.gaps)
    for key in sorted(draft.tensors, key=order):
        for gap in [gap for gap in gaps if re.search(gap[0], key)]:
            gaps.remove(gap)
            parts.append(bytes(gap[1]))
            position += gap[1]
        stored = draft.tensors[key]
        end = position + len(stored.data)
        header[key] = {"dtype": stored.dtype, "shape": list(stored.shape), "data_offsets": [position, end]}
        parts.append(stored.data)
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return _framed(text) + b"".join(parts)


def _framed(text: bytes, *, pad: bool = True) -> bytes:
    padded = text + b" " * (-len(text) % 8) if pad else text
    return len(padded).to_bytes(8, "little") + padded


@functools.singledispatch
def edit_draft(edit: e.Edit, draft: Draft) -> bool:
    """Apply an edit to config and tensors; return False if it concerns files instead."""
    del edit, draft
    return False


def _parent(config: Any, pointer: str) -> tuple[Any, str]:
    *path, last = pointer.split("/")[1:]
    for part in path:
        config = config[int(part)] if isinstance(config, list) else config[part]
    return config, last


@edit_draft.register
def _(edit: e.SetConfig, draft: Draft) -> bool:
    parent, last = _parent(draft.config, edit.pointer)
    if isinstance(parent, list):
        parent.append(edit.value) if last == "-" else parent.__setitem__(int(last), edit.value)
    else:
        parent[last] = edit.value
    return True


@edit_draft.register
def _(edit: e.DropConfig, draft: Draft) -> bool:
    parent, last = _parent(draft.config, edit.pointer)
    del parent[int(last) if isinstance(parent, list) else last]
    return True


@edit_draft.register
def _(edit: e.RenameTensors, draft: Draft) -> bool:
    renamed = {re.sub(edit.pattern, edit.replacement, key, count=1): stored for key, stored in draft.tensors.items()}
    draft.tensors.clear()
    draft.tensors.update(renamed)
    return True


@edit_draft.register
def _(edit: e.DropTensors, draft: Draft) -> bool:
    for key in [key for key in draft.tensors if re.search(edit.pattern, key)]:
        del draft.tensors[key]
    return True


@edit_draft.register
def _(edit: e.CopyTensor, draft: Draft) -> bool:
    draft.tensors[edit.key] = draft.tensors[edit.source]
    return True


@edit_draft.register
def _(edit: e.AddTensor, draft: Draft) -> bool:
    draft.tensors[edit.key] = values(edit.key, edit.dtype, edit.shape)
    return True


@edit_draft.register
def _(edit: e.ReshapeTensors, draft: Draft) -> bool:
    for key, stored in draft.tensors.items():
        if re.search(edit.pattern, key):
            draft.tensors[key] = values(key, stored.dtype, edit.shape)
    return True


@edit_draft.register
def _(edit: e.TransposeTensors, draft: Draft) -> bool:
    for key, stored in draft.tensors.items():
        if re.search(edit.pattern, key):
            turned = np.frombuffer(stored.data, "<f4").reshape(stored.shape).T
            draft.tensors[key] = Stored(stored.dtype, turned.shape, turned.tobytes())
    return True


@edit_draft.register
def _(edit: e.CastTensors, draft: Draft) -> bool:
    for key, stored in draft.tensors.items():
        if re.search(edit.pattern, key):
            numbers = np.frombuffer(stored.data, DTYPES[stored.dtype].array_name).astype("f8")
            draft.tensors[key] = Stored(edit.dtype, stored.shape, encode(numbers, edit.dtype))
    return True


_SPECIAL = {"nan": float("nan"), "inf": float("inf"), "subnormal": 1e-40}


@edit_draft.register
def _(edit: e.FillTensors, draft: Draft) -> bool:
    value = _SPECIAL[edit.value] if isinstance(edit.value, str) else edit.value
    for key, stored in draft.tensors.items():
        if re.search(edit.pattern, key):
            array = np.frombuffer(stored.data, "<f4").copy().reshape(stored.shape)
            if edit.part == "all":
                array[...] = value
            elif edit.part == "row":
                array[0] = value
            else:
                array.reshape(-1)[0] = value
            draft.tensors[key] = Stored(stored.dtype, stored.shape, array.tobytes())
    return True


@edit_draft.register
def _(edit: e.StoreFirst, draft: Draft) -> bool:
    draft.first.append(edit.pattern)
    return True


@edit_draft.register
def _(edit: e.InsertBytes, draft: Draft) -> bool:
    draft.gaps.append((edit.pattern, edit.size))
    return True


@functools.singledispatch
def edit_files(edit: e.Edit, directory: Path, draft: Draft) -> None:
    """Apply an edit to the files of a written adapter.

    Raises:
        TypeError: the edit is of a kind that is not known.
    """
    raise TypeError(f"{type(edit).__name__} can't be applied to {directory} of {len(draft.tensors)} tensors")


def _replaced(data: bytes, old: str, new: str | bytes) -> bytes:
    found = old.encode()
    if found not in data:
        raise ValueError(f"{old!r} does not occur")
    return data.replace(found, new.encode() if isinstance(new, str) else new, 1)


@edit_files.register
def _(edit: e.ReplaceConfigText, directory: Path, draft: Draft) -> None:
    del draft
    path = directory / CONFIG_NAME
    path.write_bytes(_replaced(path.read_bytes(), edit.old, edit.new))


@edit_files.register
def _(edit: e.ReplaceHeaderText, directory: Path, draft: Draft) -> None:
    del draft
    path = directory / WEIGHTS_NAME
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    text = _replaced(data[8 : 8 + length].rstrip(b" "), edit.old, edit.new)
    path.write_bytes(_framed(text, pad=edit.pad) + data[8 + length :])


@edit_files.register
def _(edit: e.PatchWeights, directory: Path, draft: Draft) -> None:
    del draft
    path = directory / WEIGHTS_NAME
    data = path.read_bytes()
    path.write_bytes(data[: edit.offset] + edit.data + data[edit.offset + len(edit.data) :])


@edit_files.register
def _(edit: e.TruncateWeights, directory: Path, draft: Draft) -> None:
    del draft
    path = directory / WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[: edit.size])


@edit_files.register
def _(edit: e.AppendWeights, directory: Path, draft: Draft) -> None:
    del draft
    with open(directory / WEIGHTS_NAME, "ab") as file:
        file.write(edit.data)


@edit_files.register
def _(edit: e.WriteFile, directory: Path, draft: Draft) -> None:
    del draft
    path = directory / edit.name
    path.write_bytes(edit.data)
    path.chmod(edit.mode)


@edit_files.register
def _(edit: e.RemoveFile, directory: Path, draft: Draft) -> None:
    del draft
    (directory / edit.name).unlink()


@edit_files.register
def _(edit: e.RenameFile, directory: Path, draft: Draft) -> None:
    del draft
    (directory / edit.name).rename(directory / edit.new)


@edit_files.register
def _(edit: e.CopyFile, directory: Path, draft: Draft) -> None:
    del draft
    (directory / edit.new).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(directory / edit.name, directory / edit.new)


@edit_files.register
def _(edit: e.LinkFile, directory: Path, draft: Draft) -> None:
    del draft
    outside = directory.parent / f"{directory.name}.outside"
    outside.mkdir(exist_ok=True)
    (directory / edit.name).rename(outside / edit.name)
    (directory / edit.name).symlink_to(os.path.join("..", outside.name, edit.name))


@edit_files.register
def _(edit: e.MakeFolder, directory: Path, draft: Draft) -> None:
    del draft
    (directory / edit.name).unlink(missing_ok=True)
    (directory / edit.name).mkdir()


@edit_files.register
def _(edit: e.WriteLegacy, directory: Path, draft: Draft) -> None:
    kept = {
        key: stored for key, stored in draft.tensors.items() if not edit.dropped or not re.search(edit.dropped, key)
    }
    (directory / LEGACY_WEIGHTS_NAME).write_bytes(torch_zip(kept))


@edit_files.register
def _(edit: e.DenyReading, directory: Path, draft: Draft) -> None:
    del draft
    (directory / edit.name).chmod(0)
