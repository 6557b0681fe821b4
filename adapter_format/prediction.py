"""Predicting what an adapter stores: every tensor with its shape, from the base layers and the config alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.conditions import holds
from adapter_format.errors import UsageError
from adapter_format.expressions import NoValueError, UnknownSymbolError
from adapter_format.keys import key_of
from adapter_format.layouts import CATEGORY, MODULE, Kind, Layout, dtypes_of, fitted
from adapter_format.module_values import settings_finder, value_of, values_by_path
from adapter_format.modules import applies_to_path
from adapter_format.settling import RANK, Frame, Owners, complete, numbers_of
from adapter_format.shape_functions import category
from adapter_format.shapes import REST, Symbols, is_free, shape_of, symbols_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from adapter_format.layouts import Role
    from adapter_format.shapes import Shape


class PredictedTensor(NamedTuple):
    """One tensor that is to be stored.

    Attributes:
        path: path of its module; of shared tensors, the name of their group of modules, or "".
        role: its role.
        key: its key on disk.
        shape: its shape.
        dtype: its element type if that is not a matter of choice, else "".
    """

    path: str
    role: str
    key: str
    shape: tuple[int, ...]
    dtype: str


class Plan(NamedTuple):
    """One unit that is to be stored: what it is called, of which kind it is, and all its sizes."""

    path: str
    kind: Kind
    symbols: Symbols
    rest: tuple[int, ...]


def predict(
    layout: Layout,
    config: Mapping[str, Any],
    modules: Mapping[str, tuple[int, int]],
    layer: str | Mapping[str, str] = "linear",
    roles: Iterable[str] = (),
    ranks: Mapping[str, int] | None = None,
) -> Iterator[PredictedTensor]:
    """Yield every tensor of an adapter before it is trained.

    Args:
        layout: the method.
        config: the settings; absent fields have PEFT's defaults.
        modules: `(d_in, d_out)` in features of each adapted module, by path.
        layer: what the modules are, all of them or each by its path.
        roles: further roles beside those that the config calls for.
        ranks: rank by path, for modules that differ from that of the config.

    Raises:
        UsageError: the features are not positive, or do not go with the settings, or a size depends on something else.
    """
    find = settings_finder(layout, config)
    chosen = set(roles)

    def wanted(role: str) -> bool:
        declared = layout.roles[role]
        return role in chosen or (declared.missing != "unknown" and holds(declared.declared_by, find))

    layers = dict.fromkeys(modules, layer) if isinstance(layer, str) else layer
    kinds = {name: _kinds_for(layout, name) for name in ({layer} if isinstance(layer, str) else set(layers.values()))}
    given = given_by_path(layout, config)
    least_rank = 0 if RANK in layout.values and layout.values[RANK].may_be_zero else 1
    features: dict[str, dict[str, Any]] = {}
    for path, (d_in, d_out) in modules.items() if any(kinds.values()) else ():
        rank = (ranks or {}).get(path)
        own = {**given(path), **({RANK: rank} if rank is not None else {}), "d_in": d_in, "d_out": d_out}
        if min(d_in, d_out) < 1 or own.get(RANK, least_rank) < least_rank:
            found = f"r={own.get(RANK)}, d_in={d_in}, d_out={d_out}"
            raise UsageError(f"Rank and features must be positive, found {found}.")
        features[path] = own
    plans: list[Plan] = []
    for path, own in features.items():
        plan = plan_unit(layout, path, kinds[layers[path]], own, find, wanted, others=features.values())
        if plan is None:
            d_in, d_out = own["d_in"], own["d_out"]
            raise UsageError(f"{layout.title} can't adapt a module of {d_in} x {d_out} features with these settings.")
        plans.append(plan)
    plans += plan_shared(layout, plans, given(""), find, wanted)
    for plan in plans:
        yield from tensors_of_plan(layout, plan, wanted, find)


def _kinds_for(layout: Layout, layer: str) -> list[Kind]:
    """Return the kinds of a base layer; none if the method adapts no modules, UsageError if it does not adapt these."""
    kinds = [kind for kind in layout.kinds if kind.scope == MODULE and layer in kind.layers]
    if not kinds and any(kind.scope == MODULE for kind in layout.kinds):
        known = ", ".join(dict.fromkeys(name for kind in layout.kinds for name in kind.layers))
        raise UsageError(f"{layout.title} has no kind for {layer!r} layers; it has kinds for {known}.")
    return kinds


def given_by_path(layout: Layout, config: Mapping[str, Any]) -> Callable[[str], dict[str, Any]]:
    """Return a function that gives the settings of a module by symbol, from its path.

    Of a table that the first adapter of a model does not follow, it gives what all modules have.
    """
    find = settings_finder(layout, config)
    finders = [
        (value, values_by_path(value._replace(pattern="") if value.either else value, config, find))
        for value in layout.values.values()
    ]

    def given(path: str) -> dict[str, Any]:
        found = {value.symbol: value_of(value, by_path(path)) for value, by_path in finders}
        return {symbol: known for symbol, known in found.items() if known is not None or layout.values[symbol].raw}

    return given


def plan_unit(
    layout: Layout,
    path: str,
    kinds: Iterable[Kind],
    symbols: Mapping[str, Any],
    find: Callable[[str], Any],
    wanted: Callable[[str], bool],
    rest: tuple[int, ...] = (),
    others: Iterable[Symbols] = (),
) -> Plan | None:
    """Find the kind of a unit and all its sizes; None if no kind goes with them.

    Args:
        layout: the method.
        path: path of the module, or name of what is shared.
        kinds: the kinds to choose from, in order.
        symbols: features and settings.
        find: gives the value of a config field.
        wanted: whether a role is to be stored.
        rest: what a rest such as `*kernel` stands for.
        others: symbols of the modules that share the unit, or of all modules, itself among them.
    """
    owners = Owners(list(others))
    for kind in kinds:
        if not holds(kind.select.get("config", {}), find) or not applies_to_path(kind, path, find):
            continue
        frame = Frame(layout, fitted(kind, find), owners)
        found = complete(frame, {**symbols, REST: len(rest)}, wanted)
        if found is not None and all(role in frame.kind.shapes for role in kind.always):
            return Plan(path, frame.kind, found, rest)
    return None


def plan_shared(
    layout: Layout,
    plans: list[Plan],
    symbols: Mapping[str, Any],
    find: Callable[[str], Any],
    wanted: Callable[[str], bool],
) -> Iterator[Plan]:
    """Plan the tensors that modules share, from the modules' own plans."""
    for scope in dict.fromkeys(kind.scope for kind in layout.kinds if kind.scope != MODULE):
        kinds = [kind for kind in layout.kinds if kind.scope == scope]
        groups: dict[str, list[Symbols]] = {} if scope == CATEGORY else {"": []}
        for plan in plans:
            groups.setdefault(category(plan.path) if scope == CATEGORY else "", []).append(plan.symbols)
        for name, others in groups.items():
            found = plan_unit(layout, name, kinds, symbols, find, wanted, others=others)
            if found is not None:
                yield found


