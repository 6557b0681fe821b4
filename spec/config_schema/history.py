"""When fields, methods and values came and went: the releases of PEFT laid side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from classes import FieldText, Release

REFERENCE = "LORA"
"""The oldest method, from whose class the fields that every config has are taken."""

_TITLE = "Release history of the configs of PEFT"
_DESCRIPTION = (
    "Read from the config classes of every released wheel by spec/config_schema. `since` and `until` name the first "
    "and the last release; without `until`, a method is in the newest release, and a field lives as long as its "
    "method. `type` is the annotation, `default` the value of an absent field. Where either changed, `types` or "
    "`defaults` hold its values by the first release of each. `common` are the fields that every method has, each "
    "from its own first release or that of the method, whichever is later."
)


def history(releases: Mapping[str, Release]) -> dict[str, Any]:
    """Lay the releases side by side.

    Args:
        releases: by their names, in order.

    Raises:
        LookupError: something came back after it had gone, which the format of the history can't say.
    """
    names = list(releases)
    methods = {
        method: {name: release.methods[method] for name, release in releases.items() if method in release.methods}
        for method in _all(release.methods for release in releases.values())
    }
    options = {
        option: {name: release.options[option] for name, release in releases.items() if option in release.options}
        for option in _all(release.options for release in releases.values())
    }
    made = {
        option: {member: text.default for member, text in fields[names[-1]].items()}
        for option, fields in options.items()
    }
    newest = [found[list(found)[-1]] for found in methods.values()]
    shared = {name for name in methods[REFERENCE][names[-1]] if all(name in fields for fields in newest)}
    common = {name: field for name, field in _fields(methods[REFERENCE], made).items() if name in shared}
    return {
        "title": _TITLE,
        "description": _DESCRIPTION,
        "releases": names,
        "enums": {
            enum: {
                value: _span([name for name in names if value in releases[name].enums.get(enum, ())], names)
                for value in _all(release.enums.get(enum, ()) for release in releases.values())
            }
            for enum in _all(release.enums for release in releases.values())
            if enum != "PeftType"
        },
        "common": common,
        "methods": {
            method: _method(next(reversed(_classes_of(method, releases))), found, names, made, common)
            for method, found in methods.items()
        },
        "options": {
            option: {**_span(list(found), names), "fields": _fields(found, made)} for option, found in options.items()
        },
    }


def _all(groups: Iterable[Iterable[str]]) -> list[str]:
    """Return every name once, in the order of first appearance."""
    return list(dict.fromkeys(name for group in groups for name in group))


def _span(present: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    first, last = names.index(present[0]), names.index(present[-1])
    if list(present) != list(names[first : last + 1]):
        raise LookupError(f"came back: {present}")
    return {"since": present[0]} | ({"until": present[-1]} if present[-1] != names[-1] else {})


def _classes_of(method: str, releases: Mapping[str, Release]) -> list[str]:
    """Return the names that the config class of a method had."""
    return _all([release.names[method]] for release in releases.values() if method in release.names)


def _method(
    config_class: str,
    found: Mapping[str, Mapping[str, FieldText]],
    names: Sequence[str],
    made: Mapping[str, Any],
    common: Mapping[str, Any],
) -> dict[str, Any]:
    fields = _fields(found, made)
    own = {name: field for name, field in fields.items() if field != _cut(common.get(name), found, names)}
    return {"class": config_class, **_span(list(found), names), "fields": own}


def _cut(field: Mapping[str, Any] | None, found: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any] | None:
    """Return the history of a common field within the life of a method."""
    if field is None:
        return None
    life = list(found)
    texts = {
        name: (_at("type", field, name, names), _at("default", field, name, names))
        for name in life
        if names.index(name) >= names.index(field["since"])
    }
    return _field(texts, life) if texts else None


def _at(what: str, field: Mapping[str, Any], release: str, names: Sequence[str]) -> Any:
    value = field[what]
    for since, other in field.get(f"{what}s", {}).items():
        if names.index(since) <= names.index(release):
            value = other
    return value


def _fields(found: Mapping[str, Mapping[str, FieldText]], made: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the history of every field within the life of its class."""
    life = list(found)
    return {
        field: _field(
            {
                release: (fields[field].type, _as_made(fields[field].default, made))
                for release, fields in found.items()
                if field in fields
            },
            life,
        )
        for field in _all(found.values())
    }


def _as_made(default: Any, made: Mapping[str, Any]) -> Any:
    """Return a default; one that a dataclass makes is the object of its members' defaults."""
    return made[default[""]] if isinstance(default, dict) and "" in default else default


def _field(texts: Mapping[str, tuple[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    described: dict[str, Any] = _span(list(texts), names)
    newest = list(texts)[-1]
    for index, what in enumerate(("type", "default")):
        changes: dict[str, Any] = {}
        last: Any = ...
        for release, text in texts.items():
            if repr(text[index]) != repr(last):
                changes[release] = last = text[index]
        described[what] = texts[newest][index]
        if len(changes) > 1:
            described[f"{what}s"] = changes
    return described
