"""The text of a config without some of its fields, laid out as it was, so that a difference shows nothing else."""

from __future__ import annotations

import itertools
import json
from typing import Any

_INDENTS: tuple[int | str | None, ...] = (2, 4, 1, 3, "\t", None)


def without_fields(text: str, fields: frozenset[str]) -> str:
    """Return the text of a config without some top-level fields; the text itself if it holds none of them.

    The layout is kept where Python's `json.dumps` can make it; any other becomes that of PEFT: two spaces, no final
    newline.

    Args:
        text: JSON, an object without doubled names.
        fields: names of the fields to leave out.
    """
    value: dict[str, Any] = json.loads(text)
    kept = {name: member for name, member in value.items() if name not in fields}
    if len(kept) == len(value):
        return text
    end = text[len(text.rstrip()) :]
    for indent, escaped in itertools.product(_INDENTS, (True, False)):
        if json.dumps(value, indent=indent, ensure_ascii=escaped) == text.rstrip():
            return json.dumps(kept, indent=indent, ensure_ascii=escaped) + end
    return json.dumps(kept, indent=2)
