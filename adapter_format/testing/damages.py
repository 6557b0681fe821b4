"""Damage to a generated adapter: each kind breaks one rule, whatever the adapter, its keys and its method are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from adapter_format.conditions import is_set
from adapter_format.constraints import broken_constraints
from adapter_format.dtypes import DTYPES
from adapter_format.errors import UsageError
from adapter_format.expressions import names_in
from adapter_format.keys import spelled
from adapter_format.layouts import MODULE, Layout, auxiliary, index_of, layout_of, role_name
from adapter_format.module_values import EXACT
from adapter_format.rules.registry import find_rule
from adapter_format.semantics import alpha_value
from adapter_format.settling import RANK
from adapter_format.shapes import is_free
from adapter_format.targets import ENDINGS, ends_with_name
from adapter_format.testing.generated import GeneratedAdapter, GeneratedModule, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from adapter_format.layouts import Kind, Role
    from adapter_format.testing.examples import Stored

    Damage = Callable[["Case"], GeneratedAdapter | None]

_UNKNOWN = "unheard_of"


class Case(NamedTuple):
    """What a damage works with: a source of choices, and a valid adapter with the layout of its method.

    Attributes:
        choose: returns one of several things, none of which is simpler than those before it.
        layout: the method.
        adapter: the valid adapter.
    """

    choose: Callable[[Sequence[Any]], Any]
    layout: Layout
    adapter: GeneratedAdapter


def draw_damaged(draw: st.DrawFn, adapter: GeneratedAdapter) -> GeneratedAdapter:
    """Damage a valid adapter in one way that applies to it; `breaks` of the result names the rule."""
    rules = list(DAMAGES)
    while rules:
        rule = draw(st.sampled_from(rules))
        damaged = damage(adapter, rule, lambda options: draw(st.sampled_from(options)))
        if damaged is not None:
            return damaged
        rules.remove(rule)
    return adapter


def damage(
    adapter: GeneratedAdapter, rule: str, choose: Callable[[Sequence[Any]], Any] = lambda options: options[0]
) -> GeneratedAdapter | None:
    """Damage a valid adapter so that it breaks one rule and no other.

    Damage that would also break a constraint between config fields, which has a rule of its own, is not done.

    Args:
        adapter: a valid adapter, drawn by a strategy or taken apart by `taken_apart`.
        rule: id or name of the rule, whose id is one of `DAMAGES`.
        choose: returns one of several things, such as the module that is damaged; by default the first.

    Returns:
        The damaged adapter, or None where this adapter can't be damaged so.

    Raises:
        UsageError: there is no such rule, or no damage for it.
    """
    rule = find_rule(rule).id
    if rule not in DAMAGES:
        raise UsageError(f"No damage breaks {rule}; there is damage for {', '.join(sorted(DAMAGES))}.")
    layout = layout_of(adapter.config["peft_type"])
    damaged = DAMAGES[rule](Case(choose, layout, adapter)) if layout is not None else None
    if damaged is None or layout is None:
        return None
    before, after = (set(_broken(config, layout.peft_type)) for config in (adapter.config, damaged.config))
    return damaged._replace(breaks=rule) if after <= before else None


def _broken(config: Mapping[str, Any], method: str) -> Iterator[str]:
    return (constraint.id for constraint in broken_constraints(config, method))


def _renamed(adapter: GeneratedAdapter, rename: Callable[[str], str]) -> GeneratedAdapter:
    return adapter._replace(tensors={rename(key): stored for key, stored in adapter.tensors.items()})


def _configured(adapter: GeneratedAdapter, **fields: Any) -> GeneratedAdapter:
    return adapter._replace(config={**adapter.config, **fields})


def _without(adapter: GeneratedAdapter, *keys: str) -> GeneratedAdapter:
    return adapter._replace(tensors={key: stored for key, stored in adapter.tensors.items() if key not in keys})


def _with(adapter: GeneratedAdapter, key: str, stored: Stored) -> GeneratedAdapter:
    return adapter._replace(tensors={**adapter.tensors, key: stored})


def _module(case: Case) -> GeneratedModule | None:
    return case.choose(case.adapter.modules) if case.adapter.modules else None


def _unit(case: Case) -> GeneratedModule | None:
    units = [unit for unit in (*case.adapter.modules, *case.adapter.shared) if unit.keys]
    return case.choose(units) if units else None


def _is_conditional(layout: Layout, unit: GeneratedModule, name: str) -> bool:
    return bool(layout.role(name).declared_by) and role_name(name) not in layout.kind(unit.kind).always


def _single(unit: GeneratedModule, layout: Layout, *, conditional: bool | None = None) -> list[str]:
    """Return the keys of a unit's tensors that the config calls for, or not.

    Numbered ones are left out, and those of which only the base decides whether they are there.
    """
    return [
        key
        for name, key in unit.keys.items()
        if not index_of(name)
        and layout.role(name).missing != "unknown"
        and (conditional is None or _is_conditional(layout, unit, name) is conditional)
        and not is_free(layout.kind(unit.kind).shapes[role_name(name)])
    ]


def _if_changed(case: Case, rename: Callable[[str], str]) -> GeneratedAdapter | None:
    return None if all(rename(key) == key for key in case.adapter.tensors) else _renamed(case.adapter, rename)


def _drop_prefix(case: Case) -> GeneratedAdapter | None:
    companions = (auxiliary().saved_modules_field, auxiliary().tokens_field)
    if any(is_set(case.adapter.config.get(name)) for name in companions) or not case.layout.prefix:
        return None  # a saved module without the prefix is another defect besides
    return _if_changed(case, lambda key: key.removeprefix(case.layout.prefix))


def _double_prefix(case: Case) -> GeneratedAdapter | None:
    prefix = case.layout.prefix
    return _if_changed(case, lambda key: prefix + key if prefix and key.startswith(prefix) else key)


def _wrap(case: Case) -> GeneratedAdapter | None:
    prefix = case.layout.prefix
    if not prefix:
        return None
    part = case.choose([*auxiliary().wrapper_parts, *auxiliary().outer_wrapper_parts])
    if part in auxiliary().outer_wrapper_parts or case.choose([False, True]):
        return _renamed(case.adapter, lambda key: f"{part}.{key}")
    return _if_changed(
        case, lambda key: f"{prefix}{part}.{key.removeprefix(prefix)}" if key.startswith(prefix) else key
    )


def _leave_name(case: Case) -> GeneratedAdapter | None:
    name = case.choose(["default", "my_adapter", "0"])
    new: dict[str, str] = {}
    for unit in (*case.adapter.modules, *case.adapter.shared):
        for instance, key in unit.keys.items():
            role = case.layout.role(instance)
            on_disk = spelled(role.suffix, unit.path, index_of(instance))
            if role.memory:
                in_memory = spelled(role.memory, unit.path, index_of(instance)).replace("{adapter}", name)
                new[key] = key.removesuffix(on_disk) + in_memory
    return _if_changed(case, lambda key: new.get(key, key))


def _drop_factor(case: Case) -> GeneratedAdapter | None:
    unit = _unit(case)
    keys = _single(unit, case.layout, conditional=False) if unit is not None else []
    in_module = unit is not None and case.layout.kind(unit.kind).scope == MODULE
    stored = sum(len(other.keys) for other in (*case.adapter.modules, *case.adapter.shared))
    if unit is None or (len(unit.keys) if in_module else stored) < 2 or not keys:
        return None
    return _without(case.adapter, case.choose(keys))


def _drop_optional_role(case: Case) -> GeneratedAdapter | None:
    unit = _unit(case)
    keys = _single(unit, case.layout, conditional=True) if unit is not None else []
    if unit is None or not keys or len(case.adapter.tensors) < 2:
        return None
    if case.layout.kind(unit.kind).scope == MODULE and len(unit.keys) < 2:
        return None
    return _without(case.adapter, case.choose(keys))


def _undeclare_role(case: Case) -> GeneratedAdapter | None:
    stored = {name for unit in (*case.adapter.modules, *case.adapter.shared) for name in unit.keys}
    fields = sorted(
        {
            name
            for role in stored
            if case.layout.role(role).undeclared == "dropped"
            for name, condition in case.layout.role(role).declared_by.items()
            if condition in ({"set": True}, {"given": True}) and is_set(case.adapter.config.get(name))
        }
    )
    if not fields:
        return None
    field = case.choose(fields)
    return _configured(case.adapter, **{field: False if case.adapter.config[field] is True else None})


def _strange_role(case: Case) -> GeneratedAdapter | None:
    """Store base weights of an adapted module, which has them under another name when it is wrapped."""
    module = _module(case)
    if module is None or "embedding" in case.layout.kind(module.kind).layers:
        return None
    key = f"{case.layout.prefix}{module.path}.{auxiliary().base_layer_part}.weight"
    if key in case.adapter.tensors or any(ends_with_name(module.path, name) for name in auxiliary().stored_embeddings):
        return None
    return _with(case.adapter, key, fill(key, "F32", (3, 3), case.adapter.tensors))


def _base_weight(case: Case) -> GeneratedAdapter:
    path = case.choose([f"model.{_UNKNOWN}.weight", f"{_UNKNOWN}.{_UNKNOWN}.weight"])
    key = case.layout.companion_prefix + path
    return _with(case.adapter, key, fill(key, "F32", case.choose([(3,), (3, 3)]), case.adapter.tensors))


def _has_tied_or_stacked(case: Case) -> bool:
    """Whether modules may be targeted by something else than their names: as parameters, or as tied ones."""
    return any(case.adapter.config.get(case.layout.targets.get(name, "")) for name in ("parameters", "tying"))


def _has_stored_modules(case: Case) -> bool:
    """Whether the file names any module; some methods store nothing for single ones."""
    return any(module.keys for module in case.adapter.modules)


def _target_list(case: Case) -> list[str]:
    """Return the names that the config targets, none if it has no list of them or no module is stored."""
    names = case.adapter.config.get(case.layout.targets.get("modules", ""))
    return names if isinstance(names, list) and _has_stored_modules(case) else []


def _drop_target(case: Case) -> GeneratedAdapter | None:
    names = _target_list(case)
    if len(names) < 2 or _has_tied_or_stacked(case):
        return None
    dropped = case.choose(names)
    kept = [name for name in names if name != dropped]
    if all(any(ends_with_name(module.path, name) for name in kept) for module in case.adapter.modules):
        return None
    return _configured(case.adapter, **{case.layout.targets["modules"]: kept})


def _add_target(case: Case) -> GeneratedAdapter | None:
    names = _target_list(case)
    return _configured(case.adapter, **{case.layout.targets["modules"]: [*names, _UNKNOWN]}) if names else None


def _string_target(case: Case) -> GeneratedAdapter | None:
    fields = [case.layout.targets.get(name, "") for name in ("layers", "layers_pattern")]
    if _has_tied_or_stacked(case) or any(case.adapter.config.get(name) is not None for name in fields):
        return None
    if not _has_stored_modules(case) or case.layout.targets.get("matching") == ENDINGS:
        return None
    return _configured(case.adapter, **{case.layout.targets["modules"]: _UNKNOWN})


def _multiplied(case: Case, symbol: str) -> GeneratedAdapter | None:
    """Give a setting, that every module shows as a size of its own, another value."""
    value = case.layout.values.get(symbol)
    kinds = [case.layout.kind(module.kind) for module in case.adapter.modules]
    if value is None or value.raw or value.take != "value" or case.adapter.config.get(value.pattern or " "):
        return None
    if not kinds or not all(_shows(case, kind, symbol) for kind in kinds) or "." in value.field:
        return None  # a mixture's experts, say, do not show their rank
    found = case.adapter.config.get(value.field)
    return _configured(case.adapter, **{value.field: found * 64}) if type(found) is int and found else None


def _shows(case: Case, kind: Kind, symbol: str) -> bool:
    """Whether a setting is a dimension of a tensor that every module of the kind has, and of nothing else."""
    required = [shape for name, shape in kind.shapes.items() if not case.layout.roles[name].declared_by]
    elsewhere = {name for text in kind.relations for name in names_in(text)}
    bare = any(dimension.text == symbol for shape in required for dimension in shape)
    return bare and symbol not in elsewhere


def _change_rank(case: Case) -> GeneratedAdapter | None:
    return _multiplied(case, RANK)


def _change_setting(case: Case) -> GeneratedAdapter | None:
    others = sorted(case.layout.values.keys() - {RANK})
    return _multiplied(case, case.choose(others)) if others else None


def _tables(case: Case) -> list[str]:
    """Return the tables of the method that are looked up by a regex."""
    alpha = alpha_value(case.layout)
    values = (*case.layout.values.values(), *((alpha,) if alpha is not None else ()))
    return sorted({value.pattern for value in values if value.pattern and value.matching != EXACT and not value.raw})


def _in_table(case: Case, pattern: str) -> GeneratedAdapter | None:
    tables = _tables(case)
    if not tables:
        return None
    field = case.choose(tables)
    return _configured(case.adapter, **{field: {**(case.adapter.config.get(field) or {}), pattern: 2}})


def _bad_pattern(case: Case) -> GeneratedAdapter | None:
    return _in_table(case, case.choose(["(", "["]))


def _unmatched_pattern(case: Case) -> GeneratedAdapter | None:
    if case.adapter.config.get(case.layout.targets.get("parameters", "")) or not _has_stored_modules(case):
        return None
    return _in_table(case, _UNKNOWN)


def _matrix_or_vector(case: Case) -> str | None:
    unit = _unit(case)
    keys = _single(unit, case.layout, conditional=False) if unit is not None else []
    return case.choose(keys) if keys else None


def _empty(case: Case) -> GeneratedAdapter | None:
    key = _matrix_or_vector(case)
    if key is None or _role_of(case, key).may_be_empty:
        return None
    stored = case.adapter.tensors[key]
    shape = case.choose([(0,), (0, *stored.shape[1:]), (*stored.shape[:-1], 0)])
    return _with(case.adapter, key, stored._replace(shape=shape, data=b""))


def _role_of(case: Case, key: str) -> Role:
    units = (*case.adapter.modules, *case.adapter.shared)
    return next(case.layout.role(name) for unit in units for name, found in unit.keys.items() if found == key)


def _flatten(case: Case) -> GeneratedAdapter | None:
    key = _matrix_or_vector(case)
    stored = case.adapter.tensors[key] if key is not None else None
    if key is None or stored is None or len(stored.shape) < 2 or _role_of(case, key).may_be_empty:
        return None
    size = 1
    for dimension in stored.shape:
        size *= dimension
    return _with(case.adapter, key, stored._replace(shape=(size,)))


def _cast(case: Case) -> GeneratedAdapter | None:
    units = (*case.adapter.modules, *case.adapter.shared)
    keys = [key for unit in units for name, key in unit.keys.items() if not case.layout.role(name).dtypes]
    keys = [key for key in keys if case.adapter.tensors[key].data]
    if len(keys) < 2:
        return None
    key = case.choose(keys)
    stored = case.adapter.tensors[key]
    other = case.choose([name for name in ("F32", "F16", "BF16", "F64") if name != stored.dtype])
    return _with(case.adapter, key, fill(key, other, stored.shape, case.adapter.tensors))


def _cast_index(case: Case) -> GeneratedAdapter | None:
    units = (*case.adapter.modules, *case.adapter.shared)
    keys = [key for unit in units for name, key in unit.keys.items() if case.layout.role(name).dtypes]
    if not keys:
        return None
    key = case.choose(keys)
    stored = case.adapter.tensors[key]
    numbers = np.frombuffer(stored.data, DTYPES[stored.dtype].array_name).astype("<f4")
    return _with(case.adapter, key, stored._replace(dtype="F32", data=numbers.tobytes()))


def _drop_saved(case: Case) -> GeneratedAdapter | None:
    field = auxiliary().saved_modules_field
    saved = case.adapter.config.get(field)
    if not saved or case.adapter.config.get("task_type") is not None:
        return None  # PEFT lists heads of a task that a model need not have
    return _configured(case.adapter, **{field: [*saved, _UNKNOWN]})


def _drop_tokens(case: Case) -> GeneratedAdapter | None:
    keys = [key for key in case.adapter.tensors if key.endswith(auxiliary().tokens_suffix)]
    return _without(case.adapter, *keys) if keys else None


def _undeclare_tokens(case: Case) -> GeneratedAdapter | None:
    field = auxiliary().tokens_field
    return _configured(case.adapter, **{field: None}) if case.adapter.config.get(field) else None


def _more_tokens(case: Case) -> GeneratedAdapter | None:
    field = auxiliary().tokens_field
    wanted = case.adapter.config.get(field)
    if not wanted:
        return None
    longer = {name: [*rows, 100] for name, rows in wanted.items()} if isinstance(wanted, dict) else [*wanted, 100]
    return _configured(case.adapter, **{field: longer})


def _undeclare_bias(case: Case) -> GeneratedAdapter | None:
    tail = re.compile(rf"\.{auxiliary().base_layer_part}\.bias$|norm\.bias$")
    if not case.layout.bias or not any(tail.search(key) for key in case.adapter.tensors):
        return None
    return _configured(case.adapter, **{case.layout.bias["field"]: "none"})


def _unknown_field(case: Case) -> GeneratedAdapter:
    return _configured(case.adapter, **{_UNKNOWN: case.choose([1, None, "text", [], {}])})


def _wrong_type(case: Case) -> GeneratedAdapter:
    field = case.choose(["auto_mapping", case.layout.targets.get("excluded", "auto_mapping")])
    return _configured(case.adapter, **{field: 7})


def _unknown_method(case: Case) -> GeneratedAdapter:
    name = case.choose([case.layout.peft_type.lower(), _UNKNOWN.upper()])
    return _configured(case.adapter, peft_type=name)


def _local_base(case: Case) -> GeneratedAdapter:
    path = case.choose(["/home/someone/model", "../model", "C:\\model", "~/model"])
    return _configured(case.adapter, base_model_name_or_path=path)


DAMAGES: dict[str, Damage] = {
    "AF301": _drop_prefix,
    "AF302": _double_prefix,
    "AF303": _wrap,
    "AF304": _leave_name,
    "AF305": _drop_factor,
    "AF306": _undeclare_role,
    "AF307": _drop_optional_role,
    "AF310": _base_weight,
    "AF311": _strange_role,
    "AF312": _drop_target,
    "AF313": _add_target,
    "AF314": _string_target,
    "AF318": _drop_saved,
    "AF319": _drop_tokens,
    "AF320": _undeclare_tokens,
    "AF324": _unmatched_pattern,
    "AF325": _bad_pattern,
    "AF331": _undeclare_bias,
    "AF401": _change_rank,
    "AF414": _change_setting,
    "AF415": _cast_index,
    "AF403": _flatten,
    "AF404": _empty,
    "AF408": _cast,
    "AF413": _more_tokens,
    "AF209": _unknown_method,
    "AF211": _wrong_type,
    "AF213": _unknown_field,
    "AF220": _local_base,
}
"""Rule id to the damage that breaks it."""
