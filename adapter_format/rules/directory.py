"""6xx: the directory. What lies beside config and weights, and what must not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from adapter_format.config import CONFIG_NAME, LEGACY_WEIGHTS_NAME, WEIGHTS_NAME
from adapter_format.findings import Finding, Location
from adapter_format.rules.edits import CopyFile, DenyReading, LinkFile, WriteFile, mutation
from adapter_format.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter_format.checkpoint import Checkpoint
    from adapter_format.storage.directory import Entry, Listing

_REMOVE = "Remove the file; no reader of the adapter needs it."

LINK_LEAVES = Rule(
    "AF601", "link-leaves-directory", "error", "DIR-5", "A symbolic link leads out of the adapter",
    "Following it reads a file that the sender of the adapter chose on the reader's machine.",
    "Replace the link by the file itself.", "silent-ok",
    (mutation("plain", LinkFile(WEIGHTS_NAME)), mutation("plain", LinkFile(CONFIG_NAME), name="config")),
    note="Links of a model hub's local cache (`snapshots/` to `blobs/` of the same repository) are no finding. An error because it is unsafe.",
)  # fmt: skip
CODE_BESIDE = Rule(
    "AF602", "code-beside-adapter", "warning", "DIR-6", "Code lies beside the adapter",
    "An adapter is data. Programs and scripts beside it are run by readers that trust remote code, or by a person by mistake.",
    "Remove the file, or publish code apart from the adapter.", "silent-ok",
    (mutation("plain", WriteFile("modeling_custom.py", b"print('hello')\n")),
     mutation("plain", WriteFile("install.sh", b"#!/bin/sh\n", 0o755), name="script")),
)  # fmt: skip
PICKLE_BESIDE = Rule(
    "AF603", "pickle-beside-adapter", "warning", "DIR-6", "A pickle lies beside the adapter",
    "Unpickling can run code; `training_args.bin` and the like are left by trainers and needed by nobody.",
    _REMOVE, "silent-ok",
    (mutation("plain", WriteFile("training_args.bin", b"\x80\x04.")), mutation("plain", WriteFile("data.pkl", b"\x80\x04."), name="pkl")),
)  # fmt: skip
TRAINING_STATE = Rule(
    "AF604", "training-state", "info", "DIR-6", "State of a training run lies beside the adapter",
    "Optimizer and scheduler states are larger than the adapter and of no use for loading it.",
    _REMOVE, "silent-ok", (mutation("plain", WriteFile("optimizer.pt", b"PK\x03\x04")),), pains=("P13", "P19"),
)  # fmt: skip
SUB_ADAPTER = Rule(
    "AF605", "sub-adapter", "info", "DIR-2", "Further adapters in sub-folders",
    "PEFT stores every adapter but `default` in a folder of its name; each is judged by itself.",
    "If it is meant, load one of them with `subfolder=`; otherwise remove the folder.", "silent-ok",
    (mutation("plain", CopyFile(CONFIG_NAME, f"other/{CONFIG_NAME}"), CopyFile(WEIGHTS_NAME, f"other/{WEIGHTS_NAME}")),),
)  # fmt: skip
SEVERAL_CANDIDATES = Rule(
    "AF606", "several-candidates", "warning", "DIR-2", "Several checkpoints of one run in one directory",
    "It is not clear which one is meant; some tools take the last, others the top folder.",
    "Publish one adapter; remove the `checkpoint-*` folders.", "silent-ok",
    (mutation("plain", CopyFile(CONFIG_NAME, f"checkpoint-10/{CONFIG_NAME}"), CopyFile(WEIGHTS_NAME, f"checkpoint-10/{WEIGHTS_NAME}")),),
    pains=("P19",),
)  # fmt: skip
UNREADABLE = Rule(
    "AF607", "unreadable", "error", "DIR-5", "A part of the adapter may not be read",
    "The permissions keep the reader out: nothing can be said of the content.",
    "Give read permission, e.g. `chmod u+r` on the file.", "raises",
    (mutation("plain", DenyReading(WEIGHTS_NAME)), mutation("plain", DenyReading(CONFIG_NAME), name="config")),
    quotes=("Permission denied",), pains=("P18",),
)  # fmt: skip
CASE_COLLISION = Rule(
    "AF608", "names-differ-by-case", "warning", "DIR-7", "Names that differ in case only",
    "On file systems that ignore case, one of the files replaces the other.",
    "Rename or remove one of them.", "silent-ok",
    (mutation("plain", WriteFile("Adapter_Config.json", b"{}")),),
)  # fmt: skip
BASE_MODEL_BESIDE = Rule(
    "AF609", "base-model-beside", "warning", "DIR-1", "A whole model lies beside the adapter",
    "Loaders can't tell whether the directory is a model or an adapter: some load one, some the other, some refuse.",
    "Publish model and adapter in two directories.", "silent-ok",
    (mutation("plain", WriteFile("config.json", b'{"model_type": "llama"}'), WriteFile("model.safetensors", b"\x02\0\0\0\0\0\0\0{}")),),
    quotes=("Your repo has a LoRA adapter and a base model",), pains=("P18", "P19"),
)  # fmt: skip
NOT_A_FILE = Rule(
    "AF610", "not-a-regular-file", "error", "DIR-5", "A device, a FIFO, a socket or a dangling link",
    "Opening one can hang a reader or act on the machine.", "Remove it.", "unknown", (),
)  # fmt: skip
UNFINISHED_SAVE = Rule(
    "AF611", "unfinished-save", "warning", "DIR-8", "Temporary files of a save that did not finish",
    "The process was stopped while it saved; the adapter in place may be the one before.",
    "Remove the temporary file, and save again if the adapter is not the one expected.", "silent-ok",
    (mutation("plain", WriteFile(".adapter_model.safetensors.k3jd82.tmp", b"")),), pains=("P17",),
)  # fmt: skip
HOSTILE_NAME = Rule(
    "AF612", "hostile-file-name", "warning", "DIR-7", "A file name with control characters",
    "Such a name can forge lines in a log, move a terminal's cursor or hide what it is.",
    "Rename or remove the file.", "silent-ok", (mutation("plain", WriteFile("a\x1b[31mb", b"")),),
)  # fmt: skip
TOO_MANY_ENTRIES = Rule(
    "AF613", "too-many-entries", "error", "DIR-6", "More files than any adapter has",
    "A directory of so many names is no adapter; listing it costs every reader time.",
    "Publish the adapter alone.", "unknown", (), note="A bound of this tool: `Limits(directory_entries=...)`.",
)  # fmt: skip

ADAPTER_NAME_COLLISION = Rule(
    "AF614", "adapter-name-collision", "warning", "DIR-2", "A sub-adapter whose name is a part of module paths",
    "PEFT removes the keys of other adapters by searching for their names: with an adapter called `0`, every key of "
    "layer 0 is lost from the adapter beside it, in silence.",
    "Give the adapter another name and save all of them again.", "silent-ok",
    (mutation("plain", CopyFile(CONFIG_NAME, f"0/{CONFIG_NAME}"), CopyFile(WEIGHTS_NAME, f"0/{WEIGHTS_NAME}")),),
    pains=("P26",), note="A known bug of PEFT up to 0.21.2.",
)  # fmt: skip

RULES = tuple(value for value in list(globals().values()) if isinstance(value, Rule))

_CODE = (".py", ".pyc", ".sh", ".bash", ".bat", ".cmd", ".ps1", ".exe", ".dll", ".so", ".dylib", ".js", ".jar", ".pyd")
_PICKLES = (".pkl", ".pickle", ".joblib", ".dill")
_TRAINING = re.compile(
    r"^(optimizer|scheduler|scaler|rng_state.*)\.(pt|pth|bin|safetensors)$|^trainer_state\.json$|^global_step\d+$|"
    r"^(pytorch_model_fsdp|optimizer)_?\d*(\.bin)?$|^latest$|^zero_to_fp32\.py$|_optim_states\.pt$|_model_states\.pt$"
)
_CHECKPOINT = re.compile(r"^checkpoint-\d+$")
_TEMPORARY = re.compile(r"^\.(adapter_config\.json|adapter_model\.\w+)\..+\.tmp$|^\.tmp\w{6}$")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MODEL_WEIGHTS = re.compile(r"^(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?$")


def check_directory(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge every name of the directory."""
    listing = checkpoint.listing
    if listing is None:
        return
    if listing.unreadable:
        yield UNREADABLE.finding(
            f"The directory can't be listed: {listing.unreadable}.",
            [Location()],
            mend="Give read permission on the directory.",
        )
        return
    if listing.truncated:
        yield TOO_MANY_ENTRIES.finding(f"The directory has more than {len(listing.entries):,} entries.", [Location()])
    for rule, test, say in _BY_NAME:
        found = [entry for entry in listing.entries.values() if test(entry)]
        if found:
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            yield rule.finding(f"{found[0].name!r}{more} {say}", [Location(entry.name) for entry in found])
    yield from _check_unreadable(checkpoint, listing)
    yield from _check_case(listing)
    if "config.json" in listing.entries:
        weights = [name for name in listing.entries if _MODEL_WEIGHTS.match(name)]
        if weights and listing.file(WEIGHTS_NAME):
            text = f"`config.json` and {weights[0]!r} of a whole model lie beside the adapter."
            yield BASE_MODEL_BESIDE.finding(text, [Location("config.json"), *map(Location, weights)])


