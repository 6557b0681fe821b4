"""Values that the config gives a module: a field's own, or that of an entry whose pattern matches the module's path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter_format.conditions import lookup_in
from adapter_format.config_fields import fields_of
from adapter_format.pattern_budget import Budget
from adapter_format.patterns import (
    PatternError,
    PatternKeys,
    PatternTooCostly,
    dotted_key_matches,
    found_anywhere,
    pattern_key_matches,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from adapter_format.layouts import Layout, Value

STEPS_FOR_ALL_PATHS = 2_000_000
"""What matching the patterns of one adapter may cost in all: under half a second."""

EXACT = "exact"
"""How the layouts call keys that are no patterns."""

MATCHING: dict[str, Callable[[str, str, Budget | None], bool]] = {
    "regex": pattern_key_matches,
    "dotted": dotted_key_matches,
    "search": found_anywhere,
    EXACT: lambda pattern, path, _: pattern == path,
}
"""How the keys of a table are matched with module paths; which of them a method uses stands in its layout."""

LARGEST_COUNT = 1 << 40
"""A larger number is no size, count or rank of anything; expressions need not cope with it."""


def settings_finder(layout: Layout, config: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return a function that finds a setting by name; an absent field has the default of the newest PEFT."""
    return lookup_in(config, {name: field.default for name, field in fields_of(layout.peft_type).items()})


def value_of(value: Value, found: Any) -> Any:
    """Turn what stands in the config into what expressions reckon with; None if it can't be that."""
    if value.take == "length":
        return len(found) if isinstance(found, (list, dict)) else None
    if value.take == "trues":
        return found.count(True) if isinstance(found, list) else value_of(value._replace(take="value"), found)
    if value.raw:
        return found if isinstance(found, (str, bool, int, float)) else None
    whole = isinstance(found, int) and not isinstance(found, bool)
    return found if whole and (0 if value.may_be_zero else 1) <= found <= LARGEST_COUNT else None


def values_by_path(value: Value, config: Mapping[str, Any], find: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a function that gives a module's value as it stands in the config.

    It is that of the first entry of a table that matches the module's path, else the field's own.

    Patterns that are no regex, or that can't be matched in bounded time, count as not matching; rules report them.

    Args:
        value: which field, which table, and how its keys are matched.
        config: the config.
        find: gives the value of a field by name.
    """
    usual = find(value.field)
    patterns = config.get(value.pattern) if value.pattern else None
    if not isinstance(patterns, dict) or not patterns:
        return lambda _: usual
    table: dict[str, Any] = patterns
    first = first_match(value, table)
    if value.key:
        return lambda path: table.get(value.key.replace("{path}", path), usual)

    def by_path(path: str) -> Any:
        pattern = first(path)
        return table[pattern] if pattern is not None else table.get(path, usual)

    return by_path


def first_match(value: Value, patterns: Mapping[str, Any]) -> Callable[[str], str | None]:
    """Return a function that gives the first key of a table that matches a path, or None."""
    matches = MATCHING[value.matching]
    sound = [pattern for pattern in patterns if _is_sound(pattern, matches)]
    budget = Budget(STEPS_FOR_ALL_PATHS)
    try:
        by_name = matches in (pattern_key_matches, dotted_key_matches)
        keys = PatternKeys(sound, behind_dot=matches is dotted_key_matches) if by_name else None
    except PatternTooCostly:
        return lambda _: None

    def first(path: str) -> str | None:
        try:
            if keys is not None:
                return keys.first(path, budget)
            return next((pattern for pattern in sound if matches(pattern, path, budget)), None)
        except (PatternError, PatternTooCostly):
            return None

    return first


def _is_sound(pattern: str, matches: Callable[[str, str, Budget | None], bool]) -> bool:
    try:
        matches(pattern, "", None)
    except (PatternError, PatternTooCostly):
        return False
    return True
