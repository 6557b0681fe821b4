"""1xx: the container. Every way in which a safetensors file can be wrong, and every way to have the wrong file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter_format.config import LEGACY_WEIGHTS_NAME, WEIGHTS_NAME
from adapter_format.findings import Finding, Location
from adapter_format.rules.edits import (
    AppendWeights,
    InsertBytes,
    MakeFolder,
    PatchWeights,
    RemoveFile,
    RenameFile,
    ReplaceHeaderText,
    StoreFirst,
    TruncateWeights,
    WriteFile,
    WriteLegacy,
    mutation,
)
from adapter_format.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter_format.checkpoint import Checkpoint

_DOWNLOAD = "Download or copy the file again and compare its size with the source."
_REWRITE = "Write the file again with a safetensors writer, or with `adapter_format.save`."

FILE_TOO_SHORT = Rule(
    "AF101", "file-too-short", "error", "CON-1", "The weights file is shorter than its length field",
    "There is no header to read; usually a failed download or a save that was interrupted.",
    _DOWNLOAD, "raises",
    (mutation("plain", TruncateWeights(0), name="empty"), mutation("plain", TruncateWeights(7))),
    quotes=("Error while deserializing header: header too small",), pains=("P17",),
)  # fmt: skip
HEADER_LENGTH = Rule(
    "AF102", "header-length", "error", "CON-1", "The first 8 bytes do not give a possible header length",
    "The first 8 bytes are the length of the JSON header; a wrong one means that this is another kind of file or a damaged one.",
    _DOWNLOAD, "raises",
    (mutation("plain", PatchWeights(0, b"\xff" * 8)), mutation("plain", PatchWeights(0, bytes(8)), name="zero")),
    quotes=("Error while deserializing header: header too large", "HeaderTooLarge", "invalid header length"),
    pains=("P17",),
)  # fmt: skip
LFS_POINTER = Rule(
    "AF103", "lfs-pointer", "error", "CON-1", "A Git LFS pointer lies in place of the weights",
    "The repository was cloned without Git LFS: the file holds three lines of text that say where the weights are.",
    "Run `git lfs install` and `git lfs pull` in the repository, or download the file from its hub.", "raises",
    (mutation("plain", WriteFile(WEIGHTS_NAME, (
        b"version https://git-lfs.github.com/spec/v1\n"
        b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 33554432\n"))),),
    quotes=("HeaderTooLarge", "Error while deserializing header: header too large"), pains=("P17",),
)  # fmt: skip
NOT_SAFETENSORS = Rule(
    "AF104", "not-safetensors", "error", "CON-1", "The weights file is another kind of file",
    "An error page, a pickle or an archive under the name of the weights can't be read as tensors.",
    "Put the real weights file in its place; a torch `.bin` must keep the name `adapter_model.bin`.", "raises",
    (mutation("plain", WriteFile(WEIGHTS_NAME, b"<!DOCTYPE html><html><body>404</body></html>\n")),
     mutation("plain", WriteFile(WEIGHTS_NAME, b"PK\x03\x04" + bytes(60)), name="zip")),
    quotes=("HeaderTooLarge",), pains=("P17",),
)  # fmt: skip
HEADER_NOT_UTF8 = Rule(
    "AF105", "header-not-utf8", "error", "CON-2", "The header is not UTF-8",
    "The header must be UTF-8 text; other bytes mean damage in transit or a writer with another encoding.",
    _REWRITE, "raises",
    (mutation("plain", ReplaceHeaderText("lora_A.weight", b"lora_\xff.weight")),),
    quotes=("invalid UTF-8 in header",), pains=("P17",),
)  # fmt: skip
HEADER_NOT_JSON = Rule(
    "AF106", "header-not-json", "error", "CON-2", "The header is not JSON",
    "A reader stops at the first character that JSON does not allow there.",
    _REWRITE, "raises",
    (mutation("plain", ReplaceHeaderText('"dtype":"F32",', '"dtype":"F32",,')),
     mutation("plain", ReplaceHeaderText('"dtype":"F32"', '"dtype":NaN'), name="NaN")),
    quotes=("Error while deserializing header: invalid JSON in header",), pains=("P17",),
)  # fmt: skip
HEADER_DUPLICATE_KEY = Rule(
    "AF107", "header-duplicate-key", "error", "CON-3", "A name stands twice in the header",
    "Readers differ in which of the two they take; the other one is lost in silence.",
    _REWRITE, "silent-ok",
    (mutation("plain", ReplaceHeaderText('{"__metadata__":{', '{"__metadata__":{"format":"pt",')),),
    note="The safetensors library keeps the last one although its own documentation forbids duplicates; with a tensor "
    "name twice, what is loaded depends on the reader, hence the severity.",
)  # fmt: skip
HEADER_NOT_OBJECT = Rule(
    "AF108", "header-not-object", "error", "CON-2", "The header is JSON, but not an object",
    "The header must be an object from tensor names to their entries.",
    _REWRITE, "raises", (mutation("plain", PatchWeights(0, (8).to_bytes(8, "little") + b"[]      ")),),
)  # fmt: skip
TENSOR_ENTRY_MALFORMED = Rule(
    "AF109", "tensor-entry-malformed", "error", "CON-4", "A tensor's entry lacks a field or has one of a wrong type",
    "Without `dtype`, `shape` and `data_offsets` the tensor can't be read, and neither can the file.",
    _REWRITE, "raises",
    (mutation("plain", ReplaceHeaderText('"dtype":"F32",', "")),
     mutation("plain", ReplaceHeaderText('"data_offsets":[0,', '"data_offsets":[0,0,'), name="three offsets")),
    quotes=("missing field `dtype`",),
)  # fmt: skip
DTYPE_UNKNOWN = Rule(
    "AF110", "dtype-unknown", "error", "CON-5", "A dtype that the format does not know",
    "The size of an element is unknown, so no reader can read the tensor.",
    _REWRITE, "raises",
    (mutation("plain", ReplaceHeaderText('"dtype":"F32"', '"dtype":"f32"')),
     mutation("plain", ReplaceHeaderText('"dtype":"F32"', '"dtype":"F128"'), name="F128")),
    quotes=("unknown variant `f32`",),
)  # fmt: skip
SHAPE_INVALID = Rule(
    "AF111", "shape-invalid", "error", "CON-6", "A shape that is no array of sizes",
    "Sizes are integers of at least 0; anything else can't be read.",
    _REWRITE, "raises",
    (mutation("plain", ReplaceHeaderText('"shape":[4,8]', '"shape":[4.0,8]')),
     mutation("plain", ReplaceHeaderText('"shape":[4,8]', '"shape":[-4,8]'), name="negative")),
)  # fmt: skip
SHAPE_OVERFLOW = Rule(
    "AF112", "shape-overflow", "error", "CON-6", "A shape whose product overflows",
    "A reader that multiplies in 64 bits may wrap around and read other bytes than it checked.",
    _REWRITE, "raises",
    (mutation("plain", ReplaceHeaderText('"shape":[4,8]', '"shape":[4294967296,4294967296,8]')),),
    quotes=("overflow computing buffer size from shape and/or element type",),
)  # fmt: skip
OFFSET_INVALID = Rule(
    "AF113", "offset-invalid", "error", "CON-7", "An offset that is no valid integer",
    "Offsets are integers of at least 0, counted from the start of the data section.",
    _REWRITE, "raises", (mutation("plain", ReplaceHeaderText('"data_offsets":[0,', '"data_offsets":[-1,')),),
)  # fmt: skip
OFFSETS_REVERSED = Rule(
    "AF114", "offsets-reversed", "error", "CON-7", "A tensor that ends before it starts",
    "Subtracting the offsets gives a negative size, which a careless reader takes for a huge one.",
    _REWRITE, "raises", (mutation("plain", ReplaceHeaderText('"data_offsets":[0,128]', '"data_offsets":[128,0]')),),
)  # fmt: skip
TENSOR_SIZE_MISMATCH = Rule(
    "AF115", "tensor-size-mismatch", "error", "CON-7", "Shape and offsets give different sizes",
    "Either the shape or the byte range is wrong; the values can't be trusted.",
    _REWRITE, "raises", (mutation("plain", ReplaceHeaderText('"shape":[4,8]', '"shape":[4,9]')),),
    quotes=("invalid shape, data type, or offset for tensor",),
)  # fmt: skip
TENSOR_OVERLAP = Rule(
    "AF116", "tensor-overlap", "error", "CON-8", "Two tensors claim the same bytes",
    "Overlapping tensors are a way to smuggle or to damage data; the format forbids them.",
    _REWRITE, "raises", (mutation("plain", ReplaceHeaderText('"data_offsets":[128,256]', '"data_offsets":[0,128]')),),
    quotes=("invalid offset for tensor",),
    note="A file in which the bytes set free by the overlap are not used either is reported once.",
)  # fmt: skip
DATA_GAP = Rule(
    "AF117", "data-gap", "error", "CON-8", "Bytes between two tensors that belong to neither",
    "Unaccounted bytes can hide anything; the format forbids them.",
    _REWRITE, "raises",
    (mutation("plain", InsertBytes(r"layers\.2.*lora_A", 8)),),
    quotes=("invalid offset for tensor",),
)  # fmt: skip
TRAILING_BYTES = Rule(
    "AF118", "trailing-bytes", "error", "CON-8", "Bytes after the last tensor",
    "The tensors must cover the data section to its end; a tail is a sign of a damaged or a doctored file.",
    _REWRITE, "raises", (mutation("plain", AppendWeights(b"tail")),),
    quotes=("incomplete metadata, file not fully covered", "MetadataIncompleteBuffer"), pains=("P17",),
)  # fmt: skip
FILE_TRUNCATED = Rule(
    "AF119", "file-truncated", "error", "CON-8", "The file ends before its last tensor",
    "A download or a copy stopped early; the missing tensors can't be recovered from this file.",
    _DOWNLOAD, "raises",
    (mutation("plain", TruncateWeights(-100)), mutation("plain", TruncateWeights(100), name="inside the header")),
    quotes=("incomplete metadata, file not fully covered", "MetadataIncompleteBuffer"), pains=("P17",),
)  # fmt: skip
HEADER_PADDING = Rule(
    "AF120", "header-padding", "warning", "CON-2", "The header begins or is padded with something else than allowed",
    "The format allows spaces behind the JSON and nothing before it; strict readers refuse anything else.",
    _REWRITE, "silent-ok", (mutation("plain", ReplaceHeaderText('{"__metadata__"', ' {"__metadata__"')),),
    note="The safetensors library accepts any JSON whitespace; other readers follow the documentation.",
)  # fmt: skip
TENSOR_MISALIGNED = Rule(
    "AF121", "tensor-misaligned", "warning", "CON-9", "A tensor that does not start at a multiple of its element size",
    "Readers that map the file can't hand out such a tensor without a copy, and some refuse it.",
    _REWRITE, "silent-ok",
    (mutation("saved-module", StoreFirst(r"mask$")),),
)  # fmt: skip
DATA_START_MISALIGNED = Rule(
    "AF122", "data-start-misaligned", "warning", "CON-9", "The header is not padded to a multiple of 8 bytes",
    "The data section, and with it every tensor, starts at an odd address; readers that map the file must copy.",
    _REWRITE, "silent-ok", (mutation("plain", ReplaceHeaderText('"format":"pt"', '"format":"ptxyz"', pad=False)),),
)  # fmt: skip
METADATA_INVALID = Rule(
    "AF123", "metadata-invalid", "error", "CON-10", "`__metadata__` is not an object of strings",
    "Readers refuse the file: metadata maps strings to strings.",
    _REWRITE, "raises", (mutation("plain", ReplaceHeaderText('"format":"pt"', '"format":1234')),),
    quotes=("invalid type: integer `1234`, expected a string",),
)  # fmt: skip
TENSOR_ENTRY_EXTRA_FIELD = Rule(
    "AF124", "tensor-entry-extra-field", "warning", "CON-4", "A tensor's entry has a field that the format does not know",
    "The field is ignored by the library and refused by stricter readers.",
    _REWRITE, "silent-ok", (mutation("plain", ReplaceHeaderText('{"dtype":"F32"', '{"note":"","dtype":"F32"')),),
)  # fmt: skip
HEADER_OVER_LIMIT = Rule(
    "AF125", "header-over-limit", "error", "CON-1", "The header is larger than the limit of this run",
    "A huge header costs every reader memory and time; no adapter needs one.",
    "Raise the limit if the file is yours (`Limits(header_bytes=...)`), otherwise refuse it.", "unknown", (),
    note="A bound of this tool, not of the format: the library reads headers up to 100,000,000 bytes.",
)  # fmt: skip
WEIGHTS_MISSING = Rule(
    "AF130", "weights-missing", "error", "DIR-1", "There is no weights file",
    "Without `adapter_model.safetensors` (or the legacy `adapter_model.bin`) there is nothing to load.",
    "Add `adapter_model.safetensors`; after an FSDP or ZeRO run, gather the full state and save again.", "raises",
    (mutation("plain", RemoveFile(WEIGHTS_NAME)),),
    quotes=("Can't find weights for", "does not appear to have a file named"), pains=("P13", "P18"),
)  # fmt: skip
WEIGHTS_SHARDED = Rule(
    "AF131", "weights-sharded", "error", "DIR-3", "The weights are split into shards",
    "PEFT reads one file; it does not know an index of shards for adapters.",
    "Join the shards into one `adapter_model.safetensors`.", "raises",
    (mutation("plain", RenameFile(WEIGHTS_NAME, "adapter_model-00001-of-00001.safetensors")),),
    pains=("P13", "P18"),
)  # fmt: skip
WEIGHTS_RENAMED = Rule(
    "AF132", "weights-renamed", "error", "DIR-1", "The weights have another name than readers look for",
    "Readers look for `adapter_model.safetensors`, then for the legacy `adapter_model.bin`, and for no other name.",
    "Rename the file to `adapter_model.safetensors` if it holds the adapter.", "raises",
    (mutation("plain", RenameFile(WEIGHTS_NAME, "model.safetensors")),), pains=("P18",),
)  # fmt: skip
BOTH_CONTAINERS = Rule(
    "AF133", "both-containers", "info", "DIR-4", "Both `adapter_model.safetensors` and `adapter_model.bin` are present",
    "PEFT reads the safetensors file and ignores the other; a reader that prefers `.bin` may load other weights.",
    "Remove `adapter_model.bin`.", "silent-ok", (mutation("plain", WriteLegacy()),), pains=("P18",),
)  # fmt: skip
CONTAINERS_DISAGREE = Rule(
    "AF134", "containers-disagree", "warning", "DIR-4", "The two containers hold different tensors",
    "Which adapter a reader loads depends on the container that it prefers.",
    "Keep the container that holds the adapter you mean and remove the other.", "silent-ok",
    (mutation("plain", WriteLegacy(r"layers\.3\.")),), pains=("P18",),
)  # fmt: skip
LEGACY_CONTAINER = Rule(
    "AF135", "legacy-container", "warning", "DIR-4", "The weights are a Python pickle (`adapter_model.bin`)",
    "Unpickling can run code; several readers refuse or do not find `.bin` adapters.",
    "Convert the file to `adapter_model.safetensors` where it came from.", "silent-ok",
    (mutation("plain", WriteLegacy(), RemoveFile(WEIGHTS_NAME)),), pains=("P18",),
)  # fmt: skip
WEIGHTS_UNREADABLE = Rule(
    "AF136", "weights-unreadable", "error", "DIR-5", "The weights file can't be opened",
    "It is a folder, a device or a file without permission; no reader can load it.",
    "Put a regular, readable file in its place.", "raises",
    (mutation("plain", MakeFolder(WEIGHTS_NAME)),),
)  # fmt: skip

RULES = tuple(value for value in list(globals().values()) if isinstance(value, Rule))
_BY_SLUG = {rule.slug: rule for rule in RULES}


def check_container(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge what the header reader noticed."""
    if checkpoint.header is None:
        return
    grouped: dict[str, list[tuple[str, Location]]] = {}
    for defect in checkpoint.header.defects:
        place = Location(checkpoint.weights_file, defect.tensor, defect.pointer, defect.offset)
        grouped.setdefault(defect.kind, []).append((defect.message, place))
    for kind, found in grouped.items():
        message, place = found[0]
        named = f"Tensor {place.tensor!r}: {message}" if place.tensor is not None else message
        more = f" {len(found)} places in all." if len(found) > 1 else ""
        yield _BY_SLUG[kind].finding(named + more, [where for _, where in found])


