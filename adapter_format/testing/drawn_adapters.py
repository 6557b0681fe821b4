"""Valid adapters built from a layout: kinds, roles, symbols, targets, patterns and companions, drawn one after another.

Nothing of a method is written here: what a module stores, in which shapes and when, stands in its layout, and which
fields go together stands in its table of constraints. Only module paths are made up, after those of real models.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

from adapter_format.conditions import holds, lookup_in
from adapter_format.errors import UsageError
from adapter_format.keys import key_of
from adapter_format.layouts import Kind, Layout, auxiliary, layout_of
from adapter_format.shapes import Shape, shape_of
from adapter_format.testing.drawn_companions import draw_companions
from adapter_format.testing.drawn_fields import defaults_of, field_schemas, field_values, switched_on
from adapter_format.testing.generated import GeneratedAdapter, GeneratedModule, fill, offer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from adapter_format.testing.examples import Stored


class _Series(NamedTuple):
    """Modules that differ in the number of their layer only; `{n}` stands for it."""

    template: str
    kind: Kind
    parameter: str = ""

    @property
    def leaf(self) -> str:
        return self.template.rpartition(".")[2]


_TEMPLATES = (
    "model.layers.{n}.self_attn.q_proj",
    "model.layers.{n}.self_attn.v_proj",
    "model.layers.{n}.mlp.down_proj",
    "base.encoder.layer.{n}.attention.query",
    "transformer.h.{n}.attn.c_attn",
    "model.visual.layers.{n}.self_attn.q_proj",
    "unet.blocks.{n}.attentions.0.to_k",
    "features.{n}",
    "classifier_in",
    "модель.слои.{n}.проекция",
)
_EMBEDDINGS = ("model.token_embedding", "model.embed_tokens")
_PARAMETERS = (
    ("model.layers.{n}.mlp.experts", ("down_proj_w", "gate_up_w")),
    ("model.layers.{n}.feed_forward.shared", ("stacked",)),
)
_UNUSED_NAMES = ("never_targeted", "model.layers.0.absent")
_IN_LAYERS = re.compile(r"[^{]+\.[^{]+\.\{n\}\.[^{]+")
_ALPHAS = st.integers(1, 64) | st.floats(0.125, 64)


def draw_adapter(draw: st.DrawFn, methods: Sequence[str], dtypes: Sequence[str]) -> GeneratedAdapter:
    """Draw one valid adapter."""
    layout = _layout(draw(st.sampled_from(methods)))
    series = _draw_series(draw, layout, _draw_kinds(draw, layout))
    config: dict[str, Any] = {"peft_type": layout.peft_type, "base_model_name_or_path": "example/tiny"}
    layers = _draw_targets(draw, layout, series, config)
    _select_kinds(layout, series, config)
    roles = _draw_roles(draw, layout, series, config)
    shared = _draw_shared(draw, series, roles, config)
    found = [(one, _paths(one, layers)) for one in series]
    ranks = _draw_ranks(draw, layout, found, shared, config)
    dtype = draw(st.sampled_from(dtypes))
    tensors: dict[str, Stored] = {}
    modules: list[GeneratedModule] = []
    for one, paths in found:
        own_ranks = [ranks[path] for path in paths]
        shapes = _draw_shapes(draw, layout, one.kind, roles, shared, math.gcd(*own_ranks))
        for path, rank in zip(paths, own_ranks, strict=True):
            keys = {role: key_of(layout, path, role) for role in shapes}
            for role, (shape, symbols, rest) in shapes.items():
                tensors[keys[role]] = fill(keys[role], dtype, shape_of(shape, {**symbols, "r": rank}, rest), tensors)
            modules.append(GeneratedModule(path, one.kind.name, keys, rank))
    draw_companions(draw, layout, modules, config, tensors)
    _draw_other_fields(draw, layout, config)
    return GeneratedAdapter(config, tensors, tuple(modules))


def _layout(method: str) -> Layout:
    layout = layout_of(method)
    if layout is None:
        raise UsageError(f"No layout is known for the method {method!r}.")
    return layout


def _switches(kind: Kind) -> frozenset[str]:
    """Return the config fields that must be set for a kind to be chosen at all."""
    pointer = kind.select.get("path_contains_any", "")
    return frozenset([*kind.select.get("config", {}), *pointer.split("/")[1:2]])


def _draw_kinds(draw: st.DrawFn, layout: Layout) -> list[Kind]:
    """Choose the kinds that may occur together: those that the same config fields call for."""
    groups: dict[frozenset[str], list[Kind]] = {}
    for kind in reversed(layout.kinds):
        groups.setdefault(_switches(kind), []).append(kind)
    ordered = sorted(groups, key=len)
    usual = [ordered[0]] * 5  # most adapters need no switch
    return groups[draw(st.sampled_from([*usual, *ordered[1:]]))]


def _draw_series(draw: st.DrawFn, layout: Layout, kinds: list[Kind]) -> list[_Series]:
    stacked = [kind for kind in kinds if kind.select.get("target") == "parameter"]
    embedding = [kind for kind in kinds if "any_role" in kind.select]
    plain = [kind for kind in kinds if kind not in stacked and kind not in embedding]
    known = _TEMPLATES + _EMBEDDINGS if embedding else _TEMPLATES
    templates = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
    of_leaf: dict[str, Kind] = {}
    series: list[_Series] = []
    for template in templates:
        leaf = template.rpartition(".")[2]
        # A config that names kinds by a part of the path can't tell modules of one name apart.
        kind = of_leaf.setdefault(leaf, draw(st.sampled_from(embedding if template in _EMBEDDINGS else plain)))
        if "path_contains_any" not in kind.select or "{n}" not in leaf:
            series.append(_Series(template, kind))
    if not series:
        series = [_Series(_TEMPLATES[0], plain[0])]
    if stacked and layout.targets.get("parameters") and draw(st.sampled_from([False, False, True])):
        owner, names = draw(st.sampled_from(_PARAMETERS))
        for index, name in enumerate(names[: draw(st.integers(1, len(names)))]):
            template = owner + f".{auxiliary().base_layer_part}" * index
            series.append(_Series(template, draw(st.sampled_from(stacked)), f"{owner.rpartition('.')[2]}.{name}"))
        if draw(st.booleans()):
            series = [one for one in series if one.parameter]
    return series


def _paths(series: _Series, layers: Iterable[int]) -> list[str]:
    if "{n}" not in series.template:
        return [series.template]
    return [series.template.replace("{n}", str(layer)) for layer in layers]


def _draw_targets(draw: st.DrawFn, layout: Layout, series: list[_Series], config: dict[str, Any]) -> list[int]:
    """Choose how the config names the modules, and the numbers of their layers."""
    field = layout.targets
    named = [one for one in series if not one.parameter]
    parameters = list(dict.fromkeys(one.parameter for one in series if one.parameter))
    style = draw(st.sampled_from(["names", "longer names", "paths", "regex"]))
    in_layers = [one for one in named if _IN_LAYERS.fullmatch(one.template)]
    # A module that is in no layer is left out by a choice of layers, unless its whole path is named.
    if in_layers and style == "names" and not any(one.template in _EMBEDDINGS for one in named) and draw(st.booleans()):
        layers = sorted(draw(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)))
        as_number = len(layers) == 1 and draw(st.booleans())
        config[field["layers"]] = layers[0] if as_number else layers
        folders = sorted({one.template.partition(".{n}")[0].rpartition(".")[2] for one in in_layers})
        if draw(st.booleans()):
            config[field["layers_pattern"]] = folders[0] if len(folders) == 1 else folders
    else:
        in_layers = named
        first = draw(st.integers(0, 2))
        layers = list(range(first, first + draw(st.integers(1, 4))))
        if style != "regex" and draw(st.sampled_from([False, False, False, True])):
            config[field["layers"]] = []
    if parameters:
        config[field["parameters"]] = parameters
    if style == "regex" and named:
        config[field["modules"]] = "|".join(f"(?:{_regex(one)})" for one in named)
    else:
        names = [name for one in named for name in _target_names(one, style if one in in_layers else "paths", layers)]
        config[field["modules"]] = draw(st.permutations(list(dict.fromkeys(names))))
    excluded = draw(st.sampled_from([None, None, [_UNUSED_NAMES[0]], rf".*\.{_UNUSED_NAMES[0]}"]))
    if excluded is not None:
        config[field["excluded"]] = excluded
    return layers


def _target_names(series: _Series, style: str, layers: Iterable[int]) -> list[str]:
    if style == "paths" or "{n}" in series.leaf:
        return _paths(series, layers)
    parts = series.template.split(".")
    short = style == "names" or "{n}" in parts[-2:]
    return [series.leaf if short else ".".join(parts[-2:])]


def _regex(series: _Series) -> str:
    """Return an expression that the whole path of every module of a series matches."""
    return re.escape(series.template).replace(re.escape("{n}"), r"\d+")


def _select_kinds(layout: Layout, series: list[_Series], config: dict[str, Any]) -> None:
    """Set the fields by which the layout's kinds are chosen."""
    schemas = field_schemas(layout.peft_type)
    for one in series:
        for field, condition in one.kind.select.get("config", {}).items():
            config[field] = _satisfying(schemas[field], condition)
        pointer = one.kind.select.get("path_contains_any", "")
        if pointer:
            field = pointer.split("/")[1]
            config.setdefault(field, switched_on(schemas[field]))
            known = _at(config, pointer) or []
            _put(config, pointer, list(dict.fromkeys([*known, one.leaf])))


