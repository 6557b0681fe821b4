"""Valid adapters built from a layout: kinds, roles, symbols, targets, patterns and companions, drawn one after another.

Nothing of a method is written here: what a module stores, in which shapes and when, stands in its layout, and which
fields go together stands in its table of constraints. Only module paths are made up, after those of real models.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import reject
from hypothesis import strategies as st

from adapter_format.conditions import holds, is_set
from adapter_format.config_fields import newest_release
from adapter_format.constraints import broken_constraints
from adapter_format.expressions import NoValueError, UnknownSymbolError
from adapter_format.keys import key_of
from adapter_format.layouts import (
    BASE_FEATURES,
    CATEGORY,
    MODULE,
    Kind,
    Layout,
    auxiliary,
    dtypes_of,
    fitted,
    instance_of,
)
from adapter_format.module_values import EXACT, settings_finder
from adapter_format.prediction import Plan, given_by_path, plan_unit
from adapter_format.schema_check import is_valid
from adapter_format.semantics import alpha_value
from adapter_format.settings import layout_named
from adapter_format.settling import RANK, Frame, numbered, numbers_of
from adapter_format.shape_functions import category
from adapter_format.shapes import ANY, Symbols, is_free, shape_of, symbols_of
from adapter_format.targets import ENDINGS
from adapter_format.testing.drawn_companions import draw_companions
from adapter_format.testing.drawn_fields import defaults_of, field_schemas, field_values, switched_on, values_of
from adapter_format.testing.generated import GeneratedAdapter, GeneratedModule, fill, offer, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from adapter_format.layouts import Role, Value
    from adapter_format.testing.examples import Stored


class _Series(NamedTuple):
    """Modules that differ in the number of their layer only; `{n}` stands for it."""

    template: str
    layer: str
    kinds: tuple[Kind, ...]
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
_ITEM = "item"
_ATTEMPTS = 5
_EMBEDDING, _PARAMETER, _CONVOLUTION = "embedding", "parameter", "convolution"


def draw_adapter(draw: st.DrawFn, methods: Sequence[str], dtypes: Sequence[str]) -> GeneratedAdapter:
    """Draw one valid adapter."""
    layout = layout_named(draw(st.sampled_from(methods)))
    config: dict[str, Any] = {"peft_type": layout.peft_type, "base_model_name_or_path": "example/tiny"}
    groups = _draw_kinds(draw, layout)
    series = _draw_series(draw, groups)
    layers = _draw_targets(draw, layout, series, config) if layout.targets else []
    _select_kinds(layout, [*groups, *(kind for one in series for kind in one.kinds)], series, config)
    _draw_roles(draw, layout, config)
    _draw_values(draw, layout, [*(kind for one in series for kind in one.kinds), *_shared_kinds(layout)], config)
    _draw_scale(draw, layout, config)
    _keep_constraints(draw, layout, config)
    find = settings_finder(layout, config)
    found = [(one, _paths(one, layers)) for one in series]
    units = _draw_units(draw, layout, found, config, find)
    dtype = draw(st.sampled_from(dtypes))
    tensors: dict[str, Stored] = {}
    modules: list[GeneratedModule] = []
    for plan in units:
        keys: dict[str, str] = {}
        for role, number, sizes in _draw_tensors(draw, layout, plan, find):
            key = key_of(layout, plan.path, role.name, number)
            keys[instance_of(role.name, number) if number else role.name] = key
            tensors[key] = fill(key, next(iter(dtypes_of(role, find)), dtype), sizes, tensors)
        rank = plan.symbols.get(RANK)
        modules.append(GeneratedModule(plan.path, plan.kind.name, keys, rank if type(rank) is int else 0))
    in_modules = [module for module in modules if layout.kind(module.kind).scope == MODULE]
    shared = tuple(module for module in modules if module not in in_modules)
    draw_companions(draw, layout, in_modules, config, tensors)
    _draw_other_fields(draw, layout, config)
    return GeneratedAdapter(config, tensors, tuple(in_modules), shared)


def _switches(kind: Kind) -> frozenset[str]:
    """Return what must be set in the config for a kind to be chosen at all, conditions with their fields."""
    wanted = {f"{field} {condition!r}" for field, condition in kind.select.get("config", {}).items()}
    return frozenset([*wanted, *(kind.select.get(name, "") for name in ("path_contains_any", "path_ends_with_any"))])


def _draw_kinds(draw: st.DrawFn, layout: Layout) -> list[Kind]:
    """Choose the kinds that may occur together: those that the same config fields call for."""
    groups: dict[frozenset[str], list[Kind]] = {}
    for kind in reversed(layout.kinds):
        if kind.scope == MODULE and not kind.select.get("fits"):
            groups.setdefault(_switches(kind), []).append(kind)
    if not groups:
        return []
    ordered = sorted(groups, key=len)
    usual = [ordered[0]] * 5 if ordered[0] <= {""} else []  # most adapters need no switch
    chosen = draw(st.sampled_from([*usual, *ordered]))
    return groups[chosen][::-1]


def _draw_series(draw: st.DrawFn, kinds: list[Kind]) -> list[_Series]:
    if not kinds:
        return []
    by_layer: dict[str, tuple[Kind, ...]] = {}
    for kind in kinds:
        for layer in kind.layers:
            by_layer[layer] = (*by_layer.get(layer, ()), kind)
    plain = [layer for layer in by_layer if layer not in (_EMBEDDING, _PARAMETER)] or list(by_layer)
    known = _TEMPLATES + _EMBEDDINGS if _EMBEDDING in by_layer else _TEMPLATES
    templates = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
    of_leaf: dict[str, str] = {}
    series: list[_Series] = []
    for template in templates:
        # A config that names kinds by a part of the path can't tell modules of one name apart.
        leaf = template.rpartition(".")[2]
        layer = of_leaf.setdefault(leaf, _EMBEDDING if template in _EMBEDDINGS else draw(st.sampled_from(plain)))
        if not ("{n}" in leaf and any(_path_field(kind) for kind in by_layer[layer])):
            series.append(_Series(template, layer, by_layer[layer]))
    if not series:
        series = [_Series(_TEMPLATES[0], plain[0], by_layer[plain[0]])]
    if _PARAMETER in by_layer and draw(st.sampled_from([False, False, True])):
        owner, names = draw(st.sampled_from(_PARAMETERS))
        for index, name in enumerate(names[: draw(st.integers(1, len(names)))]):
            template = owner + f".{auxiliary().base_layer_part}" * index
            parameter = f"{owner.rpartition('.')[2]}.{name}"
            series.append(_Series(template, _PARAMETER, by_layer[_PARAMETER], parameter))
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
    if field.get("matching") == ENDINGS:
        usable = [one for one in series if _IN_LAYERS.fullmatch(one.template)]
        series[:] = usable[:1] or [series[0]._replace(template=_TEMPLATES[0])]
        config[field["modules"]] = series[0].leaf
        layers = list(range(draw(st.integers(1, 3))))
        if "number" in field:
            config[field["number"]] = len(_paths(series[0], layers))
        return layers
    named = [one for one in series if not one.parameter]
    parameters = list(dict.fromkeys(one.parameter for one in series if one.parameter))
    style = draw(st.sampled_from(["names", "longer names", "paths", "regex"]))
    in_layers = [one for one in named if _IN_LAYERS.fullmatch(one.template)]
    # A module that is in no layer is left out by a choice of layers, unless its whole path is named.
    may_choose = "layers" in field and not any(one.template in _EMBEDDINGS for one in named)
    if in_layers and style == "names" and may_choose and draw(st.booleans()):
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
        if "layers" in field and style != "regex" and draw(st.sampled_from([False, False, False, True])):
            config[field["layers"]] = []
    if parameters:
        config[field["parameters"]] = parameters
    if style == "regex" and named:
        config[field["modules"]] = "|".join(f"(?:{_regex(one)})" for one in named)
    else:
        names = [name for one in named for name in _target_names(one, style if one in in_layers else "paths", layers)]
        config[field["modules"]] = draw(st.permutations(list(dict.fromkeys(names))))
    excluded = draw(st.sampled_from([None, None, [_UNUSED_NAMES[0]], rf".*\.{_UNUSED_NAMES[0]}"]))
    if excluded is not None and "excluded" in field:
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


def _path_field(kind: Kind) -> str:
    """Return the config field that chooses a kind by path, "" if none does."""
    found: str = kind.select.get("path_contains_any") or kind.select.get("path_ends_with_any") or ""
    return found


def _select_kinds(layout: Layout, kinds: Iterable[Kind], series: list[_Series], config: dict[str, Any]) -> None:
    """Set the fields by which the layout's kinds are chosen."""
    schemas = field_schemas(layout.peft_type)
    for kind in kinds:
        for field, condition in kind.select.get("config", {}).items():
            put(config, field, _satisfying(schemas[field], condition))
        field = _path_field(kind)
        if field:
            head = field.partition(".")[0]
            if head != field:
                config.setdefault(head, switched_on(schemas[head]))
            wanted = config.get(layout.targets["modules"])
            mine = [one for one in series if kind in one.kinds]
            names = (
                [name for name in wanted if any(_names(name, one) for one in mine)] if isinstance(wanted, list) else []
            )
            put(config, field, list(dict.fromkeys(names or [one.leaf for one in mine])))


