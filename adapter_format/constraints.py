"""Config fields that exclude or need each other, from the method's table in `schemas/layouts/`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.conditions import holds, lookup_in
from adapter_format.config_fields import fields_of
from adapter_format.packaged import load_schema, schema_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from adapter_format.findings import PeftBehaviour


class Constraint(NamedTuple):
    """One constraint.

    Attributes:
        id: name in kebab case.
        kind: `excludes`: broken where both sides hold; `needs`: broken where `when` holds and `other` does not.
        when: the conditions that call the constraint up.
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


@functools.cache
def constraints_of(peft_type: str) -> tuple[Constraint, ...]:
    """Return the constraints of a method; none if it has no table."""
    name = f"layouts/{peft_type.lower()}.constraints"
    if name not in schema_names():
        return ()
    return tuple(
        Constraint(
            entry["id"],
            entry["kind"],
            entry["when"],
            entry["with"],
            entry["why"],
            entry["mend"],
            entry["peft"],
            entry.get("outputs") == "differ",
        )
        for entry in load_schema(name)["constraints"]
    )


class _Table(NamedTuple):
    defaults: Mapping[str, Any]
    by_field: Mapping[str, list[Constraint]]


@functools.cache
def _table(peft_type: str) -> _Table:
    fields = fields_of(peft_type)
    by_field: dict[str, list[Constraint]] = {name: [] for name in fields}
    for constraint in constraints_of(peft_type):
        for name in constraint.fields:
            if name in by_field:
                by_field[name].append(constraint)
    return _Table({name: field.default for name, field in fields.items()}, by_field)


def broken_constraints(config: Mapping[str, Any], peft_type: str) -> Iterator[Constraint]:
    """Yield every constraint of the method that a config breaks, in the order of the table.

    The defaults break none, so that only constraints on a field with another value are looked at.
    """
    defaults, by_field = _table(peft_type)
    concerned = {
        constraint.id: constraint
        for name, value in config.items()
        if name in by_field and value != defaults[name]
        for constraint in by_field[name]
    }
    find = lookup_in(config, defaults)
    for constraint in concerned.values():
        if holds(constraint.when, find) and holds(constraint.other, find) is (constraint.kind == "excludes"):
            yield constraint