def check_weights_present(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Find the weights file, or say what lies there instead."""
    listing = checkpoint.listing
    if listing is None or listing.unreadable:
        return
    entry = listing.entries.get(WEIGHTS_NAME)
    legacy = listing.entries.get(LEGACY_WEIGHTS_NAME)
    if entry is not None:
        if entry.kind != "file" and not entry.leaves:
            what = "a folder" if entry.kind == "folder" else "no regular file"
            yield WEIGHTS_UNREADABLE.finding(f"`{WEIGHTS_NAME}` is {what}, expected a file.", [Location(WEIGHTS_NAME)])
        return
    if legacy is not None:
        return
    shards = [name for name in listing.entries if name.startswith("adapter_model-") and "-of-" in name]
    if shards:
        text = f"The weights are split into shards ({len(shards)} found), expected one file `{WEIGHTS_NAME}`."
        yield WEIGHTS_SHARDED.finding(text, [Location(name) for name in shards])
        return
    others = [name for name in listing.entries if name.endswith((".safetensors", ".npz", ".gguf", ".pt", ".pth"))]
    if others:
        text = f"There is no `{WEIGHTS_NAME}`, but `{others[0]}` may be meant."
        yield WEIGHTS_RENAMED.finding(text, [Location(name) for name in others])
        return
    yield WEIGHTS_MISSING.finding(
        f"The directory has neither `{WEIGHTS_NAME}` nor `{LEGACY_WEIGHTS_NAME}`.", [Location(WEIGHTS_NAME)]
    )


def check_legacy_container(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge `adapter_model.bin` by its table of contents alone."""
    legacy = checkpoint.legacy
    if legacy is None:
        return
    place = Location(LEGACY_WEIGHTS_NAME)
    if checkpoint.header is None:
        yield LEGACY_CONTAINER.finding(f"The only weights are a pickle, `{LEGACY_WEIGHTS_NAME}`.", [place])
        return
    stored = sum(info.nbytes for info in checkpoint.header.tensors.values())
    keys = set(checkpoint.header.tensors)
    if legacy.keys is not None and checkpoint.header.readable and (legacy.keys != keys or legacy.nbytes != stored):
        only = len(keys - legacy.keys), len(legacy.keys - keys)
        text = (
            f"`{WEIGHTS_NAME}` holds {len(keys)} tensors in {stored:,} bytes, `{LEGACY_WEIGHTS_NAME}` "
            f"{len(legacy.keys)} in {legacy.nbytes:,} ({only[0]} keys only here, {only[1]} only there)."
        )
        yield CONTAINERS_DISAGREE.finding(text, [place])
        return
    text = f"`{LEGACY_WEIGHTS_NAME}` lies beside `{WEIGHTS_NAME}`; PEFT reads the latter."
    yield BOTH_CONTAINERS.finding(text, [place])


CHECKS = (check_container, check_weights_present, check_legacy_container)
