"""Config fields drawn from the schema: values that it accepts, whatever they mean together."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from adapter_format.config_fields import fields_of
from adapter_format.packaged import load_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    Values = st.SearchStrategy[Any]

_LETTERS = "abcdefgh_äß.*\\\"'/ ~0123"
_NAMES = st.text(_LETTERS, max_size=8)

ANY_JSON: Values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
"""Any value that JSON can hold; NaN and infinities, which it can't, are left out."""


def field_schemas(peft_type: str) -> dict[str, Mapping[str, Any]]:
    """Return the schema of every field of a method that the newest PEFT knows, by name, without `peft_type`."""
    definitions = load_schema("adapter_config")["$defs"]
    found = {
        name: schema
        for definition in ("common", peft_type)
        for name, schema in definitions[definition]["properties"].items()
        if "x-peft-until" not in schema and name != "peft_type"
    }
    return dict(sorted(found.items()))


@functools.cache
def field_values(peft_type: str) -> dict[str, Values]:
    """Return a strategy for the values of every field that the newest PEFT knows, by name."""
    return {name: values_of(schema) for name, schema in field_schemas(peft_type).items()}


def defaults_of(peft_type: str) -> dict[str, Any]:
    """Return every field with its default, as PEFT writes them out."""
    known = fields_of(peft_type)
    return {name: known[name].default for name in field_schemas(peft_type)}


def switched_on(schema: Mapping[str, Any]) -> Any:
    """Return the simplest value of a field that switches it on: true, or an object of its members' defaults.

    None if the field can't be switched on so.
    """
    for branch in (schema, *schema.get("anyOf", ())):
        resolved = _resolve(branch)
        names = resolved.get("type", ())
        if "boolean" in ([names] if isinstance(names, str) else names):
            return True
        if "properties" in resolved:
            return {name: member.get("default") for name, member in resolved["properties"].items()}
    return None


def _resolve(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = load_schema("adapter_config")["$defs"][schema["$ref"].rpartition("/")[2]]
    return found


def values_of(schema: Mapping[str, Any]) -> Values:
    """Return a strategy for the values that a schema accepts, for the keywords that the packaged schema uses."""
    schema = _resolve(schema)
    if "anyOf" in schema:
        return st.one_of([values_of(branch) for branch in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of([_values_of_type(name, schema) for name in names])


def _values_of_type(name: str, schema: Mapping[str, Any]) -> Values:
    match name:
        case "integer" | "number":
            return _numbers(name, schema)
        case "array":
            items = values_of(schema.get("items", {"type": "null"}))
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=schema.get("maxItems", 3))
        case "object" if "properties" in schema:
            members = {key: values_of(member) for key, member in schema["properties"].items()}
            return st.fixed_dictionaries({}, optional=members)
        case "object":
            rest = schema.get("additionalProperties")
            return st.dictionaries(_NAMES, values_of(rest) if rest else ANY_JSON, max_size=3)
        case "string":
            return st.text(_LETTERS, min_size=schema.get("minLength", 0), max_size=8)
        case "boolean":
            return st.booleans()
        case _:
            return st.none()


def _numbers(name: str, schema: Mapping[str, Any]) -> Values:
    above = schema.get("exclusiveMinimum")
    below = schema.get("exclusiveMaximum")
    low, high = schema.get("minimum", above), schema.get("maximum", below)
    least, most = low if above is None else above + 1, high if below is None else math.ceil(below) - 1
    whole = st.integers(least, most) if least is None or most is None or least <= most else st.nothing()
    if name == "integer":
        return whole
    fractions = st.floats(
        low,
        high,
        exclude_min=above is not None,
        exclude_max=below is not None,
        allow_nan=False,
        allow_infinity=False,
    )
    return whole | fractions