def _names(name: str, series: _Series) -> bool:
    """Whether an entry of the targets means the modules of a series."""
    return re.fullmatch(_regex(series), name) is not None or series.template.endswith(name)


def _satisfying(schema: Mapping[str, Any], condition: Mapping[str, Any]) -> Any:
    """Return a value that a condition of a layout holds for."""
    if condition.get("set") is False or condition.get("given") is False:
        return False if _may_be(schema, "boolean") else None
    if "in" in condition:
        return condition["in"][0]
    if "equals" in condition:
        return condition["equals"]
    return switched_on(schema)


def _may_be(schema: Mapping[str, Any], name: str) -> bool:
    branches = (schema, *schema.get("anyOf", ()))
    return any(name in ([found] if isinstance(found := branch.get("type", ""), str) else found) for branch in branches)


def _draw_roles(draw: st.DrawFn, layout: Layout, config: dict[str, Any]) -> None:
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
            field: _violating(schemas[field], test) if on else _satisfying(schemas[field], test)
            for field, test in conditions.items()
        }
        if not set(changes) & {*layout.initialisation.get("also_changed_by", ()), *fixed}:
            offer(config, {name: value for name, value in changes.items() if value is not ...})


def _violating(schema: Mapping[str, Any], condition: Mapping[str, Any]) -> Any:
    """Return a value that a condition does not hold for; `...` if there is no simple one."""
    if condition.get("set") is True and _may_be(schema, "boolean"):
        return False
    if condition.get("set") is False and _may_be(schema, "boolean"):
        return True
    choices = [value for value in schema.get("enum", ()) if value not in condition.get("in", [condition.get("equals")])]
    return choices[0] if choices else ...


