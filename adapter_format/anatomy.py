"""What every tensor of an adapter is: a role of its method, a companion that any method may carry, or a stranger."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.conditions import holds
from adapter_format.foreign import foreign_spelling
from adapter_format.keys import KeyGrammar, KeyReading, Sorted, grammar_of, group_sound, looks_misspelt, read_key
from adapter_format.layouts import Layout, auxiliary, role_name
from adapter_format.module_values import settings_finder
from adapter_format.modules import Module, resolve_modules
from adapter_format.targets import Targets, ends_with_name, read_targets

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from adapter_format.tensors import TensorInfo

SAVED_MODULE = "saved module"
SAVED_COPY = "in-memory copy of a saved module"
TOKENS = "trainable tokens"
BIAS = "bias"
EMBEDDING = "stored embedding"
BASE_LAYER = "base layer"
BASE_WEIGHT = "base weight"
OTHER_METHOD = "other method"
OTHER_WRITER = "other writer"


class Companion(NamedTuple):
    """A tensor that is no role of the method.

    Attributes:
        info: the stored tensor.
        path: what stands behind the prefix in its key.
        what: one of the constants of this module.
        detail: the module, the method or the writer concerned.
    """

    info: TensorInfo
    path: str
    what: str
    detail: str = ""


class Misspelling(NamedTuple):
    """A key that had to be read with a fault on the way."""

    key: str
    canonical: str
    fault: str


class Anatomy(NamedTuple):
    """Everything that keys, shapes and config say together.

    Attributes:
        layout: the method.
        targets: prepared targeting fields, None without a config.
        modules: adapted modules by path.
        shared: tensors of the method that belong to no single module, by the name of their group of modules, or by "".
        alike: modules and shared tensors in groups that agree in kind, settings, roles, shapes and element types.
        series: paths by the template that they share (`by_pattern`).
        companions: tensors that are no role of the method.
        misspellings: keys that were read with a fault.
        duplicates: keys that name a role which another key already fills.
    """

    layout: Layout
    targets: Targets | None
    modules: Mapping[str, Module]
    shared: Mapping[str, Module]
    alike: tuple[list[Module], ...]
    series: Mapping[str, list[str]]
    companions: tuple[Companion, ...]
    misspellings: tuple[Misspelling, ...]
    duplicates: tuple[str, ...]

    def companions_that_are(self, what: str) -> tuple[Companion, ...]:
        """Return the companions of one sort."""
        return tuple(companion for companion in self.companions if companion.what == what)

    @property
    def units(self) -> Iterator[Module]:
        """Modules and shared tensors, one after the other."""
        return chain(self.modules.values(), self.shared.values())


def dissect(layout: Layout, config: Mapping[str, Any] | None, tensors: Mapping[str, TensorInfo]) -> Anatomy:
    """Tell what every tensor is.

    Args:
        layout: the method.
        config: the config, or None if it can't be read.
        tensors: the stored tensors by key.
    """
    grammar = grammar_of(layout.peft_type)
    keys = _sort_sound(grammar, tensors) or _sort_all(grammar, tensors)
    grouped, strangers, misspellings, duplicates, series = keys
    targets = read_targets(layout, config) if config is not None else None
    modules, shared, alike = resolve_modules(layout, config, targets, grouped)
    companions = tuple(_classify(strangers, layout, config or {}, modules)) if strangers else ()
    misspellings += [
        Misspelling(info.name, reading.canonical, fault)
        for (info, reading), companion in zip(strangers, companions, strict=True)
        if companion.what not in (OTHER_METHOD, OTHER_WRITER)
        for fault in reading.faults
    ]
    return Anatomy(layout, targets, modules, shared, alike, series, companions, tuple(misspellings), tuple(duplicates))


class _SortedKeys(NamedTuple):
    grouped: Sorted
    strangers: list[tuple[TensorInfo, KeyReading]]
    misspellings: list[Misspelling]
    duplicates: list[str]
    series: dict[str, list[str]]


def _sort_sound(grammar: KeyGrammar, tensors: Mapping[str, TensorInfo]) -> _SortedKeys | None:
    """Sort the keys of an adapter that holds nothing but well-spelled roles; None for any other."""
    grouped = group_sound(grammar, tensors)
    if grouped is None:
        return None
    series = by_pattern(grouped.modules)
    stored = sum(map(len, grouped.modules.values())) + sum(map(len, grouped.shared.values()))
    if stored != len(tensors) or looks_misspelt(grammar, series):
        return None
    return _SortedKeys(grouped, [], [], [], series)


def _sort_all(grammar: KeyGrammar, tensors: Mapping[str, TensorInfo]) -> _SortedKeys:
    """Sort keys one by one, whatever they are."""
    from adapter_format.key_names import read_together

    sorted_keys = _SortedKeys(Sorted({}, {}), [], [], [], {})
    readings = read_together(grammar.layout, {key: read_key(grammar, key) for key in tensors})
    for key, info in tensors.items():
        reading = readings[key]
        if reading.role is None:
            sorted_keys.strangers.append((info, reading))
            continue
        sorted_keys.misspellings.extend(Misspelling(key, reading.canonical, fault) for fault in reading.faults)
        owners = sorted_keys.grouped.modules if reading.in_module else sorted_keys.grouped.shared
        roles = owners.setdefault(reading.path, {})
        if reading.role in roles:
            sorted_keys.duplicates.append(key)
        else:
            roles[reading.role] = info
    return sorted_keys._replace(series=by_pattern(sorted_keys.grouped.modules))


def _classify(
    strangers: Iterable[tuple[TensorInfo, KeyReading]],
    layout: Layout,
    config: Mapping[str, Any],
    modules: Mapping[str, Module],
) -> Iterable[Companion]:
    declared = auxiliary()
    wanted = config.get(declared.saved_modules_field)
    saved = [name for name in wanted if isinstance(name, str) and name] if isinstance(wanted, list) else []
    # PEFT saves the heads of a task whether or not they are listed; before 0.10 it never lists them.
    saved += declared.task_heads.get(str(config.get("task_type")), [])
    biases = stored_biases(layout, config)
    stored = {reading.path for _, reading in strangers}
    for info, reading in strangers:
        path = reading.path
        what, detail = _classify_one(info.name, path, layout, biases, saved, modules)
        if what in (BASE_WEIGHT, BASE_LAYER) and _belongs_to_embedding(path, stored, modules):
            what, detail = EMBEDDING, _without_base_layer(path.rpartition(".")[0])
        yield Companion(info, path, what, detail)


def _classify_one(
    key: str, path: str, layout: Layout, biases: str, saved: list[str], modules: Mapping[str, Module]
) -> tuple[str, str]:
    declared = auxiliary()
    owner, _, leaf = path.rpartition(".")
    if path.endswith(declared.tokens_suffix):
        return TOKENS, path[: -len(declared.tokens_suffix)].rstrip(".")
    parts = path.split(".")
    if any(part in declared.memory_parts for part in parts):
        return SAVED_COPY, owner
    module = saved_module(path, saved)
    if module:
        return SAVED_MODULE, module
    plain = _without_base_layer(owner)
    # A method whose modules may store nothing does not name them; its wrapped layers are those that it adapts.
    adapted = plain in modules or (plain != owner and not layout.needs_modules)
    if leaf == "bias" and (biases == "all" or (biases == "adapted" and adapted)):
        return BIAS, plain
    foreign = foreign_spelling(key, layout.peft_type)
    if foreign is not None:
        return (OTHER_METHOD if foreign.kind == "method" else OTHER_WRITER), foreign.name
    if declared.base_layer_part in parts:
        return BASE_LAYER, plain
    return BASE_WEIGHT, owner


def saved_module(path: str, saved: Iterable[str]) -> str:
    """Return the entry of `modules_to_save` that a tensor path belongs to, or "".

    PEFT takes every module whose path ends with the entry, without regard to dots, and stores all below it.
    """
    # The path of an owner is what stands before a dot: no prefix has to be cut out, of which a long key has many.
    return next((name for name in saved if f"{name}." in path), "")


def _belongs_to_embedding(path: str, stored: Container[str], modules: Mapping[str, Module]) -> bool:
    """Whether a tensor is a whole embedding or head, or the bias that PEFT stores together with one."""
    owner, _, leaf = path.rpartition(".")
    if leaf != "weight" and not (leaf == "bias" and f"{owner}.weight" in stored):
        return False
    token_part = auxiliary().tokens_suffix.partition(".")[0]
    return _is_embedding(_without_base_layer(owner).removesuffix(f".{token_part}"), modules)


def _without_base_layer(path: str) -> str:
    return path.removesuffix(f".{auxiliary().base_layer_part}")


def _is_embedding(path: str, modules: Mapping[str, Module]) -> bool:
    # Embedding and head stand outside the numbered layers; inside, the same names mean other things (shared experts).
    numbered = any(part.isdigit() for part in path.split("."))
    if not numbered and any(ends_with_name(path, name) for name in auxiliary().stored_embeddings):
        return True
    module = modules.get(path)
    return module is not None and module.kind.name == "embedding"


_NUMBERED_PART = re.compile(r"\.\d+(?![^.\n])")


def by_pattern(paths: Iterable[str]) -> dict[str, list[str]]:
    """Group module paths that differ in numbers only; the key has `*` for each number."""
    names = list(paths)
    # One pass over the joined names costs a tenth of a pass for each.
    joined = "." + "\n.".join(names)
    if joined.count("\n") >= len(names):
        joined = "." + "\n.".join([name.replace("\n", " ") for name in names])
    templates = _NUMBERED_PART.sub(".*", joined)[1:].split("\n.")
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for template, name in zip(templates, names, strict=True) if names else ():
        groups[template].append(name)
    return dict(groups)


def stored_biases(layout: Layout, config: Mapping[str, Any]) -> str:
    """Return which biases of the base the config declares: `all`, those of the `adapted` modules, or `none`."""
    if not layout.bias:
        return "none"
    mode = settings_finder(layout, config)(layout.bias["field"])
    if not isinstance(mode, str):
        return "none"
    # PEFT asks no more than whether the end of the value is this.
    other = "adapted" if mode.endswith("_only") else "none"
    found: str = layout.bias["modes"].get(mode, other)
    return found


def declared_roles(anatomy: Anatomy, config: Mapping[str, Any]) -> dict[str, bool]:
    """Say of each role whether the config calls for it; roles without a condition are always called for."""
    find = settings_finder(anatomy.layout, config)
    return {name: holds(role.declared_by, find) for name, role in anatomy.layout.roles.items()}


def switched_off(anatomy: Anatomy) -> set[str]:
    """Return the fields that decide whether tensors that are stored are read or computed anew."""
    stored = {name for units in anatomy.alike for name in stored_roles(units[0])}
    return {anatomy.layout.roles[name].switch for name in stored} - {""}


def has_role(module: Module, role: str, declared: Mapping[str, bool]) -> bool:
    """Whether a unit is to have the tensors of a role."""
    return role in module.kind.shapes and (declared[role] or role in module.kind.always)


def stored_roles(module: Module) -> set[str]:
    """Return the names of the roles that a unit has tensors of, without their numbers."""
    return {role_name(name) for name in module.roles}
