"""Writing a checkpoint: refused before a byte is written if it would be wrong, and visible as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from adapter_format.config import CONFIG_NAME, WEIGHTS_NAME, AdapterConfig
from adapter_format.config_fields import fields_of
from adapter_format.errors import RefusedError, UsageError
from adapter_format.layouts import layout_of
from adapter_format.storage.atomic import publish
from adapter_format.validator import judge

_METADATA = {"format": "pt"}


def save(path: str | os.PathLike[str], tensors: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors` into a directory.

    Config, keys, shapes and element types are judged before anything is written; values are not looked at, so that NaN
    is stored as it stands (`validate` with `data=True` finds it).

    The bytes depend on the input alone. A reader of the directory sees the adapter that was there before, the new
    one, or a directory without config, which `validate` reports; a save that fails leaves what was there.

    Args:
        path: the adapter's directory; made if it does not exist.
        tensors: key on disk to array: NumPy, or anything with `__array__`, DLPack or the buffer protocol.
        config: an `AdapterConfig` or a mapping of its fields. Fields that every reader needs are written with
            their defaults when they are absent.

    Raises:
        RefusedError: `validate` would call the result an error at header level; nothing was written.
        UsageError: a tensor or the config can't be stored.
        SaveError: the operating system refused.
    """
    from adapter_format.storage.arrays import as_array
    from adapter_format.storage.safetensors_writer import plan, write

    if not os.fspath(path):
        raise UsageError("The path to save to is empty, expected a directory.")
    for what, given in (("tensors", tensors), ("config", config)):
        if not isinstance(given, Mapping):
            raise UsageError(f"The {what} are a {type(given).__name__}, expected a mapping.")
    complete = completed(config)
    text = complete.to_json().encode("utf-8")
    planned = plan({name: as_array(name, value) for name, value in tensors.items()}, _METADATA)
    stored = AdapterConfig.from_json(text)
    findings = judge(stored, {info.name: info for info, _ in planned.tensors})
    errors = tuple(finding for finding in findings if finding.severity == "error")
    if errors:
        first = errors[0]
        more = f" ({len(errors) - 1} more errors)" if len(errors) > 1 else ""
        raise RefusedError(f"Not saved, {first.rule} {first.name}: {first.message} {first.mend}{more}", errors)

    def write_config(file: BinaryIO) -> None:
        file.write(text)

    def write_weights(file: BinaryIO) -> None:
        write(file, planned)

    publish(Path(os.fspath(path)), [(WEIGHTS_NAME, write_weights), (CONFIG_NAME, write_config)], hide=CONFIG_NAME)


def save_all(path: str | os.PathLike[str], adapters: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Write several adapters as PEFT lays them out: `default` into the directory, each other into a sub-folder.

    Args:
        path: the directory.
        adapters: adapter name to `(tensors, config)`.

    Raises:
        UsageError: a name can't be a folder's.
        RefusedError: an adapter would be an error; those before it were written.
    """
    for name in adapters:
        if name in ("", ".", "..") or any(character in name for character in "/\\\0:") or not name.isprintable():
            raise UsageError(f"The adapter name {name[:80]!r} can't be the name of a folder.")
    for name, (tensors, config) in adapters.items():
        save(path if name == "default" else os.path.join(os.fspath(path), name), tensors, config)


def completed(config: Mapping[str, Any]) -> AdapterConfig:
    """Add what every reader needs: the fields that PEFT always writes and other loaders look up without a default."""
    method = config.get("peft_type")
    layout = layout_of(method) if isinstance(method, str) else None
    known = fields_of(method) if isinstance(method, str) else {}
    fields: dict[str, Any] = {"base_model_name_or_path": None, "inference_mode": True, "task_type": None}
    for name in layout.written_always if layout is not None else ():
        if name in known:
            fields[name] = known[name].default
    return AdapterConfig({**fields, **config})
