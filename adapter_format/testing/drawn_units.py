"""The sizes of a drawn adapter: each module and each shared unit planned from its layout, and patterns between them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hypothesis import reject
from hypothesis import strategies as st

from adapter_format.conditions import holds
from adapter_format.expressions import NoValueError, UnknownSymbolError
from adapter_format.layouts import BASE_FEATURES, CATEGORY, Kind, Layout, fitted, instance_of
from adapter_format.module_values import EXACT
from adapter_format.prediction import Plan, given_by_path, plan_unit
from adapter_format.semantics import alpha_value
from adapter_format.settling import Frame, numbered, numbers_of
from adapter_format.shape_functions import category
from adapter_format.shapes import ANY, Symbols, is_free, shape_of, symbols_of
from adapter_format.testing.drawn_series import CONVOLUTION, Series, regex_of
from adapter_format.testing.drawn_settings import ALPHAS, ATTEMPTS, shared_kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from adapter_format.layouts import Role, Value


def draw_units(
    draw: st.DrawFn,
    layout: Layout,
    found: list[tuple[Series, list[str]]],
    config: dict[str, Any],
    find: Callable[[str], Any],
) -> list[Plan]:
    """Choose the sizes of every series and of what is shared, and settings of single modules."""

    def wanted(role: str) -> bool:
        return holds(layout.roles[role].declared_by, find)

    given = given_by_path(layout, config)
    plans: dict[str, Plan] = {}
    bases: dict[str, tuple[Series, dict[str, Any]]] = {}
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
    for scope in dict.fromkeys(kind.scope for kind in shared_kinds(layout)):
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
    for _ in range(ATTEMPTS):
        kind = fitted(draw(st.sampled_from(usable)), find)
        dimensions = _dimensions(kind)
        rest = tuple(draw(st.integers(1, 3)) for _ in range(draw(st.sampled_from(dimensions)))) if dimensions else ()
        symbols: Symbols = dict(given)
        for symbol, (low, high) in kind.draws.items():
            if symbol not in symbols and symbol not in kind.indexed:
                symbols[symbol] = draw(st.integers(low, high))
        if layer == CONVOLUTION:
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
    return counts or ([1, 2, 3] if CONVOLUTION in kind.layers else [0])


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
    found: list[tuple[Series, list[str]]],
    config: dict[str, Any],
    plans: dict[str, Plan],
    bases: Mapping[str, tuple[Series, dict[str, Any]]],
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
            chosen = draw(ALPHAS if value is alpha else st.integers(1, 4))
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
    draw: st.DrawFn, value: Value, one: Series, paths: list[str], found: list[tuple[Series, list[str]]]
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
    return one.leaf if style == "leaf" else regex_of(one), paths


def _replanned(
    layout: Layout,
    bases: Mapping[str, tuple[Series, dict[str, Any]]],
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
    bases: Mapping[str, tuple[Series, dict[str, Any]]],
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


def draw_tensors(
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
