"""What is known of the fields of a config: release history, defaults, near misses."""

from __future__ import annotations

import functools
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.packaged import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_COMMON = "common"
# A hostile config may hold names of any length; difflib is quadratic in it.
_LONGEST_NAME = 64


class Field(NamedTuple):
    """One field that some release of PEFT had.

    Attributes:
        name: the key in `adapter_config.json`.
        default: what PEFT takes when the key is absent; shared, not to be changed.
        since: first release with the field.
        until: last release with the field; None while the newest has it.
        title: a few words.
        refuses: how often the newest PEFT raises on a value that the schema calls invalid: `always`,
            `sometimes` or `never`. Where it does not, it reads the value in some way, mostly in silence.
    """

    name: str
    default: Any
    since: str
    until: str | None
    title: str
    refuses: str


class Method(NamedTuple):
    """A value of `peft_type`.

    Attributes:
        since: first release that knew it.
        until: last release that knew it; None while the newest does.
    """

    since: str
    until: str | None


@functools.cache
def fields_of(peft_type: str) -> Mapping[str, Field]:
    """Return the fields of a method, by name; of a method not described here, those that all have."""
    definitions = load_schema("adapter_config")["$defs"]
    described = [_COMMON, peft_type] if describes(peft_type) else [_COMMON]
    return MappingProxyType(
        {
            name: Field(
                name,
                schema.get("default"),
                schema["x-peft-since"],
                schema.get("x-peft-until"),
                schema["title"],
                schema["x-peft-refuses"],
            )
            for definition in described
            for name, schema in definitions[definition]["properties"].items()
        }
    )


def describes(peft_type: str) -> bool:
    """Whether the schema describes all fields of a method, so that an unknown field can be told."""
    return peft_type in known_peft_types() and peft_type in load_schema("adapter_config")["$defs"]


def methods_with(name: str) -> tuple[str, ...]:
    """Return the methods that have a field of their own of a name."""
    definitions = load_schema("adapter_config")["$defs"]
    return tuple(method for method in known_peft_types() if name in definitions.get(method, {}).get("properties", {}))


def nearest_field(name: str, peft_type: str) -> str | None:
    """Return the field of the method whose name is most like a misspelt one, or None if none is near."""
    from difflib import get_close_matches

    if len(name) > _LONGEST_NAME:
        return None
    known = fields_of(peft_type)
    folded = name.casefold().replace("-", "_")
    if folded in known and folded != name:
        return folded
    parts = [field for field in known if field.endswith(f"_{folded}") or folded.endswith(f"_{field}")]
    if len(parts) == 1:
        return parts[0]
    near = get_close_matches(folded, [field for field in known if field != name], n=1, cutoff=0.75)
    return near[0] if near else None


def nearest_method(name: str, known: Iterable[str]) -> str | None:
    """Return the method that a misspelt name most likely means; None for a name unlike any."""
    from difflib import get_close_matches

    near = get_close_matches(name[:_LONGEST_NAME].upper(), list(known), n=1, cutoff=0.85)
    return near[0] if near else None


@functools.cache
def known_peft_types() -> Mapping[str, Method]:
    """Return every value of `peft_type` that a release of PEFT knew, with its history."""
    data = load_schema("adapter_config")["$defs"]["peft_types"]["x-data"]
    return MappingProxyType({name: Method(method["since"], method["until"]) for name, method in data.items()})


@functools.cache
def values_since(field: str, peft_type: str) -> Mapping[str, str]:
    """Return the values of an enumerated field with the first release of each; empty for other fields."""
    definitions = load_schema("adapter_config")["$defs"]
    described = [_COMMON, peft_type] if describes(peft_type) else [_COMMON]
    for definition in described:
        schema = definitions[definition]["properties"].get(field)
        if schema is not None:
            branches = (schema, *schema.get("anyOf", ()))
            found = (branch["x-peft-enum-since"] for branch in branches if "x-peft-enum-since" in branch)
            return MappingProxyType(dict(next(found, {})))
    return MappingProxyType({})


def newest_release() -> str:
    """Return the newest release of PEFT that is described here."""
    newest: str = load_schema("adapter_config")["x-peft-newest"]
    return newest


def value_since(field: str, peft_type: str, value: object) -> str | None:
    """Return the first release that knew a word as value of a field; None if nothing is known of it."""
    if not isinstance(value, str):
        return None
    since = values_since(field, peft_type).get(value)
    if since is not None:
        return since
    definitions = load_schema("adapter_config")["$defs"]
    for definition in [_COMMON, peft_type] if describes(peft_type) else [_COMMON]:
        for branch in definitions[definition]["properties"].get(field, {}).get("anyOf", ()):
            if "pattern" in branch and "x-peft-since" in branch and re.search(branch["pattern"], value):
                dated: str = branch["x-peft-since"]
                return dated
    return None
