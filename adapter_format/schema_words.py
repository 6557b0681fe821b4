"""Words for what a JSON Schema wants and for what was found instead."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_LONGEST = 60
_MANY = 8

_TYPE_WORDS = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "null": "null",
}


def pointer_of(path: Sequence[str | int]) -> str:
    """Return the JSON pointer (RFC 6901) of a path; the empty string for the document."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def short_value(value: object) -> str:
    """Return a value as ASCII JSON of at most 60 characters, with "..." in place of the rest."""
    if isinstance(value, str):
        # Cut before quoting: a hostile string may be megabytes long.
        text = json.dumps(value[:_LONGEST])
    elif isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        text = f"an integer of {value.bit_length()} bits"
    elif isinstance(value, (list, Mapping)):
        many = f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
        text = many if len(value) > _MANY else _short_json(value)
    else:
        text = json.dumps(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _short_json(value: list[Any] | Mapping[str, Any]) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_leaf(item) for item in value) + "]"
    members = (f"{short_value(str(name))}: {_leaf(item)}" for name, item in value.items())
    return "{" + ", ".join(members) + "}"


def _leaf(value: object) -> str:
    if isinstance(value, list):
        return "[...]" if value else "[]"
    if isinstance(value, Mapping):
        return "{...}" if value else "{}"
    return short_value(value)


def words_for(keyword: object, schema: Mapping[str, Any], found: object, root: Mapping[str, Any]) -> str:
    """Return what `schema` wants where `found` breaks its `keyword`, as words that go on from "expected"."""
    if keyword == "required" and isinstance(found, Mapping):
        missing = [name for name in schema["required"] if name not in found]
        return "the field " + " and ".join(missing)
    if keyword == "additionalProperties" and isinstance(found, Mapping):
        return "only the members " + ", ".join(schema.get("properties", ()))
    return describe(schema, root)


def describe(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Return what a schema accepts, as a few words such as "an integer of at least 1"."""
    if "x-expected" in schema:
        return str(schema["x-expected"])
    if "$ref" in schema:
        return describe(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return _or([describe(branch, root) for branch in schema["anyOf"]])
    if "enum" in schema:
        return _or([value if isinstance(value, str) else json.dumps(value) for value in schema["enum"]])
    names = schema.get("type", "value")
    listed = [names] if isinstance(names, str) else names
    return _or([word for name in listed for word in _describe_type(name, schema, root)])


def _describe_type(name: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    words = _TYPE_WORDS.get(name, name)
    if name == "boolean":
        return ["true", "false"]
    if name in ("integer", "number"):
        return [words + _range(schema)]
    if name == "string" and schema.get("minLength"):
        return ["a string that is not empty"]
    if name == "array":
        words = "a list that is not empty" if schema.get("minItems") == 1 else words
        return [f"{words} (each item {describe(schema['items'], root)})" if "items" in schema else words]
    if name == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return [f"{words} (each value {describe(schema['additionalProperties'], root)})"]
    return [words]


def _range(schema: Mapping[str, Any]) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']} to {schema['maximum']}"
    words = []
    if "minimum" in schema:
        words.append(f"of at least {schema['minimum']}")
    if "exclusiveMinimum" in schema:
        words.append(f"above {schema['exclusiveMinimum']}")
    if "exclusiveMaximum" in schema:
        words.append(f"below {schema['exclusiveMaximum']}")
    return f" {' and '.join(words)}" if words else ""


def _or(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]
