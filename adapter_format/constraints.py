"""Config fields that exclude or need each other, from the tables in `schemas/layouts/`.

A method has a table of its own, `<method>.constraints.json`. What several methods have in common stands once, in
`shared.constraints.json`, with the methods that it was measured for. An entry with `from` takes what it does not say
itself from the entry of the same id in the table of that method.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.conditions import holds, lookup_in
from adapter_format.config_fields import fields_of, known_peft_types
from adapter_format.packaged import load_schema, schema_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from adapter_format.findings import PeftBehaviour

_SHARED = "layouts/shared.constraints"


class Constraint(NamedTuple):
    """One constraint.

    Attributes:
        id: name in kebab case.
        kind: `excludes`: broken where both sides hold; `needs`: broken where `when` holds and `other` does not.
        when: the conditions that call the constraint up; none: always.
        other: the conditions that are excluded or needed.
        why: the reason, one sentence.
        mend: what to do, one sentence.
        peft: what the newest PEFT was measured to do.
        differs: whether the adapter, where it loads, computes something else than was saved.
    """

    id: str
    kind: str
    when: Mapping[str, Mapping[str, Any]]
    other: Mapping[str, Mapping[str, Any]]
    why: str
    mend: str
    peft: PeftBehaviour
    differs: bool

    @property
    def fields(self) -> tuple[str, ...]:
        """The top-level fields concerned, each once."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name in (*self.when, *self.other)))

    def broken_by(self, find: Callable[[str], Any]) -> bool:
        """Whether a config, whose fields `find` gives by name, breaks the constraint."""
        return holds(self.when, find) and holds(self.other, find) is (self.kind == "excludes")


@functools.cache
def constraints_of(peft_type: str) -> tuple[Constraint, ...]:
    """Return the constraints of a method, those that it shares with others first; none if it has no table."""
    if peft_type not in known_peft_types():
        return ()
    shared = (entry for entry in load_schema(_SHARED)["constraints"] if peft_type in entry["methods"])
    return tuple(map(_constraint, (*shared, *_own_entries(peft_type))))


def _own_entries(peft_type: str) -> list[dict[str, Any]]:
    name = f"layouts/{peft_type.lower()}.constraints"
    entries: list[dict[str, Any]] = load_schema(name)["constraints"] if name in schema_names() else []
    return entries


def _constraint(entry: Mapping[str, Any]) -> Constraint:
    if "from" in entry:
        model = next(one for one in _own_entries(entry["from"]) if one["id"] == entry["id"])
        entry = {**model, **entry}
    return Constraint(
        entry["id"],
        entry["kind"],
        entry["when"],
        entry["with"],
        entry["why"],
        entry["mend"],
        entry["peft"],
        entry.get("outputs") == "differ",
    )


class _Table(NamedTuple):
    """The constraints of a method.

    Attributes:
        defaults: the default of each field.
        constraints: all constraints, in their order.
        by_field: the positions of those that speak of a field.
        broken_by_defaults: the positions of those that a config without any field breaks.
    """

    defaults: Mapping[str, Any]
    constraints: tuple[Constraint, ...]
    by_field: Mapping[str, list[int]]
    broken_by_defaults: frozenset[int]


@functools.cache
def _table(peft_type: str) -> _Table:
    defaults = {name: field.default for name, field in fields_of(peft_type).items()}
    constraints = constraints_of(peft_type)
    by_field: dict[str, list[int]] = {}
    for position, constraint in enumerate(constraints):
        for name in constraint.fields:
            by_field.setdefault(name, []).append(position)
    find = lookup_in({}, defaults)
    broken = (position for position, constraint in enumerate(constraints) if constraint.broken_by(find))
    return _Table(defaults, constraints, by_field, frozenset(broken))


def broken_constraints(config: Mapping[str, Any], peft_type: str) -> Iterator[Constraint]:
    """Yield every constraint of the method that a config breaks, in the order of the table.

    Only constraints that the defaults break, or on a field with another value, are looked at.
    """
    table = _table(peft_type)
    concerned = set(table.broken_by_defaults)
    for name, value in config.items():
        if name in table.by_field and value != table.defaults.get(name):
            concerned.update(table.by_field[name])
    find = lookup_in(config, table.defaults)
    for position in sorted(concerned):
        if table.constraints[position].broken_by(find):
            yield table.constraints[position]