def _satisfying(schema: Mapping[str, Any], condition: Mapping[str, Any]) -> Any:
    """Return a value that a condition of a layout holds for."""
    if condition.get("set") is False:
        return None
    if "in" in condition:
        return condition["in"][0]
    return condition["equals"] if "equals" in condition else switched_on(schema)


def _at(config: Mapping[str, Any], pointer: str) -> Any:
    value: Any = config
    for part in pointer.split("/")[1:]:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _put(config: dict[str, Any], pointer: str, value: Any) -> None:
    *path, last = pointer.split("/")[1:]
    for part in path:
        config = config.setdefault(part, {})
    config[last] = value


def _draw_roles(draw: st.DrawFn, layout: Layout, series: list[_Series], config: dict[str, Any]) -> set[str]:
    """Choose which optional roles are stored, and declare them; return all roles that are."""
    schemas = field_schemas(layout.peft_type)
    known_by_all = set.intersection(*(set(one.kind.shapes) for one in series))
    optional: dict[str, Mapping[str, Mapping[str, Any]]] = {}
    for name, role in layout.roles.items():
        if role.declared_by and name in known_by_all:
            optional.setdefault(repr(role.declared_by), role.declared_by)
    for text in draw(st.lists(st.sampled_from(sorted(optional)), max_size=2, unique=True)) if optional else ():
        changes = {field: _satisfying(schemas[field], test) for field, test in optional[text].items()}
        if not set(changes) & set(layout.initialisation.get("also_changed_by", ())):
            offer(config, changes)
    find = lookup_in(config, defaults_of(layout.peft_type))
    return {name for name, role in layout.roles.items() if holds(role.declared_by, find)}


