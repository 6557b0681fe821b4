"""Spellings of other methods, told by their layouts, and of other writers, told by `schemas/foreign_keys.json`."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.keys import pattern_of
from adapter_format.layouts import auxiliary, suffixes_by_method
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
        if spelled and not key.startswith(tuple(writer.get("starts_never_with", ()))):
            return Foreign("writer", writer["name"], writer["mend"])
    for name, pattern in _spellings().items():
        if name != peft_type and pattern.fullmatch(key):
            mend = f"Set `peft_type` to {name} if that is the method, or remove the tensors."
            return Foreign("method", name, mend)
    return None


@functools.cache
def _spellings() -> Mapping[str, re.Pattern[str]]:
    """Return what the keys of each method end with, as regexes by name; the usual method first."""
    former = {entry["name"]: entry["ends_with"] for entry in _table()["former_spellings"]}
    endings = {name: [*suffixes, *former.get(name, ())] for name, suffixes in suffixes_by_method().items()}
    first = sorted(endings, key=lambda name: (name != auxiliary().usual_method, name))
    return {
        name: re.compile(rf"(?:.*\.)?(?:{'|'.join(pattern_of(suffix) for suffix in endings[name])})", re.DOTALL)
        for name in first
    }


def foreign_config(config: Mapping[str, Any]) -> Foreign | None:
    """Tell whose config a JSON object is, if it has the fields of another program and no `peft_type`."""
    if "peft_type" in config:
        return None
    for writer in _table()["config_fields"]:
        if any(field in config for field in writer["any"]):
            return Foreign("writer", writer["name"], writer["mend"])
    return None
