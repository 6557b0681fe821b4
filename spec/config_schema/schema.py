"""The JSON Schema of `adapter_config.json`, from the release history, the notes and what PEFT refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annotations import literal_values, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SHAPE = ("type", "enum", "anyOf", "$ref", "items", "additionalProperties")
_TEXT = ("title", "description")
_ORDER = (
    "title", "description", "x-expected", "type", "enum", "anyOf", "$ref", "pattern", "minLength", "minItems", "items",
    "additionalProperties", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "x-peft-enum-since",
    "default", "x-peft-since", "x-peft-until", "x-peft-refuses", "$comment",
)  # fmt: skip


def assemble(history: Mapping[str, Any], notes: Mapping[str, Any], refuses: Mapping[str, Any]) -> dict[str, Any]:
    """Put the schema together.

    Args:
        history: the release history.
        notes: `document`, `common`, `shared`, `methods` and `options`: titles, descriptions, bounds.
        refuses: method (or `common`) to field to `always`, `sometimes` or `never`.

    Raises:
        LookupError: a field has no words, or words are left over that no field has.
    """
    newest = history["releases"][-1]
    definitions: dict[str, Any] = {
        "common": {
            "title": "Fields of every method",
            "type": "object",
            "required": ["peft_type"],
            "properties": dict(_properties("common", history["common"], notes["common"], {}, refuses, history)),
        }
    }
    for method, entry in history["methods"].items():
        definitions[method] = _method(method, entry, newest, notes, refuses, history)
    for option, entry in history["options"].items():
        words = notes["options"][option]
        definitions[option] = {
            "title": words["title"],
            "description": words["description"],
            "type": "object",
            "properties": dict(_properties(option, entry["fields"], words["fields"], {}, None, history)),
            **words.get("more", {}),
        }
    definitions["peft_types"] = {
        **notes["peft_types"],
        "x-data": {
            method: {"since": entry["since"], "until": entry.get("until")}
            for method, entry in history["methods"].items()
        },
    }
    conditions = [_condition(method) for method in history["methods"]]
    return {**notes["document"], "x-peft-newest": newest, "type": "object",
            "allOf": [{"$ref": "#/$defs/common"}, *conditions], "$defs": definitions}  # fmt: skip


def _condition(method: str) -> dict[str, Any]:
    when = {"type": "object", "properties": {"peft_type": {"const": method}}, "required": ["peft_type"]}
    return {"if": when, "then": {"$ref": f"#/$defs/{method}"}}


def _method(
    method: str,
    entry: Mapping[str, Any],
    newest: str,
    notes: Mapping[str, Any],
    refuses: Mapping[str, Any],
    history: Mapping[str, Any],
) -> dict[str, Any]:
    words = notes["methods"][method]
    span = f"Fields of `{entry['class']}` in every release from {entry['since']} to {entry.get('until', newest)}."
    until = {"x-peft-until": entry["until"]} if "until" in entry else {}
    inherited = {name: said for name, said in words.get("like", {}).items() if name in entry["fields"]}
    said = {**inherited, **words["fields"]}
    surplus = said.keys() - entry["fields"].keys()
    if surplus:
        raise LookupError(f"{method} has no field {', '.join(sorted(surplus))}")
    return {
        "title": words["title"],
        "description": f"{words['description']} {span}",
        "x-peft-since": entry["since"],
        **until,
        "type": "object",
        "properties": dict(_properties(method, entry["fields"], said, notes["shared"], refuses, history)),
    }


def _properties(
    owner: str,
    fields: Mapping[str, Any],
    words: Mapping[str, Any],
    shared: Mapping[str, Any],
    refuses: Mapping[str, Any] | None,
    history: Mapping[str, Any],
) -> Iterator[tuple[str, dict[str, Any]]]:
    # The order of the notes is that of the schema; fields of which they say nothing special follow.
    for name in [*(name for name in words if name in fields), *(name for name in fields if name not in words)]:
        said = _said(shared.get(name, {}), words.get(name, {}))
        if "title" not in said:
            raise LookupError(f"no words for {owner}.{name}")
        found = _field(fields[name], said, owner, history)
        if refuses is not None:
            found["x-peft-refuses"] = _refused(owner, name, fields[name], refuses, history)
        yield name, {keyword: found[keyword] for keyword in sorted(found, key=_place)}


def _refused(
    owner: str, name: str, field: Mapping[str, Any], refuses: Mapping[str, Any], history: Mapping[str, Any]
) -> str:
    """Say how often the newest release refuses: whatever belongs to a method that is gone, no field that is gone."""
    if "until" in history["methods"].get(owner, {}):
        return "always"
    return "never" if "until" in field else str(refuses[owner][name])


def _said(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Join what is said of a field for all methods and for one; values are said in one place alone."""
    takes_over = not any(keyword in own for keyword in _SHAPE)
    return {**{keyword: value for keyword, value in shared.items() if takes_over or keyword in _TEXT}, **own}


def _place(keyword: str) -> int:
    return _ORDER.index(keyword)


def _field(field: Mapping[str, Any], said: Mapping[str, Any], owner: str, history: Mapping[str, Any]) -> dict[str, Any]:
    # `no-default` stands in the notes of a field that no reader does without.
    enums = {name: list(values) for name, values in history["enums"].items()}
    own = _filled({keyword: value for keyword, value in said.items() if keyword != "no-default"}, owner)
    derived = {} if any(keyword in own for keyword in _SHAPE) else schema_of(field["type"], enums)
    found = {**derived, **own}
    if "no-default" not in said:
        found["default"] = field["default"]
    found["x-peft-since"] = field["since"]
    if "until" in field:
        found["x-peft-until"] = field["until"]
    _date_values(found, field, history)
    return found


def _filled(value: Any, owner: str) -> Any:
    """Put the method's name, in lower case, where the notes leave room for it."""
    if isinstance(value, str):
        return value.replace("{method}", owner.lower())
    if isinstance(value, dict):
        return {name: _filled(member, owner) for name, member in value.items()}
    return [_filled(item, owner) for item in value] if isinstance(value, list) else value


def _date_values(found: dict[str, Any], field: Mapping[str, Any], history: Mapping[str, Any]) -> None:
    """Give every enumeration the first release of each of its values."""
    for branch in (found, *found.get("anyOf", ())):
        values = [value for value in branch.get("enum", ()) if isinstance(value, str)]
        if values:
            said = branch.get("x-peft-enum-since", {})
            first = {value: said.get(value) or _first(value, field, history) for value in values}
            later = {value: max(field["since"], since, key=history["releases"].index) for value, since in first.items()}
            branch["x-peft-enum-since"] = later


def _first(value: str, field: Mapping[str, Any], history: Mapping[str, Any]) -> str:
    for enum, values in history["enums"].items():
        if enum in field["type"] and value in values:
            return str(values[value]["since"])
    for since, annotation in field.get("types", {}).items():
        # A plain string may have been any of the words that a later annotation names.
        if value in literal_values(annotation) or annotation == "str":
            return str(since)
    return str(field["since"])