def _draw_shared(draw: st.DrawFn, series: list[_Series], roles: set[str], config: dict[str, Any]) -> dict[str, int]:
    """Choose the symbols whose value stands in the config."""
    shared: dict[str, int] = {}
    for one in series:
        used = {atom for role in roles & set(one.kind.shapes) for atom in _atoms(one.kind.shapes[role])}
        for symbol, pointer in one.kind.config_symbols.items():
            if symbol in used and symbol not in shared:
                shared[symbol] = draw(st.integers(1, 3))
                _put(config, pointer, shared[symbol])
    return shared


def _atoms(shape: Shape) -> set[str]:
    names = {atom for dimension in shape for atom in (dimension.left, dimension.right) if dimension.operator != "..."}
    return {name for name in names if name and not name.isdigit()}


def _draw_ranks(
    draw: st.DrawFn,
    layout: Layout,
    found: list[tuple[_Series, list[str]]],
    shared: Mapping[str, int],
    config: dict[str, Any],
) -> dict[str, int]:
    """Choose rank and scale, in general and for single modules; return the rank of each path."""
    divisors = [shared[d.right] for one, _ in found for s in one.kind.shapes.values() for d in s if d.right in shared]
    step = math.lcm(1, *divisors)
    some_ranks = st.integers(1, 4).map(lambda factor: factor * step)
    usual = draw(some_ranks)
    config[layout.rank["field"]] = usual
    if "numerator" in layout.scaling:
        config[layout.scaling["numerator"]] = draw(_ALPHAS)
    for field in (layout.scaling.get("square_root"),):
        if field and draw(st.booleans()):
            config[field] = True
    ranks = {path: usual for _, paths in found for path in paths}
    for field, values, taken in (
        (layout.rank.get("pattern"), some_ranks, ranks),
        (layout.scaling.get("pattern"), _ALPHAS, {}),
    ):
        if field and draw(st.sampled_from([False, False, True])):
            table = _draw_patterns(draw, found, values, taken)
            if table:
                config[field] = table
    return ranks


