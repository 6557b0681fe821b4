"""Which modules a config targets: PEFT's `check_target_module_exists`, step by step, from the config alone."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.dotted_names import is_dotted
from adapter_format.layouts import Layout, auxiliary
from adapter_format.module_values import STEPS_FOR_ALL_PATHS
from adapter_format.pattern_budget import Budget
from adapter_format.patterns import PatternError, PatternTooCostly, fullmatch, layer_index, saved_module_matches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

COVERED = ""
EXCLUDED = "excluded"
SAVED = "saved"
NOT_NAMED = "not-named"
OTHER_LAYER = "other-layer"
UNDECIDED = "undecided"

ENDINGS = "endings"
"""How the layouts call targets that are the plain end of a path, behind a dot."""

ALWAYS = "always"
"""How the layouts say that a head tied to an adapted embedding is adapted with it, whatever the config says."""

_STEPS_OF_A_NAME = 5

Suffixes = tuple[tuple[int, frozenset[str]], ...]


class Targets(NamedTuple):
    """The targets of one config, ready to be asked.

    Attributes:
        names: items of `target_modules` when it is a list.
        pattern: `target_modules` when it is a string.
        parameters: items of `target_parameters`.
        covers: says of a module path `""` if it is targeted, otherwise why not.
        by_number: whether the numbers in a path may decide; if not, one path speaks for all of its series.
        is_parameter: says whether a module path is reached through `target_parameters` only.
        parameters_of: gives the items of `target_parameters` that a module path may own, in their order.
    """

    names: tuple[str, ...]
    pattern: str | None
    parameters: tuple[str, ...]
    covers: Callable[[str], str]
    is_parameter: Callable[[str], bool]
    by_number: bool = True
    parameters_of: Callable[[str], list[str]] = lambda _: []


class SavedNames:
    """The entries of `modules_to_save`, in their order, for looking up many module paths.

    Gives what `saved_module_matches` gives for one entry after the other, but finds plain words by a dictionary.
    """

    __slots__ = ("_others", "_words", "names")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._words: dict[str, int] = {}
        # With a text that a path must contain, so that most names need no closer look.
        self._others: list[tuple[int, str, str]] = []
        for rank, name in enumerate(names):
            if not is_dotted(name):
                self._others.append((rank, name, ""))
            elif "." in name:
                self._others.append((rank, name, max(name.split("."), key=len)))
            else:
                self._words.setdefault(name, rank)

    def take(self, path: str, budget: Budget) -> bool:
        """Whether an entry takes the module at `path` out of what is adapted; raises PatternError, PatternTooCostly."""
        if "\n" in path:
            budget.spend(_STEPS_OF_A_NAME * len(self.names))
            return any(saved_module_matches(name, path, budget) for name in self.names)
        none = len(self.names)
        first = min((self._words[part] for part in path.split(".") if part in self._words), default=none)
        for rank, name, part in self._others:
            if rank > first:
                break
            if part in path and saved_module_matches(name, path, budget):
                return True
        return first < none


def target_settings(layout: Layout, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the targeting fields of a config hold, by what each is for: `modules`, `excluded`, `layers`, ..."""
    return {name: config.get(field) for name, field in layout.targets.items()}


def read_targets(layout: Layout, config: Mapping[str, Any]) -> Targets | None:
    """Prepare the targeting fields of a config; fields of a wrong type count as absent.

    Returns:
        The targets; None if the method adapts no modules.
    """
    if not layout.targets:
        return None
    settings = target_settings(layout, config)
    wanted = settings.get("modules")
    if isinstance(wanted, str) and layout.targets.get("matching") == ENDINGS:
        return _by_ending(wanted)
    names = _strings(wanted if not isinstance(wanted, dict) else list(wanted))
    pattern = wanted if isinstance(wanted, str) else None
    parameters = _strings(settings.get("parameters"))
    named = _by_length([name for name in names if name])
    full_paths = frozenset(names)
    owners = _by_length([owner for owner in (parameter.rpartition(".")[0] for parameter in parameters) if owner])
    saved = SavedNames(_strings(config.get(auxiliary().saved_modules_field)))
    excluded = settings.get("excluded")
    left_out = _by_length(_strings(excluded))
    budget = Budget(STEPS_FOR_ALL_PATHS)
    anywhere = any("." not in parameter for parameter in parameters)
    base_layer = f".{auxiliary().base_layer_part}"

    def is_parameter(path: str) -> bool:
        plain = path.replace(base_layer, "")
        if not parameters or not (anywhere or _ends_with(plain, owners)):
            return False
        try:
            return not names_module(plain)
        except (PatternError, PatternTooCostly):
            return False

    def names_module(path: str) -> bool:
        if pattern is not None:
            return pattern.lower() == "all-linear" or fullmatch(pattern, path, budget)
        return _ends_with(path, named)

    if not names and pattern is None and not parameters:
        # A null target list is filled from the model's type, which only the base knows.
        return Targets((), None, (), lambda _: COVERED, lambda _: False)

    if pattern is None and not excluded and not saved.names:
        decide = _plain_decision(named, settings) if not parameters else None
        if decide is not None:
            by_number = any(character.isdigit() for name in names for character in name)
            covers = _through_base_layers(decide, layout, settings, base_layer)
            return Targets(names, None, (), covers, is_parameter, by_number)

    def decide_fully(path: str) -> str:
        if is_parameter(path):
            # PEFT applies `exclude_modules` to modules only, never to parameters.
            return COVERED
        if fullmatch(excluded, path, budget) if isinstance(excluded, str) else _ends_with(path, left_out):
            return EXCLUDED
        if saved.take(path, budget):
            return SAVED
        if not names_module(path):
            return NOT_NAMED
        # A full path in the list is taken whatever layer it is in.
        if pattern is None and path not in full_paths and not _in_layers(settings, path, budget):
            return OTHER_LAYER
        return COVERED

    def safely(path: str) -> str:
        try:
            return decide_fully(path)
        except (PatternError, PatternTooCostly):
            return UNDECIDED

    # Several rules ask the same of each module, and matching a regex is no lookup.
    covers = functools.cache(_through_base_layers(safely, layout, settings, base_layer))
    return Targets(names, pattern, parameters, covers, is_parameter, parameters_of=_parameter_finder(parameters))


