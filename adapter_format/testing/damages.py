"""Damage to a generated adapter: each kind breaks one rule, whatever the adapter, its keys and its method are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from adapter_format.conditions import is_set
from adapter_format.constraints import broken_constraints
from adapter_format.layouts import Layout, auxiliary, layout_of
from adapter_format.testing.generated import GeneratedAdapter, GeneratedModule, fill

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter_format.testing.examples import Stored

    Damage = Callable[[st.DrawFn, Layout, GeneratedAdapter], GeneratedAdapter | None]

_UNKNOWN = "unheard_of"


def draw_damaged(draw: st.DrawFn, adapter: GeneratedAdapter) -> GeneratedAdapter:
    """Damage a valid adapter in one way that applies to it; `breaks` of the result names the rule.

    Damage that would also break a constraint between config fields, which has a rule of its own, is not done.
    """
    layout = layout_of(adapter.config["peft_type"])
    damages = list(DAMAGES)
    while layout is not None:
        rule = draw(st.sampled_from(damages))
        damaged = DAMAGES[rule](draw, layout, adapter)
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


def _module(draw: st.DrawFn, adapter: GeneratedAdapter) -> GeneratedModule:
    return draw(st.sampled_from(adapter.modules))


def _required(layout: Layout, module: GeneratedModule) -> list[str]:
    """Return the keys of a module that it has under any config."""
    return [key for role, key in module.keys.items() if not layout.roles[role].declared_by]


def _drop_prefix(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    if any(is_set(adapter.config.get(name)) for name in _companion_fields(layout)):
        return None  # a saved module without the prefix is another defect besides
    return _renamed(adapter, lambda key: key.removeprefix(layout.prefix))


def _companion_fields(layout: Layout) -> tuple[str, ...]:
    return (auxiliary().saved_modules_field, auxiliary().tokens_field)


def _double_prefix(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter:
    return _renamed(adapter, lambda key: layout.prefix + key)


def _wrap(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter:
    part = draw(st.sampled_from([*auxiliary().wrapper_parts, *auxiliary().outer_wrapper_parts]))
    if part in auxiliary().outer_wrapper_parts or draw(st.booleans()):
        return _renamed(adapter, lambda key: f"{part}.{key}")
    return _renamed(adapter, lambda key: f"{layout.prefix}{part}.{key.removeprefix(layout.prefix)}")


def _leave_name(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter:
    name = draw(st.sampled_from(["default", "my_adapter", "0"]))
    new = {
        key: key.removesuffix(layout.roles[role].suffix) + layout.roles[role].memory.format(adapter=name)
        for module in adapter.modules
        for role, key in module.keys.items()
    }
    return _renamed(adapter, lambda key: new.get(key, key))


def _drop_factor(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    module = _module(draw, adapter)
    telling = layout.kind(module.kind).select.get("role_dimensions", {})
    keys = _required(layout, module)
    droppable = [key for key in keys if not any(module.keys.get(role) == key for role in telling)]
    return _without(adapter, draw(st.sampled_from(droppable))) if len(keys) > 1 else None


def _drop_optional_role(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    module = _module(draw, adapter)
    keys = [key for key in module.keys.values() if key not in _required(layout, module)]
    return _without(adapter, draw(st.sampled_from(keys))) if keys else None


def _undeclare_role(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    stored = {role for module in adapter.modules for role in module.keys}
    fields = sorted({name for role in stored for name in layout.roles[role].declared_by})
    fields = [name for name in fields if is_set(adapter.config.get(name))]
    return _configured(adapter, **{draw(st.sampled_from(fields)): None}) if fields else None


def _strange_role(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    """Store base weights of an adapted module, which has them under another name when it is wrapped."""
    module = _module(draw, adapter)
    if "any_role" in layout.kind(module.kind).select:
        return None
    key = f"{layout.prefix}{module.path}.{auxiliary().base_layer_part}.weight"
    return _with(adapter, key, fill(key, "F32", (3, 3), adapter.tensors))


def _base_weight(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter:
    key = layout.prefix + draw(st.sampled_from([f"model.{_UNKNOWN}.weight", f"{_UNKNOWN}.{_UNKNOWN}.weight"]))
    return _with(adapter, key, fill(key, "F32", draw(st.sampled_from([(3,), (3, 3)])), adapter.tensors))


def _drop_target(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    field = layout.targets["modules"]
    names = adapter.config[field]
    if not isinstance(names, list) or len(names) < 2 or adapter.config.get(layout.targets["parameters"]):
        return None
    dropped = draw(st.sampled_from(names))
    return _configured(adapter, **{field: [name for name in names if name != dropped]})


def _add_target(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    field = layout.targets["modules"]
    names = adapter.config[field]
    return _configured(adapter, **{field: [*names, _UNKNOWN]}) if isinstance(names, list) else None


def _string_target(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    fields = [layout.targets[name] for name in ("parameters", "layers", "layers_pattern")]
    if any(adapter.config.get(name) is not None for name in fields):
        return None
    return _configured(adapter, **{layout.targets["modules"]: _UNKNOWN})


def _change_rank(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    field, pattern = layout.rank["field"], layout.rank.get("pattern", "")
    bare = [
        module
        for module in adapter.modules
        if any(d.operator == "=" and d.left == "r" for s in layout.kind(module.kind).shapes.values() for d in s)
    ]
    if not bare or adapter.config.get(pattern):
        return None
    if len(bare) < len(adapter.modules):
        return None  # a mixture's experts do not show their rank
    return _configured(adapter, **{field: adapter.config[field] * 64})


def _bad_pattern(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    field = layout.scaling.get("pattern")
    if field is None:
        return None
    return _configured(adapter, **{field: {**(adapter.config.get(field) or {}), draw(st.sampled_from(["(", "*.x"])): 2}})


def _unmatched_pattern(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    field = layout.scaling.get("pattern")
    if field is None or adapter.config.get(layout.targets["parameters"]):
        return None
    return _configured(adapter, **{field: {**(adapter.config.get(field) or {}), _UNKNOWN: 2}})


def _empty(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter:
    key = draw(st.sampled_from(_required(layout, _module(draw, adapter))))
    stored = adapter.tensors[key]
    shape = draw(st.sampled_from([(0,), (0, *stored.shape[1:]), (*stored.shape[:-1], 0)]))
    if len(shape) != len(stored.shape) and layout.kind(_owner(adapter, key).kind).select.get("role_dimensions"):
        shape = (0, *stored.shape[1:])
    return _with(adapter, key, stored._replace(shape=shape, data=b""))


def _owner(adapter: GeneratedAdapter, key: str) -> GeneratedModule:
    return next(module for module in adapter.modules if key in module.keys.values())


def _flatten(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    key = draw(st.sampled_from(_required(layout, _module(draw, adapter))))
    stored = adapter.tensors[key]
    if len(stored.shape) < 2:
        return None
    size = 1
    for dimension in stored.shape:
        size *= dimension
    return _with(adapter, key, stored._replace(shape=(size,)))


def _cast(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    keys = [key for module in adapter.modules for key in module.keys.values()]
    key = draw(st.sampled_from(keys))
    stored = adapter.tensors[key]
    other = draw(st.sampled_from([name for name in ("F32", "F16", "BF16", "F64") if name != stored.dtype]))
    return _with(adapter, key, fill(key, other, stored.shape, adapter.tensors)) if len(keys) > 1 else None


def _drop_saved(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    field = auxiliary().saved_modules_field
    saved = adapter.config.get(field)
    if not saved or adapter.config.get("task_type") is not None:
        return None  # PEFT lists heads of a task that a model need not have
    return _configured(adapter, **{field: [*saved, _UNKNOWN]})


def _drop_tokens(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    keys = [key for key in adapter.tensors if key.endswith(auxiliary().tokens_suffix)]
    return _without(adapter, *keys) if keys else None


def _undeclare_tokens(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    field = auxiliary().tokens_field
    return _configured(adapter, **{field: None}) if adapter.config.get(field) else None


def _more_tokens(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    field = auxiliary().tokens_field
    wanted = adapter.config.get(field)
    if not wanted:
        return None
    longer = {name: [*rows, 100] for name, rows in wanted.items()} if isinstance(wanted, dict) else [*wanted, 100]
    return _configured(adapter, **{field: longer})


def _undeclare_bias(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter | None:
    tail = re.compile(rf"\.{auxiliary().base_layer_part}\.bias$|norm\.bias$")
    if not layout.bias or not any(tail.search(key) for key in adapter.tensors):
        return None
    return _configured(adapter, **{layout.bias["field"]: "none"})


def _unknown_field(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter:
    return _configured(adapter, **{_UNKNOWN: draw(st.sampled_from([1, None, "text", [], {}]))})


def _wrong_type(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter:
    field = draw(st.sampled_from(["auto_mapping", layout.targets["excluded"]]))
    return _configured(adapter, **{field: 7})


def _unknown_method(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter:
    return _configured(adapter, peft_type=draw(st.sampled_from([layout.peft_type.lower(), _UNKNOWN.upper()])))


def _local_base(draw: st.DrawFn, layout: Layout, adapter: GeneratedAdapter) -> GeneratedAdapter:
    path = draw(st.sampled_from(["/home/someone/model", "../model", "C:\\model", "~/model"]))
    return _configured(adapter, base_model_name_or_path=path)


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