def tensors_of_plan(
    layout: Layout, plan: Plan, wanted: Callable[[str], bool], find: Callable[[str], Any]
) -> Iterator[PredictedTensor]:
    """Yield the tensors of one unit.

    Raises:
        UsageError: a size depends on a field that is not set, or on something that is not known before training.
    """
    frame = Frame(layout, plan.kind)
    for name, shape in plan.kind.shapes.items():
        role = layout.roles[name]
        if not wanted(name) and name not in plan.kind.always:
            continue
        numbers = numbers_of(plan.symbols, role.counted_as) if role.counted_as else ("",)
        for number in numbers:
            try:
                if is_free(shape):
                    raise UnknownSymbolError(name)
                sizes = shape_of(shape, frame.scope(plan.symbols, number), plan.rest)
            except (UnknownSymbolError, NoValueError):
                raise UsageError(_why_unknown(layout, role, shape, plan.symbols)) from None
            dtype = next(iter(dtypes_of(role, find)), "")
            yield PredictedTensor(plan.path, name, key_of(layout, plan.path, name, number), sizes, dtype)


def _why_unknown(layout: Layout, role: Role, shape: Shape, symbols: Symbols) -> str:
    """Say what the size of a role depends on: config fields that are not set, or what no config says."""
    missing = [name for name in layout.symbols if name in symbols_of(shape) and symbols.get(name) is None]
    fields = [f"`{layout.values[name].field}`" for name in missing if name in layout.values]
    if fields:
        return f"The size of `{role.suffix}` depends on config fields that are not set: {', '.join(fields)}."
    words = "; ".join(layout.symbols[name].partition(":")[0] for name in missing)
    return f"The size of `{role.suffix}` is not known before training{f' ({words})' if words else ''}."
