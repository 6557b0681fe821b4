"""Adapted modules: the tensors of one module path put together, with rank, features and kind resolved.

What is said of modules here holds as well for the tensors that belong to several of them, or to the adapter as a whole.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.conditions import holds
from adapter_format.diagnosis import ShapeFault, settle
from adapter_format.layouts import CATEGORY, MODULE, auxiliary, fitted, role_name
from adapter_format.module_values import settings_finder, value_of, values_by_path
from adapter_format.patterns import PatternError, PatternTooCostly, fullmatch
from adapter_format.settling import NOBODY, RANK, Frame, Owners, Roles
from adapter_format.shape_functions import category
from adapter_format.shapes import may_have, parse_shape
from adapter_format.targets import Targets, ends_with_name, target_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from adapter_format.keys import Sorted
    from adapter_format.layouts import Kind, Layout, Value
    from adapter_format.shapes import Symbols

_STORED_AS = itemgetter(1, 2)
"""Element type and shape of a `TensorInfo`."""


_MOST_DIAGNOSED = 100
"""Units whose faults are traced to a setting: each may cost milliseconds, and a hostile file has tens of thousands."""


class Module(NamedTuple):
    """One adapted module, or one set of tensors that several modules share.

    Attributes:
        path: module path in the base model; of shared tensors, the name of the group of modules, or "".
        kind: kind of base layer.
        roles: the stored tensors by role.
        given: what the config gives this module, by symbol; empty without a config.
        symbols: everything that shapes and config settle: `r`, `d_in`, `d_out`, ...
        faults: what does not fit.
    """

    path: str
    kind: Kind
    roles: Roles
    given: Mapping[str, Any]
    symbols: Symbols
    faults: tuple[ShapeFault, ...]

    @property
    def rank(self) -> int | None:
        """The rank that the config gives this module."""
        found: int | None = self.given.get(RANK)
        return found


class Modules(NamedTuple):
    """The adapted modules of an adapter.

    Attributes:
        by_path: every module.
        shared: tensors that belong to no single module, by the name of their group of modules, or by "".
        alike: the same in groups that share kind, settings, roles, shapes and element types, so that what holds of one
            holds of its group.
    """

    by_path: dict[str, Module]
    shared: dict[str, Module]
    alike: tuple[list[Module], ...]


def resolve_modules(
    layout: Layout, config: Mapping[str, Any] | None, targets: Targets | None, stored: Sorted
) -> Modules:
    """Resolve every module of an adapter.

    Args:
        layout: the method.
        config: the config, or None if it can't be read.
        targets: its prepared targets.
        stored: the tensors by module path and by role.
    """
    settings = _Settings(layout, config, targets, stored.modules)
    groups: defaultdict[object, list[str]] = defaultdict(list)
    special: dict[object, tuple[Kind | None, Mapping[str, Any]]] = {}
    signature: object
    if settings.is_by_path:
        for path, roles in stored.modules.items():
            kind = settings.kind_of(path, roles) if settings.chooses_by_path else None
            given = settings.given(path, kind, roles) if settings.by_path else settings.constant
            signature = (*roles, *map(_STORED_AS, roles.values()), kind and kind.name, *given.values())
            special[signature] = kind, given
            groups[signature].append(path)
    else:
        for path, roles in stored.modules.items():
            signature = (*roles, *map(_STORED_AS, roles.values()))
            groups[signature].append(path)
    modules: dict[str, Module] = {}
    alike: list[list[Module]] = []
    broken = 0
    make: Callable[..., Module] = tuple.__new__  # half the cost of a call of the class
    for signature, paths in groups.items():
        roles = stored.modules[paths[0]]
        kind, given = special.get(signature, (None, settings.constant))
        kind = kind or settings.kind_of(paths[0], roles)
        symbols, faults = settle(Frame(layout, kind), roles, given, thorough=broken < _MOST_DIAGNOSED)
        broken += bool(faults)
        own = [make(Module, (path, kind, stored.modules[path], given, symbols, faults)) for path in paths]
        modules.update(zip(paths, own, strict=True))
        alike.append(own)
    if len(groups) > 1:
        modules = {path: modules[path] for path in stored.modules}
    categories = _by_category(modules) if any(role.scope == CATEGORY for role in layout.roles.values()) else {}
    shared = {}
    for name, roles in stored.shared.items():
        scope = layout.role(next(iter(roles))).scope
        sharing: Iterable[str] = categories.get(name, []) if scope == CATEGORY else modules
        shared[name] = _shared(settings, name, roles, Owners([modules[path].symbols for path in sharing]))
    return Modules(modules, shared, (*alike, *([module] for module in shared.values())))


def _by_category(paths: Iterable[str]) -> Mapping[str, list[str]]:
    """Group module paths by the category that their shared tensors are named after."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        found[category(path)].append(path)
    return found