def _is_code(entry: Entry) -> bool:
    if entry.kind != "file" or _TRAINING.search(entry.name):
        return False
    return entry.name.lower().endswith(_CODE) or (
        entry.executable and not _is_part(entry.name) and "." not in entry.name[1:]
    )


def _is_part(name: str) -> bool:
    return name in (CONFIG_NAME, WEIGHTS_NAME, LEGACY_WEIGHTS_NAME)


def _is_pickle(entry: Entry) -> bool:
    name = entry.name.lower()
    return entry.kind == "file" and (name == "training_args.bin" or name.endswith(_PICKLES))


_BY_NAME = (
    (LINK_LEAVES, lambda entry: entry.leaves, "is a link out of the adapter; it was not followed."),
    (CODE_BESIDE, _is_code, "is code, which no adapter needs."),
    (PICKLE_BESIDE, _is_pickle, "is a pickle, which can run code when it is loaded."),
    (TRAINING_STATE, lambda entry: _TRAINING.search(entry.name) is not None, "is state of a training run."),
    (
        NOT_A_FILE,
        lambda entry: entry.kind == "other" and not entry.leaves and not _is_part(entry.name),
        "is neither a file nor a folder.",
    ),
    (
        UNFINISHED_SAVE,
        lambda entry: _TEMPORARY.match(entry.name) is not None,
        "was left by a save that did not finish.",
    ),
    (HOSTILE_NAME, lambda entry: _CONTROL.search(entry.name) is not None, "has control characters in its name."),
)


