"""Adapted modules: the roles of one module path put together, with rank, features and kind resolved."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.conditions import all_hold, is_set
from adapter_format.layouts import auxiliary
from adapter_format.shapes import REST, Mismatch, Symbols, match_shape
from adapter_format.targets import Targets, ends_with_name, value_by_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from adapter_format.layouts import Kind, Layout
    from adapter_format.tensors import TensorInfo

Roles = dict[str, "TensorInfo"]

_STORED_AS = itemgetter(1, 2)
"""Element type and shape of a `TensorInfo`."""

RANK = "rank"
"""Every factor of the module agrees on a rank, but it is not the one that the config gives."""
FACTORS = "factors"
"""The factors of the module contradict each other."""
TRANSPOSED = "transposed"
"""The factors fit when each is transposed."""
DIMENSIONS = "dimensions"
"""A tensor has the wrong number of dimensions."""
EMPTY = "empty"
"""A dimension is zero."""
COMPANION = "companion"
"""The factors fit, but a tensor that a config field adds does not."""


class ShapeFault(NamedTuple):
    """Why the shapes of a module do not fit its kind.

    Attributes:
        fault: one of the constants of this module.
        role: the role concerned.
        mismatch: the first mismatch, None for `TRANSPOSED` and `EMPTY`.
        found_rank: the rank that the factors agree on, for `RANK`.
    """

    fault: str
    role: str
    mismatch: Mismatch | None = None
    found_rank: int | None = None


class Module(NamedTuple):
    """One adapted module.

    Attributes:
        path: module path in the base model.
        kind: kind of base layer.
        roles: the stored tensors by role.
        rank: the rank that the config gives this module, None without a config.
        symbols: everything that shapes and config settle: `r`, `d_in`, `d_out`, ...
        faults: what does not fit.
    """

    path: str
    kind: Kind
    roles: Roles
    rank: int | None
    symbols: Symbols
    faults: tuple[ShapeFault, ...]


class Modules(NamedTuple):
    """The adapted modules of an adapter.

    Attributes:
        by_path: every module.
        alike: the same modules in groups that share kind, rank, roles, shapes and element types, so that what holds
            of one holds of its group.
    """

    by_path: dict[str, Module]
    alike: tuple[list[Module], ...]


def resolve_modules(
    layout: Layout,
    config: Mapping[str, Any] | None,
    targets: Targets | None,
    grouped: Mapping[str, Roles],
    default_rank: int | None = None,
) -> Modules:
    """Resolve every module of an adapter.

    Args:
        layout: the method.
        config: the config, or None if it can't be read.
        targets: its prepared targets.
        grouped: module path to its tensors by role.
        default_rank: rank of the method when the config gives none.
    """
    groups: dict[object, list[Module]] = {}
    modules: dict[str, Module] = {}
    rank_field, rank_pattern = layout.rank["field"], layout.rank["pattern"]
    settings = config or {}
    patterned = is_set(settings.get(rank_pattern))
    tied = settings.get("ensure_weight_tying") is True
    rank = _rank(settings.get(rank_field, default_rank)) if config is not None else None
    rank_at = value_by_path(settings, rank_field, rank_pattern)
    chooses_by_path = _chooses_by_path(layout, settings, targets)
    kind: Kind | None = None
    kind_name = ""
    make: Callable[..., Module] = tuple.__new__  # half the cost of a call of the class
    for path, roles in grouped.items():
        if chooses_by_path:
            kind = _choose_kind(layout, settings, targets, path, roles)
            kind_name = kind.name
        if patterned:
            names = pattern_names(path, kind, targets)
            if tied and _is_embedding(path):
                # A tied head is made like the embedding, with the embedding's rank.
                names += filter(_is_embedding, grouped)
            ranks = [_rank(rank_at(name)) for name in names]
            rank = ranks[0]
            if len(ranks) > 1:
                fitted = kind or _choose_kind(layout, settings, targets, path, roles)
                rank = _fitting(layout, fitted, settings, roles, ranks)
        signature = (kind_name, rank, *roles, *map(_STORED_AS, roles.values()))
        group = groups.get(signature)
        if group is None:
            chosen = kind or _choose_kind(layout, settings, targets, path, roles)
            module = Module(path, chosen, roles, rank, *_match_roles(layout, chosen, settings, roles, rank))
            groups[signature] = [module]
        else:
            _, of_kind, _, _, symbols, faults = group[0]
            module = make(Module, (path, of_kind, roles, rank, symbols, faults))
            group.append(module)
        modules[path] = module
    return Modules(modules, tuple(groups.values()))


def pattern_names(path: str, kind: Kind | None, targets: Targets | None) -> list[str]:
    """Return the names that patterns are matched with: the module's, or those of the parameters it may stand for.

    A key names the module; which of several targeted parameters it means is not in the file (spec, KEY-7). What lies
    inside a wrapped layer, as the output projection of `nn.MultiheadAttention` does, is adapted with its owner.
    """
    if kind is None or targets is None or kind.select.get("target") != "parameter":
        return [path.partition(f".{auxiliary().base_layer_part}.")[0]]
    plain = path.replace(f".{auxiliary().base_layer_part}", "")
    owned = [name for name in targets.parameters if ends_with_name(plain, name.rpartition(".")[0]) or "." not in name]
    return [f"{plain}.{name.rpartition('.')[2]}" for name in owned] or [path]


def _is_embedding(path: str) -> bool:
    return any(ends_with_name(path, name) for name in auxiliary().stored_embeddings)


def _fitting(
    layout: Layout, kind: Kind, config: Mapping[str, Any], roles: Roles, ranks: list[int | None]
) -> int | None:
    """Return the first of several possible ranks that the stored shapes fit, or the first if none does."""
    return next((rank for rank in ranks if not _match_roles(layout, kind, config, roles, rank)[1]), ranks[0])


def _rank(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _chooses_by_path(layout: Layout, config: Mapping[str, Any], targets: Targets | None) -> bool:
    """Whether the kind of a module depends on its path, so that equal shapes may still be different kinds."""
    if targets is not None and targets.parameters:
        return True
    pointers = (kind.select.get("path_contains_any") for kind in layout.kinds)
    return any(pointer is not None and at_pointer(config, pointer) for pointer in pointers)


def at_pointer(config: Mapping[str, Any], pointer: str) -> Any:
    """Follow a JSON pointer into the config; None where it leads nowhere."""
    value: Any = config
    for part in pointer.split("/")[1:]:
        if not isinstance(value, dict) and value is not config:
            return None
        value = value.get(part)
    return value


def _choose_kind(layout: Layout, config: Mapping[str, Any], targets: Targets | None, path: str, roles: Roles) -> Kind:
    return next(kind for kind in layout.kinds if _selected(kind.select, config, targets, path, roles))


def _selected(
    select: Mapping[str, Any], config: Mapping[str, Any], targets: Targets | None, path: str, roles: Roles
) -> bool:
    if select.get("target") == "parameter" and not (targets is not None and targets.is_parameter(path)):
        return False
    if "any_role" in select and not any(role in roles for role in select["any_role"]):
        return False
    by_role = select.get("role_dimensions")
    if by_role and not any(role in roles and len(roles[role].shape) in by_role[role] for role in by_role):
        return False
    if "path_contains_any" in select:
        parts = at_pointer(config, select["path_contains_any"])
        if not isinstance(parts, list) or not any(isinstance(part, str) and part in path for part in parts):
            return False
    return all_hold(select.get("config", {}), config)


def _match_roles(
    layout: Layout, kind: Kind, config: Mapping[str, Any], roles: Roles, rank: int | None
) -> tuple[Symbols, tuple[ShapeFault, ...]]:
    symbols: Symbols = {}
    for symbol, pointer in kind.config_symbols.items():
        value = at_pointer(config, pointer)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            symbols[symbol] = value
    main = {name: info for name, info in roles.items() if not layout.roles[name].declared_by and name in kind.shapes}
    if any(not info.dtype for info in roles.values()):
        return symbols, ()
    empty = next((name for name, info in roles.items() if 0 in info.shape), None)
    if empty is not None:
        return symbols, (ShapeFault(EMPTY, empty),)
    fault = _match_factors(kind, main, rank, symbols)
    if fault is not None:
        return symbols, (fault,)
    faults: list[ShapeFault] = []
    for name, info in roles.items():
        if name in main or name not in kind.shapes:
            continue
        mismatch = match_shape(kind.shapes[name], info.shape, symbols)
        if mismatch is not None:
            faults.append(ShapeFault(DIMENSIONS if mismatch.axis is None else COMPANION, name, mismatch))
    return symbols, tuple(faults)


def _match_factors(kind: Kind, main: Roles, rank: int | None, symbols: Symbols) -> ShapeFault | None:
    """Match the factors; on failure find out which of the usual mistakes it is."""
    start = dict(symbols)
    if rank is not None:
        symbols["r"] = rank
    first = _first_mismatch(kind, main, symbols)
    if first is None:
        return None
    role, mismatch = first
    if mismatch.axis is None:
        return ShapeFault(DIMENSIONS, role, mismatch)
    free = dict(start)
    agrees = _first_mismatch(kind, main, free) is None and "r" in free
    known = {**start, **({"r": rank} if rank is not None else {})}
    symbols.clear()
    symbols.update(free if agrees else known)
    if _transposes(kind, main, known) and not (
        agrees and free["r"] <= min(size for name, size in free.items() if name != REST)
    ):
        return ShapeFault(TRANSPOSED, role)
    if agrees:
        return ShapeFault(RANK, role, mismatch, free.get("r"))
    return ShapeFault(FACTORS, role, mismatch)


def _transposes(kind: Kind, main: Roles, known: Symbols) -> bool:
    """Whether matrices fit with the known rank once each is transposed."""
    if len(main) < 2 or kind.select.get("target") == "parameter":
        return False
    flipped = {name: info._replace(shape=info.shape[::-1]) for name, info in main.items()}
    return _first_mismatch(kind, flipped, dict(known)) is None


def _first_mismatch(kind: Kind, main: Roles, symbols: Symbols) -> tuple[str, Mismatch] | None:
    for name, info in main.items():
        mismatch = match_shape(kind.shapes[name], info.shape, symbols)
        if mismatch is not None:
            return name, mismatch
    return None
