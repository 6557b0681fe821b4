"""The packaged data: JSON Schemas, layouts and tables that any language can read."""

from __future__ import annotations

import functools
import json
import os
from typing import Any

from adapter_format.errors import UsageError

_SUFFIXES = (".schema.json", ".json")


def schema_names() -> tuple[str, ...]:
    """Return the names that `load_schema` takes, sorted: `adapter_config`, `layouts/lora`, ..."""
    return tuple(sorted(_files()))


@functools.cache
def load_schema(name: str) -> dict[str, Any]:
    """Return the parsed JSON of one packaged file.

    The object is shared by all callers: copy it before changing it.

    Raises:
        UsageError: there is no packaged file of that name.
    """
    loaded: dict[str, Any] = json.loads(schema_text(name))
    return loaded


def schema_text(name: str) -> str:
    """Return the text of one packaged file as it is stored.

    Raises:
        UsageError: there is no packaged file of that name.
    """
    path = _files().get(name)
    if path is None:
        known = ", ".join(schema_names())
        raise UsageError(f"There is no packaged schema {name!r:.100}; there are: {known}.")
    with open(path, encoding="utf-8") as file:
        return file.read()


@functools.cache
def _files() -> dict[str, str]:
    """Map each name to its file; names are only ever looked up here, so that none leads out of the folder."""
    folder = _folder()
    found = {}
    for parent, _, files in os.walk(folder):
        for file in files:
            path = os.path.join(parent, file)
            relative = os.path.relpath(path, folder).replace(os.sep, "/")
            suffix = next((suffix for suffix in _SUFFIXES if file.endswith(suffix)), None)
            if suffix is not None:
                found[relative.removesuffix(suffix)] = path
    return found


def _folder() -> str:
    """Return `schemas/` inside the package (as the wheel has it), or beside it (as the repository has it)."""
    package = os.path.dirname(os.path.abspath(__file__))
    inside = os.path.join(package, "schemas")
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), "schemas")
