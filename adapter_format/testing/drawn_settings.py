"""The settings of a drawn adapter: which roles it calls for, sizes, scale, what constraints ask, and other fields."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from adapter_format.conditions import holds
from adapter_format.constraints import broken_constraints
from adapter_format.layouts import MODULE, Kind, Layout, auxiliary
from adapter_format.module_values import settings_finder
from adapter_format.schema_check import is_valid
from adapter_format.semantics import alpha_value
from adapter_format.settling import RANK
from adapter_format.shapes import symbols_of
from adapter_format.testing.drawn_conditions import ITEM, called_for, may_be_type, path_field, satisfying, violating
from adapter_format.testing.drawn_fields import defaults_of, field_schemas, field_values
from adapter_format.testing.generated import offer, put

ALPHAS = st.integers(1, 64) | st.floats(0.125, 64)
ATTEMPTS = 5
"""Draws of a value before an adapter is given up."""


def draw_roles(draw: st.DrawFn, layout: Layout, config: dict[str, Any]) -> None:
    """Choose which optional roles are stored, and declare them."""
    schemas = field_schemas(layout.peft_type)
    conditional = [role for role in layout.roles.values() if role.declared_by and not role.former]
    optional = {repr(role.declared_by): role.declared_by for role in conditional}
    for kind in layout.kinds:
        for cases in kind.cases.values():
            optional |= {repr(conditions): conditions for conditions, _ in cases if conditions}
    fixed = {field for kind in layout.kinds for field in kind.select.get("config", {})}
    find = settings_finder(layout, config)
    for text in draw(st.lists(st.sampled_from(sorted(optional)), max_size=2, unique=True)) if optional else ():
        conditions = optional[text]
        on = holds(conditions, find)
        changes = {
            field: violating(schemas[field], test) if on else satisfying(schemas[field], test)
            for field, test in conditions.items()
        }
        if not set(changes) & {*layout.initialisation.get("also_changed_by", ()), *fixed}:
            offer(config, {name: value for name, value in changes.items() if value is not ...})


def shared_kinds(layout: Layout) -> list[Kind]:
    """Return the kinds of what modules share."""
    return [kind for kind in layout.kinds if kind.scope != MODULE]


def draw_values(draw: st.DrawFn, layout: Layout, kinds: list[Kind], config: dict[str, Any]) -> None:
    """Choose the symbols whose value stands in the config."""
    used = {symbol for kind in kinds for shape in kind.shapes.values() for symbol in symbols_of(shape)}
    used |= {symbol for kind in kinds for symbol in kind.draws} | {RANK}
    for symbol, value in layout.values.items():
        ranges = [kind.draws[symbol] for kind in kinds if symbol in kind.draws]
        if value.take == "length" or symbol not in used or (value.raw and not ranges):
            continue
        number = draw(st.integers(*(ranges or [(1, 4)])[0]))
        head = value.field.partition(".")[0]
        if head == value.field or isinstance(config.get(head), dict):
            put(
                config,
                value.field,
                bool(number) if may_be_type(field_schemas(layout.peft_type)[head], "boolean") else number,
            )
    for symbol, value in layout.values.items():
        if value.take == "length" and symbol in used:
            low, high = next((kind.draws[symbol] for kind in kinds if symbol in kind.draws), (1, 4))
            items = range(draw(st.integers(low, high)))
            named = may_be_type(field_schemas(layout.peft_type)[value.field], "object")
            config[value.field] = {f"{ITEM}_{item}": f"{ITEM}s/{item}" for item in items} if named else list(items)


def draw_scale(draw: st.DrawFn, layout: Layout, config: dict[str, Any]) -> None:
    """Draw the numerator of the scale, and whether it is divided by the root of the rank."""
    alpha, field = alpha_value(layout), layout.scaling.get("square_root")
    if alpha is not None:
        schema = field_schemas(layout.peft_type)[alpha.field]
        numbers = ALPHAS if may_be_type(schema, "number") else st.integers(1, 64)
        config[alpha.field] = draw(numbers)
    if field and draw(st.booleans()):
        config[field] = True


def keep_constraints(draw: st.DrawFn, layout: Layout, config: dict[str, Any]) -> None:
    """Set what the constraints between fields call for; an adapter that can't be mended so is not drawn."""
    schemas = field_schemas(layout.peft_type)
    for _ in range(ATTEMPTS):
        broken = next(broken_constraints(config, layout.peft_type), None)
        if broken is None:
            return
        for field, condition in broken.other.items() if broken.kind == "needs" else ():
            head = field.partition(".")[0]
            if head == field and head in schemas:
                config[field] = called_for(draw, schemas[field], condition, config.get(field))
        for field, condition in broken.other.items() if broken.kind == "excludes" else ():
            value = violating(schemas[field], condition) if field in schemas else ...
            config[field] = None if value is ... else value
    if any(broken_constraints(config, layout.peft_type)):
        reject()


def draw_other_fields(draw: st.DrawFn, layout: Layout, config: dict[str, Any]) -> None:
    """Set fields that say nothing about the tensors, and perhaps write all defaults out."""
    init = layout.initialisation
    tied = re.compile("|".join(init[name] for name in ("repeated", "not_repeatable") if name in init) or "(?!)")
    values = field_values(layout.peft_type)
    others = sorted(set(values) - _decided(layout))
    names = draw(st.lists(st.sampled_from([*others, *init.get("field", "").split()]), max_size=3, unique=True))
    for name in names:
        value = draw(values[name])
        if name != init.get("field") or not (isinstance(value, str) and tied.match(value)):
            offer(config, {name: value})
    if draw(st.booleans()):
        for name, value in defaults_of(layout.peft_type).items():
            # Some defaults are no values that a config may hold: PEFT raises unless they are given.
            if value is not None or is_valid({"peft_type": layout.peft_type, name: None}):
                config.setdefault(name, value)


def _decided(layout: Layout) -> set[str]:
    """Return the fields that the rest of this module decides, or that tie the adapter to a changed base."""
    declared = auxiliary()
    fields = {"base_model_name_or_path", declared.saved_modules_field, declared.tokens_field}
    fields |= {*layout.targets.values(), *layout.retired_layouts, layout.scaling.get("square_root", "")}
    alpha = alpha_value(layout)
    values = [*layout.values.values(), *((alpha,) if alpha is not None else ())]
    fields |= {field for value in values for field in (value.field, value.pattern)}
    fields |= {layout.bias.get("field", ""), *layout.initialisation.get("also_changed_by", ())}
    fields |= {layout.initialisation.get("field", "")}
    fields |= {name for role in layout.roles.values() for name in role.declared_by}
    for kind in layout.kinds:
        fields |= {*kind.select.get("config", {}), path_field(kind)}
        fields |= {name for cases in kind.cases.values() for conditions, _ in cases for name in conditions}
    return fields | {field.partition(".")[0] for field in fields}