def _shared_kinds(layout: Layout) -> list[Kind]:
    return [kind for kind in layout.kinds if kind.scope != MODULE]


def _draw_values(draw: st.DrawFn, layout: Layout, kinds: list[Kind], config: dict[str, Any]) -> None:
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
                bool(number) if _may_be(field_schemas(layout.peft_type)[head], "boolean") else number,
            )
    for symbol, value in layout.values.items():
        if value.take == "length" and symbol in used:
            low, high = next((kind.draws[symbol] for kind in kinds if symbol in kind.draws), (1, 4))
            items = range(draw(st.integers(low, high)))
            named = _may_be(field_schemas(layout.peft_type)[value.field], "object")
            config[value.field] = {f"{_ITEM}_{item}": f"{_ITEM}s/{item}" for item in items} if named else list(items)


def _draw_scale(draw: st.DrawFn, layout: Layout, config: dict[str, Any]) -> None:
    alpha, field = alpha_value(layout), layout.scaling.get("square_root")
    if alpha is not None:
        schema = field_schemas(layout.peft_type)[alpha.field]
        numbers = _ALPHAS if _may_be(schema, "number") else st.integers(1, 64)
        config[alpha.field] = draw(numbers)
    if field and draw(st.booleans()):
        config[field] = True


def _keep_constraints(draw: st.DrawFn, layout: Layout, config: dict[str, Any]) -> None:
    """Set what the constraints between fields call for; an adapter that can't be mended so is not drawn."""
    schemas = field_schemas(layout.peft_type)
    for _ in range(_ATTEMPTS):
        broken = next(broken_constraints(config, layout.peft_type), None)
        if broken is None:
            return
        for field, condition in broken.other.items() if broken.kind == "needs" else ():
            head = field.partition(".")[0]
            if head == field and head in schemas:
                config[field] = _called_for(draw, schemas[field], condition, config.get(field))
        for field, condition in broken.other.items() if broken.kind == "excludes" else ():
            value = _violating(schemas[field], condition) if field in schemas else ...
            config[field] = None if value is ... else value
    if any(broken_constraints(config, layout.peft_type)):
        reject()


