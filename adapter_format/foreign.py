"""Spellings of other methods and other writers, told by name from `schemas/foreign_keys.json`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.packaged import load_schema

if TYPE_CHECKING:
    from collections.abc import Mapping


class Foreign(NamedTuple):
    """Where a key or a config comes from.

    Attributes:
        kind: `method` for another PEFT method, `writer` for another program.
        name: its name.
        mend: what to do, as one sentence.
    """

    kind: str
    name: str
    mend: str


@functools.cache
def _table() -> Mapping[str, Any]:
    return load_schema("foreign_keys")


def foreign_spelling(key: str, peft_type: str) -> Foreign | None:
    """Tell whose spelling a key is, if it is a known one that does not belong to `peft_type`."""
    for writer in _table()["writers"]:
        spelled = (
            key.startswith(tuple(writer["starts_with"]))
            or key.endswith(tuple(writer.get("ends_with", ())))
            or any(part in key for part in writer["contains"])
        )
        if spelled and not (writer["name"] == "loralib" and key.startswith("base_model.model.")):
            return Foreign("writer", writer["name"], writer["mend"])
    for method in _table()["methods"]:
        if method["name"] != peft_type and any(
            key == suffix or key.endswith(f".{suffix}") for suffix in method["ends_with"]
        ):
            mend = f"Set `peft_type` to {method['name']} if that is the method, or remove the tensors."
            return Foreign("method", method["name"], mend)
    return None


def foreign_config(config: Mapping[str, Any]) -> Foreign | None:
    """Tell whose config a JSON object is, if it has the fields of another program and no `peft_type`."""
    if "peft_type" in config:
        return None
    for writer in _table()["config_fields"]:
        if any(field in config for field in writer["any"]):
            return Foreign("writer", writer["name"], writer["mend"])
    return None
