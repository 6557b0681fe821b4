"""JSON for people: what fits on a line stands on one."""

from __future__ import annotations

import json
from typing import Any

WIDTH = 120


def json_text(value: Any) -> str:
    """Write a value as JSON with two spaces of indentation and short objects and arrays on one line."""
    return _written(value, "", 0) + "\n"


def _written(value: Any, indent: str, taken: int) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or not value or len(indent) + taken + len(line) <= WIDTH:
        return line
    inner = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + _written(item, inner, 1) for item in value) + f"\n{indent}]"
    members = []
    for name, member in value.items():
        key = json.dumps(name, ensure_ascii=False) + ": "
        members.append(inner + key + _written(member, inner, len(key) + 1))
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"