def _draw_patterns(
    draw: st.DrawFn,
    found: list[tuple[_Series, list[str]]],
    values: st.SearchStrategy[Any],
    taken: dict[str, Any],
) -> dict[str, Any]:
    """Draw a table of patterns, of which at most one matches each module; note the value of each path in `taken`."""
    table: dict[str, Any] = {}
    for one, paths in found:
        if one.parameter or one.leaf in table or not draw(st.booleans()):
            continue
        value = draw(values)
        alike = [path for other, more in found if other.leaf == one.leaf for path in more]
        style = draw(st.sampled_from(["leaf", "path", "regex"]))
        if "{n}" in one.leaf or style == "path" or len(alike) != len(paths):
            path = draw(st.sampled_from(paths))
            table[re.escape(path) if style == "regex" else path] = value
            taken[path] = value
            continue
        table[one.leaf if style == "leaf" else _regex(one)] = value
        taken.update(dict.fromkeys(paths, value))
    return table


def _draw_shapes(
    draw: st.DrawFn, layout: Layout, kind: Kind, roles: set[str], shared: Mapping[str, int], rank_divisor: int
) -> dict[str, tuple[Shape, dict[str, int], tuple[int, ...]]]:
    """Choose the sizes of one series: shape, symbols (without the rank) and rest of each role stored."""
    wanted = {name: shape for name, shape in kind.shapes.items() if name in roles}
    symbols = dict(shared)
    dimensions = [dimension for shape in wanted.values() for dimension in shape if dimension.operator != "..."]
    for dimension in dimensions:
        if dimension.operator == "/":
            _draw_quotient(draw, dimension.left, dimension.right, symbols, rank_divisor)
    for dimension in dimensions:
        for atom in (dimension.left, dimension.right):
            if atom and atom != "r" and not atom.isdigit():
                symbols.setdefault(atom, draw(st.integers(1, 6)))
    counts = [length for lengths in kind.select.get("role_dimensions", {}).values() for length in lengths]
    fixed = [len(kind.shapes[name]) - 1 for name in kind.select.get("role_dimensions", {})]
    length = draw(st.sampled_from(counts)) - fixed[0] if counts else 0
    kernel = tuple(draw(st.lists(st.integers(1, 3), min_size=length, max_size=length)))
    free = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)))
    return {name: (shape, symbols, free if layout.roles[name].free_shape else kernel) for name, shape in wanted.items()}


def _draw_quotient(draw: st.DrawFn, left: str, right: str, symbols: dict[str, int], rank_divisor: int) -> None:
    """Choose two symbols of which the second divides the first."""
    if left == "r":
        divisors = [number for number in range(1, rank_divisor + 1) if rank_divisor % number == 0]
        symbols.setdefault(right, draw(st.sampled_from(divisors)))
        return
    symbols.setdefault(right, draw(st.integers(1, 3)))
    symbols.setdefault(left, symbols[right] * draw(st.integers(1, 3)))


def _draw_other_fields(draw: st.DrawFn, layout: Layout, config: dict[str, Any]) -> None:
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
            config.setdefault(name, value)


def _decided(layout: Layout) -> set[str]:
    """Return the fields that the rest of this module decides, or that tie the adapter to a changed base."""
    declared = auxiliary()
    fields = {"base_model_name_or_path", declared.saved_modules_field, declared.tokens_field}
    fields |= {*layout.rank.values(), *layout.scaling.values(), *layout.targets.values(), *layout.retired_layouts}
    fields |= {layout.bias.get("field", ""), *layout.initialisation.get("also_changed_by", ())}
    fields |= {layout.initialisation.get("field", "")}
    fields |= {name for role in layout.roles.values() for name in role.declared_by}
    fields |= {name for kind in layout.kinds for name in _switches(kind)}
    return fields | {pointer.split("/")[1] for kind in layout.kinds for pointer in kind.config_symbols.values()}
