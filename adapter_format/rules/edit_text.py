"""Edits in words: what a rule's mutation changes, for the rule pages and `explain`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from adapter_format.rules import edits

if TYPE_CHECKING:
    from adapter_format.rules.edits import Edit, Mutation

_LONGEST = 160


def describe_all(mutation: Mutation) -> str:
    """Say in one line all that a mutation changes, and for whom it is then judged, without a full stop."""
    asked = [f"judge it for `{consumer}`" for consumer in mutation.consumers]
    return "; ".join([*(describe(edit) for edit in mutation.edits), *asked])


def describe(edit: Edit) -> str:
    """Say what one edit changes, as a phrase in the imperative without a full stop.

    Texts of files are quoted, shortened and escaped, so that a phrase is always one printable line.
    """
    if isinstance(edit, (edits.SetConfig, edits.DropConfig, edits.ReplaceConfigText)):
        return _in_config(edit)
    if isinstance(edit, (edits.ReplaceHeaderText, edits.PatchWeights, edits.TruncateWeights, edits.AppendWeights)):
        return _in_container(edit)
    if isinstance(
        edit,
        (
            edits.WriteFile,
            edits.RemoveFile,
            edits.RenameFile,
            edits.CopyFile,
            edits.LinkFile,
            edits.MakeFolder,
            edits.DenyReading,
        ),
    ):
        return _in_directory(edit)
    return _in_tensors(edit)


def _in_config(edit: edits.SetConfig | edits.DropConfig | edits.ReplaceConfigText) -> str:
    match edit:
        case edits.SetConfig(pointer, value):
            return f"set `{pointer}` in the config to {_code(json.dumps(value, ensure_ascii=True))}"
        case edits.DropConfig(pointer):
            return f"remove `{pointer}` from the config"
        case edits.ReplaceConfigText(old, new):
            return f"in the text of the config, replace {_text(old)} by {_text(new)}"


def _in_tensors(edit: Edit) -> str:
    match edit:
        case edits.RenameTensors("^", replacement):
            return f"put {_text(replacement)} in front of every key"
        case edits.RenameTensors(pattern, ""):
            return f"remove {_code(pattern)} from every key"
        case edits.RenameTensors(pattern, replacement):
            return f"in every key, replace {_code(pattern)} by {_text(replacement)}"
        case edits.DropTensors("."):
            return "remove every tensor"
        case edits.DropTensors(pattern):
            return f"remove the tensors whose key matches {_code(pattern)}"
        case edits.CopyTensor(source, key):
            return f"store a copy of {_code(source)} as {_code(key)}"
        case edits.AddTensor(key, shape, dtype):
            return f"add a tensor {_code(key)} of shape {list(shape)} and type {dtype}"
        case edits.ReshapeTensors(pattern, shape):
            return f"give the tensors that match {_code(pattern)} the shape {list(shape)}"
        case edits.TransposeTensors(pattern):
            return f"transpose the tensors that match {_code(pattern)}"
        case edits.CastTensors(pattern, dtype):
            return f"store the tensors that match {_code(pattern)} as {dtype}"
        case edits.FillTensors(pattern, value, part):
            where = {"all": "all values", "row": "the first row", "first": "the first value"}.get(part, part)
            return f"set {where} of the tensors that match {_code(pattern)} to {value}"
        case edits.StoreFirst(pattern):
            return f"store the tensors that match {_code(pattern)} in front of all others"
        case edits.InsertBytes(pattern, size):
            return f"insert {size} bytes in front of the first tensor that matches {_code(pattern)}"
        case _:
            return type(edit).__name__


def _in_container(
    edit: edits.ReplaceHeaderText | edits.PatchWeights | edits.TruncateWeights | edits.AppendWeights,
) -> str:
    match edit:
        case edits.ReplaceHeaderText(old, ""):
            return f"in the header, remove {_text(old)}"
        case edits.ReplaceHeaderText(old, new, pad):
            unpadded = "" if pad else ", without padding the header again"
            return f"in the header, replace {_text(old)} by {_text(new)}{unpadded}"
        case edits.PatchWeights(offset, data):
            return f"overwrite the weights file from byte {offset} with {_text(data)}"
        case edits.TruncateWeights(size) if size < 0:
            return f"cut the last {-size} bytes off the weights file"
        case edits.TruncateWeights(size):
            return f"cut the weights file after {size} bytes"
        case edits.AppendWeights(data):
            return f"append {_text(data)} to the weights file"


def _in_directory(
    edit: edits.WriteFile
    | edits.RemoveFile
    | edits.RenameFile
    | edits.CopyFile
    | edits.LinkFile
    | edits.MakeFolder
    | edits.DenyReading,
) -> str:
    match edit:
        case edits.WriteFile(name, data, mode):
            content = _text(data) if data else "nothing in it"
            executable = ", executable" if mode & 0o111 else ""
            return f"write a file {_text(name)} with {content}{executable}"
        case edits.RemoveFile(name):
            return f"remove {_text(name)}"
        case edits.RenameFile(name, new):
            return f"rename {_text(name)} to {_text(new)}"
        case edits.CopyFile(name, new) if name == new:
            return f"keep {_text(name)}"
        case edits.CopyFile(name, new):
            return f"copy {_text(name)} to {_text(new)}"
        case edits.LinkFile(name):
            return f"replace {_text(name)} by a symbolic link to a copy outside the directory"
        case edits.MakeFolder(name):
            return f"put a folder in the place of {_text(name)}"
        case edits.DenyReading(name):
            return f"take the read permission from {_text(name)}"


def _text(value: str | bytes) -> str:
    """Set a text or bytes of a file as code; escapes keep it on one printable line."""
    text = value if isinstance(value, str) else value.decode("latin-1")
    return _code("".join(_ESCAPES.get(character, character) for character in text))


_ESCAPES = {
    chr(code): {10: r"\n", 13: r"\r", 9: r"\t"}.get(code, rf"\x{code:02x}") for code in (*range(32), *range(127, 256))
}


def _code(text: str) -> str:
    """Set a text as Markdown code, shortened and without anything that ends it early."""
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}... ({len(text):,} characters)"
    fence = "``" if "`" in short else "`"
    return f"{fence}{short}{fence}"