def _shared(settings: _Settings, name: str, roles: Roles, owners: Owners) -> Module:
    """Resolve tensors that belong to several modules, the `owners`."""
    layout = settings.layout
    scope = layout.role(next(iter(roles))).scope
    kinds = [kind for kind in layout.kinds if kind.scope == scope]
    kind = next(kind for kind in kinds if settings.applies(kind, "", roles, owners))
    frame = Frame(layout, fitted(kind, settings.find), owners)
    return Module(name, frame.kind, roles, settings.constant, *settle(frame, roles, settings.constant))


class _Settings:
    """What the config says of modules, prepared once for all of them."""

    def __init__(
        self, layout: Layout, config: Mapping[str, Any] | None, targets: Targets | None, stored: Mapping[str, Roles]
    ) -> None:
        self.layout = layout
        self.config: Mapping[str, Any] = config or {}
        self.targets = targets
        self.stored = stored
        self.find = settings_finder(layout, self.config)
        values = layout.values.values() if config is not None else ()
        self.constant = {value.symbol: value_of(value, self.find(value.field)) for value in values}
        self.constant = _known(self.constant, layout.values)
        self.by_path = {
            value.symbol: (value, values_by_path(value, self.config, self.find))
            for value in values
            if value.pattern and self.config.get(value.pattern)
        }
        self.tied = target_settings(layout, self.config).get("tying") is True
        self.kinds = [kind for kind in layout.kinds if kind.scope == MODULE]
        self.chooses_by_path = bool(targets and targets.parameters) or any(
            self.find(field) for kind in self.kinds for field in _path_fields(kind)
        )
        self.is_by_path = self.chooses_by_path or bool(self.by_path)
        self._fitted: dict[str, Kind] = {}

    def kind_of(self, path: str, roles: Roles) -> Kind:
        """Return the first kind that applies to a module."""
        return self._fit(next(kind for kind in self.kinds if self.applies(kind, path, roles)))

    def _fit(self, kind: Kind) -> Kind:
        found = self._fitted.get(kind.name)
        if found is None:
            found = self._fitted[kind.name] = fitted(kind, self.find)
        return found

    def applies(self, kind: Kind, path: str, roles: Roles, owners: Owners = NOBODY) -> bool:
        """Whether a kind applies to a unit; `owners` are the modules that share it."""
        select = kind.select
        if not select:
            return True
        if select.get("target") == "parameter" and not (self.targets is not None and self.targets.is_parameter(path)):
            return False
        names = {role_name(name) for name in roles}
        if not all(names & set(group) for group in select.get("any_role_of_each", ())):
            return False
        by_role = select.get("role_dimensions")
        if by_role and not any(role in roles and len(roles[role].shape) in by_role[role] for role in by_role):
            return False
        by_shape = select.get("role_shapes", {})
        if not all(role in roles and may_have(parse_shape(by_shape[role]), roles[role].shape) for role in by_shape):
            return False
        chosen = applies_to_path(kind, path, self.find)
        if chosen is False or not holds(select.get("config", {}), self.find):
            return False
        if chosen is None and not self._fits(kind, path, roles, owners):
            return False
        if "unless_fits" in select and self._fits(self.layout.kind(select["unless_fits"]), path, roles, owners):
            return False
        return not select.get("fits") or self._fits(kind, path, roles, owners)

    def _fits(self, kind: Kind, path: str, roles: Roles, owners: Owners) -> bool:
        given = self.given(path, kind, roles) if self.by_path else self.constant
        chosen = self._fit(kind)
        has_all = all(role_name(name) in chosen.shapes for name in roles)
        return has_all and not settle(Frame(self.layout, chosen, owners), roles, given, thorough=False).faults

    @functools.cached_property
    def _tied_choices(self) -> list[dict[str, Any]]:
        return _distinct(self._choice(path) for path in self.stored if _is_embedding(path))

    def _choice(self, name: str) -> dict[str, Any]:
        """Return what the config gives what bears a name."""
        found = {symbol: value_of(value, by_path(name)) for symbol, (value, by_path) in self.by_path.items()}
        return _known({**self.constant, **found}, self.layout.values)

    def given(self, path: str, kind: Kind | None, roles: Roles) -> Mapping[str, Any]:
        """Return what the config gives one module, by symbol."""
        names = pattern_names(path, kind, self.targets)
        choices = [self._choice(name) for name in names]
        if self.tied and _is_embedding(path):
            # A tied head is made like the embedding, with the embedding's rank.
            choices += self._tied_choices
        choices += [self.constant] if any(value.either for value, _ in self.by_path.values()) else []
        choices = _distinct(choices) if len(choices) > 1 else choices
        if len(choices) == 1:
            return choices[0]
        frame = Frame(self.layout, kind or self.kind_of(path, roles))
        return next((given for given in choices if not settle(frame, roles, given, thorough=False).faults), choices[0])


