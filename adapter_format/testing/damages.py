"""Damage to a generated adapter: each kind breaks one rule, whatever the adapter, its keys and its method are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

from adapter_format.conditions import is_set
from adapter_format.constraints import broken_constraints
from adapter_format.layouts import Layout, auxiliary, layout_of
from adapter_format.testing.generated import GeneratedAdapter, GeneratedModule, fill

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter_format.testing.examples import Stored

    Damage = Callable[["Case"], GeneratedAdapter | None]

_UNKNOWN = "unheard_of"


class Case(NamedTuple):
    """What a damage works with: a source of choices, and a valid adapter with the layout of its method."""

    draw: st.DrawFn
    layout: Layout
    adapter: GeneratedAdapter


def draw_damaged(draw: st.DrawFn, adapter: GeneratedAdapter) -> GeneratedAdapter:
    """Damage a valid adapter in one way that applies to it; `breaks` of the result names the rule.

    Damage that would also break a constraint between config fields, which has a rule of its own, is not done.
    """
    layout = layout_of(adapter.config["peft_type"])
    damages = list(DAMAGES)
    while layout is not None:
        rule = draw(st.sampled_from(damages))
        damaged = DAMAGES[rule](Case(draw, layout, adapter))
        if damaged is not None and not any(broken_constraints(damaged.config, layout.peft_type)):
            return damaged._replace(breaks=rule)
        damages.remove(rule)
    return adapter


def _renamed(adapter: GeneratedAdapter, rename: Callable[[str], str]) -> GeneratedAdapter:
    return adapter._replace(tensors={rename(key): stored for key, stored in adapter.tensors.items()})


def _configured(adapter: GeneratedAdapter, **fields: Any) -> GeneratedAdapter:
    return adapter._replace(config={**adapter.config, **fields})


def _without(adapter: GeneratedAdapter, *keys: str) -> GeneratedAdapter:
    return adapter._replace(tensors={key: stored for key, stored in adapter.tensors.items() if key not in keys})


def _with(adapter: GeneratedAdapter, key: str, stored: Stored) -> GeneratedAdapter:
    return adapter._replace(tensors={**adapter.tensors, key: stored})


def _module(case: Case) -> GeneratedModule:
    return case.draw(st.sampled_from(case.adapter.modules))


def _required(layout: Layout, module: GeneratedModule) -> list[str]:
    """Return the keys of a module that it has under any config."""
    return [key for role, key in module.keys.items() if not layout.roles[role].declared_by]


def _drop_prefix(case: Case) -> GeneratedAdapter | None:
    companions = (auxiliary().saved_modules_field, auxiliary().tokens_field)
    if any(is_set(case.adapter.config.get(name)) for name in companions):
        return None  # a saved module without the prefix is another defect besides
    return _renamed(case.adapter, lambda key: key.removeprefix(case.layout.prefix))


def _double_prefix(case: Case) -> GeneratedAdapter:
    return _renamed(case.adapter, lambda key: case.layout.prefix + key)


def _wrap(case: Case) -> GeneratedAdapter:
    part = case.draw(st.sampled_from([*auxiliary().wrapper_parts, *auxiliary().outer_wrapper_parts]))
    if part in auxiliary().outer_wrapper_parts or case.draw(st.booleans()):
        return _renamed(case.adapter, lambda key: f"{part}.{key}")
    return _renamed(case.adapter, lambda key: f"{case.layout.prefix}{part}.{key.removeprefix(case.layout.prefix)}")


def _leave_name(case: Case) -> GeneratedAdapter:
    name = case.draw(st.sampled_from(["default", "my_adapter", "0"]))
    new = {
        key: key.removesuffix(case.layout.roles[role].suffix) + case.layout.roles[role].memory.format(adapter=name)
        for module in case.adapter.modules
        for role, key in module.keys.items()
    }
    return _renamed(case.adapter, lambda key: new.get(key, key))


def _drop_factor(case: Case) -> GeneratedAdapter | None:
    keys = _required(case.layout, _module(case))
    return _without(case.adapter, case.draw(st.sampled_from(keys))) if len(keys) > 1 else None


def _drop_optional_role(case: Case) -> GeneratedAdapter | None:
    module = _module(case)
    keys = [key for key in module.keys.values() if key not in _required(case.layout, module)]
    return _without(case.adapter, case.draw(st.sampled_from(keys))) if keys else None


def _undeclare_role(case: Case) -> GeneratedAdapter | None:
    stored = {role for module in case.adapter.modules for role in module.keys}
    fields = sorted({name for role in stored for name in case.layout.roles[role].declared_by})
    fields = [name for name in fields if is_set(case.adapter.config.get(name))]
    return _configured(case.adapter, **{case.draw(st.sampled_from(fields)): None}) if fields else None


def _strange_role(case: Case) -> GeneratedAdapter | None:
    """Store base weights of an adapted module, which has them under another name when it is wrapped."""
    module = _module(case)
    if "any_role" in case.layout.kind(module.kind).select:
        return None
    key = f"{case.layout.prefix}{module.path}.{auxiliary().base_layer_part}.weight"
    return _with(case.adapter, key, fill(key, "F32", (3, 3), case.adapter.tensors))


def _base_weight(case: Case) -> GeneratedAdapter:
    key = case.layout.prefix + case.draw(st.sampled_from([f"model.{_UNKNOWN}.weight", f"{_UNKNOWN}.{_UNKNOWN}.weight"]))
    return _with(case.adapter, key, fill(key, "F32", case.draw(st.sampled_from([(3,), (3, 3)])), case.adapter.tensors))


def _has_tied_or_stacked(case: Case) -> bool:
    """Whether modules may be targeted by something else than their names: as parameters, or as tied ones."""
    return any(case.adapter.config.get(name) for name in (case.layout.targets["parameters"], "ensure_weight_tying"))


def _drop_target(case: Case) -> GeneratedAdapter | None:
    field = case.layout.targets["modules"]
    names = case.adapter.config[field]
    if not isinstance(names, list) or len(names) < 2 or _has_tied_or_stacked(case):
        return None
    dropped = case.draw(st.sampled_from(names))
    return _configured(case.adapter, **{field: [name for name in names if name != dropped]})


def _add_target(case: Case) -> GeneratedAdapter | None:
    field = case.layout.targets["modules"]
    names = case.adapter.config[field]
    return _configured(case.adapter, **{field: [*names, _UNKNOWN]}) if isinstance(names, list) else None


def _string_target(case: Case) -> GeneratedAdapter | None:
    fields = [case.layout.targets[name] for name in ("layers", "layers_pattern")]
    if _has_tied_or_stacked(case) or any(case.adapter.config.get(name) is not None for name in fields):
        return None
    return _configured(case.adapter, **{case.layout.targets["modules"]: _UNKNOWN})


def _change_rank(case: Case) -> GeneratedAdapter | None:
    field, pattern = case.layout.rank["field"], case.layout.rank.get("pattern", "")
    bare = [
        module
        for module in case.adapter.modules
        if any(d.operator == "=" and d.left == "r" for s in case.layout.kind(module.kind).shapes.values() for d in s)
    ]
    if not bare or case.adapter.config.get(pattern):
        return None
    if len(bare) < len(case.adapter.modules):
        return None  # a mixture's experts do not show their rank
    return _configured(case.adapter, **{field: case.adapter.config[field] * 64})


def _bad_pattern(case: Case) -> GeneratedAdapter | None:
    field = case.layout.scaling.get("pattern")
    if field is None:
        return None
    pattern = case.draw(st.sampled_from(["(", "*.x"]))
    return _configured(case.adapter, **{field: {**(case.adapter.config.get(field) or {}), pattern: 2}})


def _unmatched_pattern(case: Case) -> GeneratedAdapter | None:
    field = case.layout.scaling.get("pattern")
    if field is None or case.adapter.config.get(case.layout.targets["parameters"]):
        return None
    return _configured(case.adapter, **{field: {**(case.adapter.config.get(field) or {}), _UNKNOWN: 2}})


def _empty(case: Case) -> GeneratedAdapter:
    key = case.draw(st.sampled_from(_required(case.layout, _module(case))))
    stored = case.adapter.tensors[key]
    shape = case.draw(st.sampled_from([(0,), (0, *stored.shape[1:]), (*stored.shape[:-1], 0)]))
    return _with(case.adapter, key, stored._replace(shape=shape, data=b""))


def _flatten(case: Case) -> GeneratedAdapter | None:
    key = case.draw(st.sampled_from(_required(case.layout, _module(case))))
    stored = case.adapter.tensors[key]
    if len(stored.shape) < 2:
        return None
    size = 1
    for dimension in stored.shape:
        size *= dimension
    return _with(case.adapter, key, stored._replace(shape=(size,)))


def _cast(case: Case) -> GeneratedAdapter | None:
    keys = [key for module in case.adapter.modules for key in module.keys.values()]
    key = case.draw(st.sampled_from(keys))
    stored = case.adapter.tensors[key]
    other = case.draw(st.sampled_from([name for name in ("F32", "F16", "BF16", "F64") if name != stored.dtype]))
    return _with(case.adapter, key, fill(key, other, stored.shape, case.adapter.tensors)) if len(keys) > 1 else None


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
    return _configured(case.adapter, **{_UNKNOWN: case.draw(st.sampled_from([1, None, "text", [], {}]))})


def _wrong_type(case: Case) -> GeneratedAdapter:
    field = case.draw(st.sampled_from(["auto_mapping", case.layout.targets["excluded"]]))
    return _configured(case.adapter, **{field: 7})


def _unknown_method(case: Case) -> GeneratedAdapter:
    name = case.draw(st.sampled_from([case.layout.peft_type.lower(), _UNKNOWN.upper()]))
    return _configured(case.adapter, peft_type=name)


def _local_base(case: Case) -> GeneratedAdapter:
    path = case.draw(st.sampled_from(["/home/someone/model", "../model", "C:\\model", "~/model"]))
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
