"""Values of config fields under which a condition of a layout holds, or does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter_format.conditions import is_set
from adapter_format.config_fields import newest_release
from adapter_format.testing.drawn_fields import switched_on, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hypothesis import strategies as st

    from adapter_format.layouts import Kind

ITEM = "item"


def switches(kind: Kind) -> frozenset[str]:
    """Return what must be set in the config for a kind to be chosen at all, conditions with their fields."""
    wanted = {f"{field} {condition!r}" for field, condition in kind.select.get("config", {}).items()}
    return frozenset([*wanted, *(kind.select.get(name, "") for name in ("path_contains_any", "path_ends_with_any"))])


def path_field(kind: Kind) -> str:
    """Return the config field that chooses a kind by path, "" if none does."""
    found: str = kind.select.get("path_contains_any") or kind.select.get("path_ends_with_any") or ""
    return found


def satisfying(schema: Mapping[str, Any], condition: Mapping[str, Any]) -> Any:
    """Return a value that a condition of a layout holds for."""
    if condition.get("set") is False or condition.get("given") is False:
        return False if may_be_type(schema, "boolean") else None
    if "in" in condition:
        return condition["in"][0]
    if "equals" in condition:
        return condition["equals"]
    return switched_on(schema)


def may_be_type(schema: Mapping[str, Any], name: str) -> bool:
    """Whether a field can have a value of that JSON type."""
    branches = (schema, *schema.get("anyOf", ()))
    return any(name in ([found] if isinstance(found := branch.get("type", ""), str) else found) for branch in branches)


def violating(schema: Mapping[str, Any], condition: Mapping[str, Any]) -> Any:
    """Return a value that a condition does not hold for; `...` if there is no simple one."""
    if condition.get("set") is True and may_be_type(schema, "boolean"):
        return False
    if condition.get("set") is False and may_be_type(schema, "boolean"):
        return True
    choices = [value for value in schema.get("enum", ()) if value not in condition.get("in", [condition.get("equals")])]
    return choices[0] if choices else ...


def called_for(draw: st.DrawFn, schema: Mapping[str, Any], condition: Mapping[str, Any], found: Any) -> Any:
    """Return a value that a condition of a constraint holds for, as far as its operators are simple."""
    if "matches" in condition:
        return newest_release()
    if "multiple_of" in condition and type(condition["multiple_of"]) is int and type(found) is int:
        return found * condition["multiple_of"]
    if condition in ({"given": True}, {"set": True}) and not may_be_type(schema, "boolean"):
        return draw(values_of(schema).filter(is_set))
    return satisfying(schema, condition)