def _known(values: Mapping[str, Any], declared: Mapping[str, Value]) -> dict[str, Any]:
    """Leave out what the config does not give in a usable form; null is usable where an expression reads it."""
    return {symbol: value for symbol, value in values.items() if value is not None or declared[symbol].raw}


def _distinct(choices: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop what was there before: settling costs more than looking, and thousands of names may have one rank."""
    # Of equal values, True and 1 are not the same to an expression.
    return list({(*found.items(), *map(type, found.values())): found for found in choices}.values())


def applies_to_path(kind: Kind, path: str, find: Callable[[str], Any]) -> bool | None:
    """Whether a kind that the config chooses by path applies to a path; one that it does not, applies to all.

    Returns:
        None if the config's regex can't be matched in bounded time, or not at all.
    """
    select = kind.select
    if "path_contains_any" in select and not _contains_any(find(select["path_contains_any"]), path):
        return False
    return _ends_with_any(find(select["path_ends_with_any"]), path) if "path_ends_with_any" in select else True


def _path_fields(kind: Kind) -> list[str]:
    """Return the config fields by which a kind is chosen for single paths."""
    return [kind.select[name] for name in ("path_contains_any", "path_ends_with_any") if name in kind.select]


def regex_fields(layout: Layout) -> list[str]:
    """Return the config fields that choose kinds by a list of endings or by a regex."""
    return [kind.select["path_ends_with_any"] for kind in layout.kinds if "path_ends_with_any" in kind.select]


def _contains_any(parts: Any, path: str) -> bool:
    return isinstance(parts, list) and any(isinstance(part, str) and part in path for part in parts)


def _ends_with_any(endings: Any, path: str) -> bool | None:
    """Whether a path ends with an entry of a list, or is matched by a regex as a whole; None if that stays open."""
    if isinstance(endings, str):
        try:
            return fullmatch(endings, path)
        except (PatternError, PatternTooCostly):
            return None
    return isinstance(endings, list) and any(isinstance(ending, str) and path.endswith(ending) for ending in endings)


def pattern_names(path: str, kind: Kind | None, targets: Targets | None) -> list[str]:
    """Return the names that patterns are matched with: the module's, or those of the parameters it may stand for.

    A key names the module; which of several targeted parameters it means is not in the file (spec, KEY-7). What lies
    inside a wrapped layer, as the output projection of `nn.MultiheadAttention` does, is adapted with its owner.
    """
    if kind is None or targets is None or kind.select.get("target") != "parameter":
        return [path.partition(f".{auxiliary().base_layer_part}.")[0]]
    plain = path.replace(f".{auxiliary().base_layer_part}", "")
    return [f"{plain}.{name.rpartition('.')[2]}" for name in targets.parameters_of(plain)] or [path]


def _is_embedding(path: str) -> bool:
    return any(ends_with_name(path, name) for name in auxiliary().stored_embeddings)
