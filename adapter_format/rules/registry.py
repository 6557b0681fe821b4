"""All rules and checks, in the order in which they run."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from adapter_format.errors import UsageError
from adapter_format.rules import (
    companions,
    config,
    consumers,
    container,
    directory,
    document,
    keys,
    patterns,
    shapes,
    targeting,
    values,
)

if TYPE_CHECKING:
    from adapter_format.rules.rule import Rule

_FAMILIES = (container, document, config, keys, companions, targeting, patterns, shapes, values, directory, consumers)

HEADER_CHECKS = tuple(check for family in _FAMILIES if family is not values for check in family.CHECKS)
DATA_CHECK = values.check_values


@functools.cache
def all_rules() -> tuple[Rule, ...]:
    """Return every rule, by id."""
    return tuple(sorted((rule for family in _FAMILIES for rule in family.RULES), key=lambda rule: rule.id))


def find_rule(name: str) -> Rule:
    """Return the rule of an id or a slug.

    Raises:
        UsageError: there is none.
    """
    wanted = name.strip().lower().replace("_", "-")
    for rule in all_rules():
        if wanted in (rule.id.lower(), rule.slug):
            return rule
    from difflib import get_close_matches

    names = [text for rule in all_rules() for text in (rule.id.lower(), rule.slug)]
    near = get_close_matches(wanted[:80], names, 1)
    hint = (
        f" Did you mean {near[0].upper() if near[0].startswith('af') else near[0]}?"
        if near
        else " `adapter-format rules` lists them."
    )
    raise UsageError(f"There is no rule {name[:80]!r}.{hint}")