def _by_ending(ending: str) -> Targets:
    """The targets of a method that takes its one string for the end of a module's path."""

    def covers(path: str) -> str:
        return COVERED if path.endswith(f".{ending}") else NOT_NAMED

    return Targets((ending,), None, (), covers, lambda _: False)


def _plain_decision(named: Suffixes, settings: Mapping[str, Any]) -> Callable[[str], str] | None:
    """The usual case, a list of names and nothing else, without a regex on the way."""
    if settings.get("layers") not in (None, []):
        return None
    if len(named) == 1 and named[0][0] == 1:
        leaves = named[0][1]
        return lambda path: COVERED if path.rpartition(".")[2] in leaves else NOT_NAMED
    return lambda path: COVERED if _ends_with(path, named) else NOT_NAMED


def _through_base_layers(
    decide: Callable[[str], str], layout: Layout, settings: Mapping[str, Any], base_layer: str
) -> Callable[[str], str]:
    """Let a module inside a wrapped layer count as its owner, and a tied head as its embedding."""
    embeddings = auxiliary().embedding_modules
    ties = layout.targets.get("tying") == ALWAYS or settings.get("tying") is True
    tied = ties and _mentions(settings.get("modules"), embeddings)

    def covers(path: str) -> str:
        reason = decide(path)
        if reason == COVERED:
            return COVERED
        if base_layer in path:
            owner = path.partition(base_layer)[0]
            if decide(path.replace(base_layer, "")) == COVERED or decide(owner) == COVERED:
                return COVERED
        if tied and path.rpartition(".")[2] in embeddings:
            return COVERED
        return reason

    return covers


def _mentions(wanted: object, names: Sequence[str]) -> bool:
    """Whether a list has one of the names, or a regex speaks of one."""
    if isinstance(wanted, str):
        return wanted.lower() == "all-linear" or any(name in wanted for name in names)
    return any(ends_with_name(item, name) for item in _strings(wanted) for name in names)


def _strings(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, (list, tuple)) else ()


def _by_length(names: Sequence[str]) -> Suffixes:
    """Group names by their number of parts, so that one set lookup a group decides a suffix match."""
    groups: dict[int, set[str]] = {}
    for name in names:
        groups.setdefault(name.count(".") + 1, set()).add(name)
    return tuple((length, frozenset(group)) for length, group in sorted(groups.items()))


def _ends_with(path: str, suffixes: Suffixes) -> bool:
    parts = path.split(".")
    return any(".".join(parts[-length:]) in group for length, group in suffixes)


def ends_with_name(path: str, name: str) -> bool:
    """Whether a list entry of `target_modules` takes a module path: equal, or a suffix behind a dot."""
    return path == name or path.endswith(f".{name}")


def _parameter_finder(parameters: Sequence[str]) -> Callable[[str], list[str]]:
    """Return what gives the parameters that a module path may own: those named behind it, and those named alone."""
    by_owner: dict[str, list[int]] = {}
    alone: list[int] = []
    for index, parameter in enumerate(parameters):
        owner, dot, _ = parameter.rpartition(".")
        (by_owner.setdefault(owner, []) if dot else alone).append(index)
    lengths = {owner.count(".") + 1 for owner in by_owner}

    def parameters_of(path: str) -> list[str]:
        parts = path.split(".")
        suffixes = {".".join(parts[-length:]) for length in lengths}
        found = [index for suffix in suffixes for index in by_owner.get(suffix, ())]
        return [parameters[index] for index in sorted(found + alone)]

    return parameters_of


def _in_layers(settings: Mapping[str, Any], path: str, budget: Budget) -> bool:
    wanted = settings.get("layers")
    if wanted is None or wanted == []:
        return True
    patterns = settings.get("layers_pattern")
    candidates: tuple[str | None, ...] = (
        (patterns,) if isinstance(patterns, str) and patterns else _strings(patterns) or (None,)
    )
    indices = wanted if isinstance(wanted, list) else [wanted]
    for pattern in candidates:
        index = layer_index(path, pattern, budget)
        if index is not None:
            return index in indices
    return False