def _called_for(draw: st.DrawFn, schema: Mapping[str, Any], condition: Mapping[str, Any], found: Any) -> Any:
    """Return a value that a condition of a constraint holds for, as far as its operators are simple."""
    if "matches" in condition:
        return newest_release()
    if "multiple_of" in condition and type(condition["multiple_of"]) is int and type(found) is int:
        return found * condition["multiple_of"]
    if condition in ({"given": True}, {"set": True}) and not _may_be(schema, "boolean"):
        return draw(values_of(schema).filter(is_set))
    return _satisfying(schema, condition)


def _draw_units(
    draw: st.DrawFn,
    layout: Layout,
    found: list[tuple[_Series, list[str]]],
    config: dict[str, Any],
    find: Callable[[str], Any],
) -> list[Plan]:
    """Choose the sizes of every series and of what is shared, and settings of single modules."""

    def wanted(role: str) -> bool:
        return holds(layout.roles[role].declared_by, find)

    given = given_by_path(layout, config)
    plans: dict[str, Plan] = {}
    bases: dict[str, tuple[_Series, dict[str, Any]]] = {}
    for one, paths in found:
        first = _draw_unit(draw, layout, paths[0], one.kinds, given(paths[0]), find, wanted, layer=one.layer)
        # Modules of one series stand on equal base layers.
        base = {name: value for name, value in first.symbols.items() if name not in layout.values}
        for path in paths:
            plans[path] = first._replace(path=path)
            bases[path] = (one, {name: value for name, value in base.items() if name in BASE_FEATURES})
    plans |= _planned_together(layout, bases, plans, find, wanted)
    _draw_patterns(draw, layout, found, config, plans, bases, find, wanted)
    units = list(plans.values())
    for scope in dict.fromkeys(kind.scope for kind in _shared_kinds(layout)):
        kinds = [kind for kind in layout.kinds if kind.scope == scope]
        groups: dict[str, list[Symbols]] = {} if scope == CATEGORY else {"": []}
        for plan in plans.values():
            groups.setdefault(category(plan.path) if scope == CATEGORY else "", []).append(plan.symbols)
        for name, others in groups.items():
            if any(wanted(role) for kind in kinds for role in kind.shapes):
                units.append(_draw_unit(draw, layout, name, kinds, given(""), find, wanted, others))
    return units


def _draw_unit(
    draw: st.DrawFn,
    layout: Layout,
    path: str,
    kinds: Sequence[Kind],
    given: Mapping[str, Any],
    find: Callable[[str], Any],
    wanted: Callable[[str], bool],
    others: Sequence[Symbols] = (),
    layer: str = "",
) -> Plan:
    """Choose the sizes of one unit: independent symbols from their ranges, the others as the relations want them."""
    usable = [kind for kind in kinds if holds(kind.select.get("config", {}), find)] or list(kinds)
    for _ in range(_ATTEMPTS):
        kind = fitted(draw(st.sampled_from(usable)), find)
        dimensions = _dimensions(kind)
        rest = tuple(draw(st.integers(1, 3)) for _ in range(draw(st.sampled_from(dimensions)))) if dimensions else ()
        symbols: Symbols = dict(given)
        for symbol, (low, high) in kind.draws.items():
            if symbol not in symbols and symbol not in kind.indexed:
                symbols[symbol] = draw(st.integers(low, high))
        if layer == _CONVOLUTION:
            symbols["kernel"] = _product(rest)
        _draw_numbered(draw, layout, kind, symbols, wanted)
        plan = _completed(draw, layout, path, [kind], symbols, find, wanted, rest, others)
        if plan is not None:
            return plan
    return reject()


