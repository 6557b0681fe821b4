"""The tiny condition language of the packaged data: what a config field must look like for something to apply.

A field name may lead into an object with a dot: `loftq_config.loftq_bits`.
"""

from __future__ import annotations

import functools
import re
from operator import ge, gt, le
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def is_set(value: object) -> bool:
    """Whether a field is switched on: present and none of null, false, empty string, empty list or empty object."""
    return value is not None and value is not False and value not in ("", [], {})


def lookup_in(config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> Callable[[str], Any]:
    """Return a function that finds a field's value by its name; an absent field has its default, else None."""
    absent = defaults or {}

    def find(name: str) -> Any:
        if "." not in name:
            return config[name] if name in config else absent.get(name)
        head, _, rest = name.partition(".")
        value = config.get(head, absent.get(head))
        for part in rest.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    return find


def all_hold(conditions: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> bool:
    """Whether every field named satisfies its condition; no conditions always hold."""
    return holds(conditions, lookup_in(config)) if conditions else True


def holds(conditions: Mapping[str, Mapping[str, Any]], find: Callable[[str], Any]) -> bool:
    """Whether the value of every field named satisfies all operators of its condition.

    Args:
        conditions: field name to operators: `equals`, `in`, `set`, `given`, `matches`, `type`, `names`, `lacks`,
            `overlaps`, `within`, `multiple_of`, `above`, `at_least`, `at_most`, `other_length`,
            `items_of_other_length`.
        find: gives the value of a field by name.

    Raises:
        KeyError: the packaged data names an operator that does not exist.
    """
    for name, condition in conditions.items():
        value = find(name)
        for operator, operand in condition.items():
            if not _OPERATORS[operator](operand, value, find):
                return False
    return True


def _same(operand: object, value: object) -> bool:
    return operand == value and isinstance(operand, bool) == isinstance(value, bool)


def _items(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, (list, dict)) else []


def _names(wanted: list[str], value: object) -> bool:
    return any(item == name or item.endswith(f".{name}") for item in _items(value) for name in wanted)


def _length(value: object) -> int | None:
    return len(value) if isinstance(value, (list, dict)) else None


def _amount(operand: float | str, find: Callable[[str], Any]) -> float | None:
    """Return a number, or that of a field, or what is left of one field after others are taken off.

    A list or object counts with its length.
    """
    if not isinstance(operand, str):
        return operand
    first, *rest = (_number(find(name)) for name in operand.split(" - "))
    try:
        return None if first is None else first - sum(number for number in rest if number is not None)
    except OverflowError:  # an integer beyond every float, less a float
        return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _length(value)
    return value


def _compares(
    compare: Callable[[float, float], bool], operand: float | str, value: object, find: Callable[[str], Any]
) -> bool:
    found, amount = _number(value), _amount(operand, find)
    return found is not None and amount is not None and compare(found, amount)


def _is_multiple(operand: int | str, value: object, find: Callable[[str], Any]) -> bool:
    divisor: object = _amount(operand, find)
    # A divisor that is none is the fault of its own field alone.
    return not isinstance(divisor, int) or divisor == 0 or (isinstance(value, int) and value % divisor == 0)


def _has_other_length(operand: int | str, value: object, find: Callable[[str], Any]) -> bool:
    length, amount = _length(value), _amount(operand, find)
    return length is not None and amount is not None and length != amount


def _has_items_of_other_length(operand: int | str, value: object, find: Callable[[str], Any]) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_has_other_length(operand, item, find) for item in items)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


_TYPES: dict[str, type] = {"string": str, "array": list, "object": dict, "boolean": bool, "integer": int}

_OPERATORS: dict[str, Callable[[Any, Any, Callable[[str], Any]], bool]] = {
    "equals": lambda operand, value, _: _same(operand, value),
    "in": lambda operand, value, _: any(_same(item, value) for item in operand),
    "set": lambda operand, value, _: is_set(value) is operand,
    "given": lambda operand, value, _: (value is not None) is operand,
    "matches": lambda operand, value, _: isinstance(value, str) and _compiled(operand).search(value) is not None,
    "type": lambda operand, value, _: isinstance(value, _TYPES[operand]),
    "names": lambda operand, value, _: _names(operand, value),
    "lacks": lambda operand, value, _: not _names(operand, value),
    "overlaps": lambda operand, value, find: not set(_items(value)).isdisjoint(_items(find(operand))),
    "within": lambda operand, value, find: set(_items(value)) <= set(_items(find(operand))),
    "multiple_of": _is_multiple,
    "above": functools.partial(_compares, gt),
    "at_least": functools.partial(_compares, ge),
    "at_most": functools.partial(_compares, le),
    "other_length": _has_other_length,
    "items_of_other_length": _has_items_of_other_length,
}
