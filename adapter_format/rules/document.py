"""2xx: the config as a document: a JSON text that every reader takes for the same object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter_format.config import CONFIG_NAME
from adapter_format.findings import Finding, Location
from adapter_format.rules.edits import MakeFolder, RemoveFile, ReplaceConfigText, WriteFile, mutation
from adapter_format.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter_format.checkpoint import Checkpoint

RESTORE = "Restore the file from the training run, or write it again with `adapter_format.AdapterConfig`."

CONFIG_MISSING = Rule(
    "AF201", "config-missing", "error", "DIR-1", "There is no `adapter_config.json`",
    "Without the config a reader knows neither method nor rank nor scale.",
    "Copy `adapter_config.json` from the training output into the directory.", "raises",
    (mutation("plain", RemoveFile(CONFIG_NAME)),),
    quotes=("Can't find 'adapter_config.json' at", "open adapter_config.json: no such file or directory"),
    pains=("P11", "P18"),
)  # fmt: skip
CONFIG_NOT_JSON = Rule(
    "AF202", "config-not-json", "error", "CFG-1", "`adapter_config.json` is not JSON",
    "Usually a hand edit: a comma too many, a value missing.",
    "Mend the text at the place named.", "raises",
    (mutation("plain", ReplaceConfigText('"lora_alpha": 8', '"lora_alpha":')),
     mutation("plain", ReplaceConfigText('"r": 4', '"r": 4,,'), name="comma"),
     mutation("plain", WriteFile(CONFIG_NAME, b"version https://git-lfs.github.com/spec/v1\n"), name="LFS pointer")),
    quotes=("json.decoder.JSONDecodeError", "Expecting value"), pains=("P27",),
)  # fmt: skip
CONFIG_DUPLICATE_KEY = Rule(
    "AF203", "config-duplicate-key", "error", "CFG-2", "A field stands twice in the config",
    "PEFT takes the last one in silence; a person and other readers may take the first.",
    "Remove one of the two.", "silent-wrong",
    (mutation("plain", ReplaceConfigText('"r": 4', '"r": 4,\n  "lora_alpha": 64')),), pains=("P27",),
)  # fmt: skip
CONFIG_NOT_OBJECT = Rule(
    "AF204", "config-not-object", "error", "CFG-1", "The config is JSON, but not an object",
    "The config must be an object from field names to values.",
    RESTORE, "raises", (mutation("plain", WriteFile(CONFIG_NAME, b"[]")),), pains=("P27",),
)  # fmt: skip
CONFIG_ENCODING = Rule(
    "AF205", "config-encoding", "error", "CFG-1", "The config is not plain UTF-8",
    "A byte order mark or another encoding stops JSON readers at the first byte.",
    "Save the file as UTF-8 without a byte order mark.", "raises",
    (mutation("plain", ReplaceConfigText("{\n", b"\xef\xbb\xbf{\n")),),
    quotes=("Unexpected UTF-8 BOM (decode using utf-8-sig)",), pains=("P27",),
)  # fmt: skip
CONFIG_NOT_FINITE = Rule(
    "AF206", "config-not-finite", "error", "CFG-1", "The config holds NaN or an infinity",
    "JSON has no such numbers; PEFT's Python reader takes them, others fail, and no field means anything with them.",
    "Replace the value by the number that was meant.", "silent-wrong",
    (mutation("plain", ReplaceConfigText('"lora_alpha": 8', '"lora_alpha": NaN')),), pains=("P23", "P27"),
)  # fmt: skip
CONFIG_UNREADABLE = Rule(
    "AF207", "config-unreadable", "error", "DIR-5", "The config can't be opened",
    "It is a folder, a device, too long, or without permission.",
    "Put a regular, readable file in its place.", "raises", (mutation("plain", MakeFolder(CONFIG_NAME)),),
)  # fmt: skip

RULES = tuple(value for value in list(globals().values()) if isinstance(value, Rule))

_DOCUMENT_RULES = {
    "not-utf8": CONFIG_ENCODING,
    "bom": CONFIG_ENCODING,
    "duplicate-key": CONFIG_DUPLICATE_KEY,
    "not-finite": CONFIG_NOT_FINITE,
}


def check_document(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge the config as a JSON text."""
    listing = checkpoint.listing
    if listing is not None and not listing.unreadable and checkpoint.config_data is None:
        entry = listing.entries.get(CONFIG_NAME)
        if entry is None:
            yield CONFIG_MISSING.finding(f"The directory has no `{CONFIG_NAME}`.", [Location(CONFIG_NAME)])
        elif entry.kind != "file":
            what = "a folder" if entry.kind == "folder" else "no regular file"
            yield CONFIG_UNREADABLE.finding(f"`{CONFIG_NAME}` is {what}, expected a file.", [Location(CONFIG_NAME)])
    document = checkpoint.document
    if document is None:
        return
    lfs = (checkpoint.config_data or b"").startswith(b"version https://git-lfs")
    for defect in document.defects[:20]:
        rule = _DOCUMENT_RULES.get(defect.kind, CONFIG_NOT_JSON)
        place = Location(CONFIG_NAME, pointer=defect.pointer, offset=defect.offset, line=defect.line)
        if lfs:
            text = "The config is a Git LFS pointer, not the file itself."
            yield rule.finding(text, [place], mend="Run `git lfs pull`, or download the file from its hub.")
            return
        where = f"line {defect.line}, column {defect.column}"
        yield rule.finding(f"`{CONFIG_NAME}`, {where}: {defect.message}.".replace("..", "."), [place])
    if document.complete and checkpoint.config is None:
        found = type(document.value).__name__
        yield CONFIG_NOT_OBJECT.finding(
            f"The config is a JSON {found}, expected an object.", [Location(CONFIG_NAME, pointer="")]
        )


CHECKS = (check_document,)