def _product(sizes: tuple[int, ...]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def _dimensions(kind: Kind) -> list[int]:
    """Return how many sizes a rest of the kind may stand for."""
    rests = [shape for shape in kind.shapes.values() if any(d.is_rest and d.text != ANY for d in shape)]
    if not rests:
        return []
    by_role = kind.select.get("role_dimensions", {})
    counts = [length - len(kind.shapes[role]) + 1 for role, lengths in by_role.items() for length in lengths]
    return counts or ([1, 2, 3] if _CONVOLUTION in kind.layers else [0])


def _draw_numbered(
    draw: st.DrawFn, layout: Layout, kind: Kind, symbols: Symbols, wanted: Callable[[str], bool]
) -> None:
    """Choose the sizes of numbered tensors that can't be computed."""
    counts = {layout.roles[name].counted_as for name in kind.shapes if wanted(name)} - {""}
    own = [symbol for symbol in kind.draws if symbol in kind.indexed]
    for counted_as in sorted(counts) if own else ():
        if type(symbols.get(counted_as)) is not int:
            symbols[counted_as] = draw(st.integers(1, 3))
        numbers = [str(number) for number in range(symbols[counted_as])]
        symbols |= numbered(counted_as, numbers)
        for number in numbers:
            for symbol in own:
                symbols.setdefault(instance_of(symbol, number), draw(st.integers(*kind.draws[symbol])))


def _completed(
    draw: st.DrawFn,
    layout: Layout,
    path: str,
    kinds: Sequence[Kind],
    symbols: Symbols,
    find: Callable[[str], Any],
    wanted: Callable[[str], bool],
    rest: tuple[int, ...],
    others: Sequence[Symbols],
) -> Plan | None:
    """Complete the symbols of a unit, choosing those that nothing settles; None if they do not go together."""
    while True:
        plan = plan_unit(layout, path, kinds, symbols, find, wanted, rest, others)
        if plan is None:
            return None
        kind = plan.kind
        needed = {
            name
            for role, shape in kind.shapes.items()
            if (wanted(role) or role in kind.always) and not is_free(shape)
            for name in symbols_of(shape)
        }
        free = sorted(needed - kind.indexed - plan.symbols.keys())
        if not free:
            return plan if _is_positive(layout, plan, wanted) else None
        symbols = {**symbols, free[0]: draw(st.integers(1, 6))}


def _is_positive(layout: Layout, plan: Plan, wanted: Callable[[str], bool]) -> bool:
    """Whether every size is one that may be stored."""
    frame = Frame(layout, plan.kind)
    for name, shape in plan.kind.shapes.items():
        role = layout.roles[name]
        if is_free(shape) or not (wanted(name) or name in plan.kind.always):
            continue
        for number in numbers_of(plan.symbols, role.counted_as) if role.counted_as else ("",):
            try:
                sizes = shape_of(shape, frame.scope(plan.symbols, number), plan.rest)
            except (UnknownSymbolError, NoValueError):
                return False
            if min(sizes, default=1) < (0 if role.may_be_empty else 1) or _product(sizes) > 4096:
                return False
    return True


def _draw_patterns(
    draw: st.DrawFn,
    layout: Layout,
    found: list[tuple[_Series, list[str]]],
    config: dict[str, Any],
    plans: dict[str, Plan],
    bases: Mapping[str, tuple[_Series, dict[str, Any]]],
    find: Callable[[str], Any],
    wanted: Callable[[str], bool],
) -> None:
    """Choose settings of single modules, in tables by pattern; at most one pattern of a table matches each module."""
    alpha = alpha_value(layout)
    for value in (*layout.values.values(), *((alpha,) if alpha is not None else ())):
        if not value.pattern or value.raw or not draw(st.sampled_from([False, False, True])):
            continue
        table: dict[str, Any] = {}
        for one, paths in found:
            if one.parameter or one.leaf in table or not draw(st.booleans()):
                continue
            chosen = draw(_ALPHAS if value is alpha else st.integers(1, 4))
            pattern, taken = _draw_pattern(draw, value, one, paths, found)
            changed = _replanned(layout, {path: bases[path] for path in taken}, plans, value, chosen, find, wanted)
            if changed is not None:
                table[pattern] = _mask(int(chosen), find(value.field)) if value.take == "trues" else chosen
                plans.update(changed)
        if table:
            config[value.pattern] = table


def _mask(kept: int, most: Any) -> list[bool]:
    """Say of each of the ranks that a module had at first whether it is left."""
    return [True] * kept + [False] * (most - kept if isinstance(most, int) else 0)


def _draw_pattern(
    draw: st.DrawFn, value: Value, one: _Series, paths: list[str], found: list[tuple[_Series, list[str]]]
) -> tuple[str, list[str]]:
    """Choose a key of a table of settings; return it with the modules that it matches."""
    path = draw(st.sampled_from(paths))
    if value.matching == EXACT:
        return (value.key or "{path}").replace("{path}", path), [path]
    style = draw(st.sampled_from(["leaf", "path", "regex"]))
    alike = [path for other, more in found if other.leaf == one.leaf for path in more]
    matching = value.matching != "regex"
    if "{n}" in one.leaf or style == "path" or len(alike) != len(paths) or matching:
        return re.escape(path) if style == "regex" and not matching else path, [path]
    return one.leaf if style == "leaf" else _regex(one), paths


def _replanned(
    layout: Layout,
    bases: Mapping[str, tuple[_Series, dict[str, Any]]],
    plans: Mapping[str, Plan],
    value: Value,
    chosen: Any,
    find: Callable[[str], Any],
    wanted: Callable[[str], bool],
) -> dict[str, Plan] | None:
    """Plan modules anew with another setting on the same base layers; None if they do not go together."""
    if value.symbol not in layout.values:
        return {}
    changed: dict[str, Plan] = {}
    for path, (one, base) in bases.items():
        old = plans[path]
        symbols = {**_settings_of(layout, old), **base, value.symbol: chosen}
        if any(name in one.kinds[0].indexed for name in one.kinds[0].draws):
            return None
        plan = plan_unit(layout, path, one.kinds, symbols, find, wanted, old.rest)
        if plan is None or not _is_complete(plan, wanted) or not _is_positive(layout, plan, wanted):
            return None
        changed[path] = plan
    return changed


def _planned_together(
    layout: Layout,
    bases: Mapping[str, tuple[_Series, dict[str, Any]]],
    plans: Mapping[str, Plan],
    find: Callable[[str], Any],
    wanted: Callable[[str], bool],
) -> dict[str, Plan]:
    """Plan modules anew whose sizes depend on all modules; none if the layout has no such sizes."""
    if not any("_over(modules" in text for plan in plans.values() for text in plan.kind.relations):
        return {}
    found: dict[str, Plan] = {}
    others = [{**_settings_of(layout, plans[path]), **base} for path, (_, base) in bases.items()]
    for (path, plan), symbols in zip(plans.items(), others, strict=True):
        changed = plan_unit(layout, path, [plan.kind], symbols, find, wanted, plan.rest, others)
        if changed is None or not _is_complete(changed, wanted) or not _is_positive(layout, changed, wanted):
            reject()
        found[path] = changed
    return found


def _settings_of(layout: Layout, plan: Plan) -> Symbols:
    return {symbol: plan.symbols[symbol] for symbol in layout.values if symbol in plan.symbols}


def _is_complete(plan: Plan, wanted: Callable[[str], bool]) -> bool:
    stored = [shape for role, shape in plan.kind.shapes.items() if wanted(role) or role in plan.kind.always]
    needed = {name for shape in stored if not is_free(shape) for name in symbols_of(shape)}
    return needed - plan.kind.indexed <= plan.symbols.keys()


_WILD = {"{leaf}": "weight", "{rest}": "layers.0.weight"}


def _draw_tensors(
    draw: st.DrawFn, layout: Layout, plan: Plan, find: Callable[[str], Any]
) -> Iterable[tuple[Role, str, tuple[int, ...]]]:
    """Choose the tensors of one unit: role, number and shape."""
    frame = Frame(layout, plan.kind)
    for name, shape in plan.kind.shapes.items():
        role = layout.roles[name]
        if not holds(role.declared_by, find) and name not in plan.kind.always:
            continue
        if is_free(shape):
            number = next((text for wild, text in _WILD.items() if wild in role.suffix), "")
            yield role, number, tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)))
            continue
        for number in numbers_of(plan.symbols, role.counted_as) if role.counted_as else ("",):
            yield role, number, shape_of(shape, frame.scope(plan.symbols, number), plan.rest)


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
        fields |= {*kind.select.get("config", {}), _path_field(kind)}
        fields |= {name for cases in kind.cases.values() for conditions, _ in cases for name in conditions}
    return fields | {field.partition(".")[0] for field in fields}
