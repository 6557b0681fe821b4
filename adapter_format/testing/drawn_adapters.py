"""Valid adapters built from a layout: kinds, roles, symbols, targets, patterns and companions, drawn one after another.

Nothing of a method is written here: what a module stores, in which shapes and when, stands in its layout, and which
fields go together stands in its table of constraints. Only module paths are made up, after those of real models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from adapter_format.keys import key_of
from adapter_format.layouts import MODULE, dtypes_of, instance_of
from adapter_format.module_values import settings_finder
from adapter_format.settings import layout_named
from adapter_format.settling import RANK
from adapter_format.testing.drawn_companions import draw_companions
from adapter_format.testing.drawn_series import draw_kinds, draw_series, draw_targets, paths_of, select_kinds
from adapter_format.testing.drawn_settings import (
    draw_other_fields,
    draw_roles,
    draw_scale,
    draw_values,
    keep_constraints,
    shared_kinds,
)
from adapter_format.testing.drawn_units import draw_tensors, draw_units
from adapter_format.testing.generated import GeneratedAdapter, GeneratedModule, fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter_format.testing.examples import Stored


def draw_adapter(draw: st.DrawFn, methods: Sequence[str], dtypes: Sequence[str]) -> GeneratedAdapter:
    """Draw one valid adapter."""
    layout = layout_named(draw(st.sampled_from(methods)))
    config: dict[str, Any] = {"peft_type": layout.peft_type, "base_model_name_or_path": "example/tiny"}
    groups = draw_kinds(draw, layout)
    series = draw_series(draw, groups)
    layers = draw_targets(draw, layout, series, config) if layout.targets else []
    select_kinds(layout, [*groups, *(kind for one in series for kind in one.kinds)], series, config)
    draw_roles(draw, layout, config)
    draw_values(draw, layout, [*(kind for one in series for kind in one.kinds), *shared_kinds(layout)], config)
    draw_scale(draw, layout, config)
    keep_constraints(draw, layout, config)
    find = settings_finder(layout, config)
    found = [(one, paths_of(one, layers)) for one in series]
    units = draw_units(draw, layout, found, config, find)
    dtype = draw(st.sampled_from(dtypes))
    tensors: dict[str, Stored] = {}
    modules: list[GeneratedModule] = []
    for plan in units:
        keys: dict[str, str] = {}
        for role, number, sizes in draw_tensors(draw, layout, plan, find):
            key = key_of(layout, plan.path, role.name, number)
            keys[instance_of(role.name, number) if number else role.name] = key
            tensors[key] = fill(key, next(iter(dtypes_of(role, find)), dtype), sizes, tensors)
        rank = plan.symbols.get(RANK)
        modules.append(GeneratedModule(plan.path, plan.kind.name, keys, rank if type(rank) is int else 0))
    in_modules = [module for module in modules if layout.kind(module.kind).scope == MODULE]
    shared = tuple(module for module in modules if module not in in_modules)
    draw_companions(draw, layout, in_modules, config, tensors)
    draw_other_fields(draw, layout, config)
    return GeneratedAdapter(config, tensors, tuple(in_modules), shared)