def _check_unreadable(checkpoint: Checkpoint, listing: Listing) -> Iterator[Finding]:
    for name, content in ((CONFIG_NAME, checkpoint.config_data), (WEIGHTS_NAME, checkpoint.header)):
        if listing.file(name) and content is None:
            yield UNREADABLE.finding(f"`{name}` may not be read.", [Location(name)])


def _check_case(listing: Listing) -> Iterator[Finding]:
    folded: dict[str, list[str]] = {}
    for name in listing.entries:
        folded.setdefault(name.casefold(), []).append(name)
    for names in folded.values():
        if len(names) > 1:
            text = f"{' and '.join(map(repr, names[:4]))} differ in case only."
            yield CASE_COLLISION.finding(text, [Location(name) for name in names])


def check_sub_adapters(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Say which sub-folders hold adapters of their own."""
    folders = checkpoint.sub_adapters
    checkpoints = [name for name in folders if _CHECKPOINT.match(name)]
    others = [name for name in folders if name not in checkpoints]
    if checkpoints:
        text = (
            f"Adapters in checkpoint folders too ({len(checkpoints)}): {checkpoints[0]!r} and so on."
            if len(checkpoints) > 1
            else f"The folder {checkpoints[0]!r} holds an adapter too."
        )
        yield SEVERAL_CANDIDATES.finding(text, [Location(name) for name in checkpoints])
    numbered = [name for name in others if name.isdigit()]
    if numbered:
        text = (
            f"A sub-adapter is called {numbered[0]!r}, which is also a part of numbered module paths: PEFT loses keys "
            f"with `.{numbered[0]}.` of the other adapters when it saves them together."
        )
        others = [name for name in others if name not in numbered]
        yield ADAPTER_NAME_COLLISION.finding(text, [Location(name) for name in numbered])
    if others:
        text = f"Adapters in sub-folders ({len(others)}): {', '.join(map(repr, others[:6]))}."
        yield SUB_ADAPTER.finding(text, [Location(name) for name in others])


CHECKS = (check_directory, check_sub_adapters)
