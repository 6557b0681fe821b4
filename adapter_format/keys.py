"""The key grammar: prefix + module path + role suffix, derived from a layout, and what is wrong with a misspelt key.

A damaged key is read as the key it was meant to be, with the faults on the way named, so that one cause is one finding
and everything behind it can still be checked.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

from adapter_format.layouts import BARE, MODEL_PREFIX, MODULE, Layout, Role, auxiliary, instance_of, layout_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from adapter_format.tensors import TensorInfo

PREFIX_MISSING = "key-prefix-missing"
PREFIX_DOUBLED = "key-prefix-doubled"
WRAPPER = "key-wrapper"
ADAPTER_NAME = "adapter-name-in-key"
NAME_MISSING = "stored-name-missing"
SUFFIX = "role-misspelt"

Grouped = dict[str, dict[str, "TensorInfo"]]
"""Tensors by module path, or by the name of a group of modules, and then by role."""


class KeyReading(NamedTuple):
    """What a key says.

    Attributes:
        path: module path in the base model, without prefix; of a tensor that belongs to no single module, the name of
            its group of modules or ""; of one that is no role, everything behind the prefix.
        role: name of the role in the layout, with its number if it has one, or None.
        canonical: the key as it should be spelled.
        faults: kinds of misspelling, in the order found; empty for a sound key.
        in_module: whether `path` is that of a module.
    """

    path: str
    role: str | None
    canonical: str
    faults: tuple[str, ...] = ()
    in_module: bool = True


class Form(NamedTuple):
    """One spelling of a role, compiled.

    Attributes:
        pattern: matches the spelling; groups `index` and `category` where it has them.
        role: the role.
        suffix: the spelling, with its wildcards.
    """

    pattern: re.Pattern[str]
    role: Role
    suffix: str


class KeyGrammar(NamedTuple):
    """Compiled grammar of one layout.

    Attributes:
        layout: the layout.
        prefix: what every key of a module starts with.
        roles: suffix to role name, of the roles of modules.
        forms: their spellings, each behind a module path and a dot.
        shared: spellings of whole keys, without prefix, of the roles that belong to no single module.
        mark: what stands between the module path and the tail of a key: a dot, and how all suffixes begin.
        tails: suffix without what is in `mark`, to role name; of modules.
        shared_tails: the same of the adapter as a whole.
        wild_tails: the same for suffixes with wildcards; of modules and of the adapter as a whole.
        named: matches a role suffix with an adapter name left in it.
        suspects: texts that show a misspelling in a module path between dots, behind a line feed.
    """

    layout: Layout
    prefix: str
    roles: dict[str, str]
    forms: tuple[Form, ...]
    shared: tuple[Form, ...]
    mark: str
    tails: dict[str, str]
    shared_tails: dict[str, str]
    wild_tails: tuple[Form, ...]
    named: tuple[Form, ...]
    suspects: tuple[str, ...]


_WILDCARDS = {
    "{i}": r"(?P<index>0|[1-9][0-9]{0,5})",
    "{leaf}": r"(?P<index>[^.]+)",
    "{rest}": r"(?P<index>.+)",
    "{category}": r"(?P<category>[^.]+)",
    "{adapter}": r"(?!(?:weight|bias)\Z)[^.]+",
}
_WILDCARD = re.compile(r"\{(?:i|leaf|rest|category)\}")


def key_of(layout: Layout, path: str, role: str, index: str = "") -> str:
    """Spell the key on disk of one role.

    Args:
        layout: the method.
        path: path of the module; of a tensor that belongs to a group of modules, the name of the group.
        role: name of the role.
        index: what its wildcard stands for.
    """
    declared = layout.roles[role]
    middle = f"{path}." if declared.scope == MODULE else ""
    return f"{layout.prefix_of(declared)}{middle}{spelled(declared.suffix, path, index)}"


def spelled(text: str, group: str, index: str) -> str:
    """Put the name of a group of modules, and a number or a name, in the place of the wildcards of a spelling."""
    return _WILDCARD.sub(lambda found: group if found[0] == "{category}" else index, text)


def pattern_of(spelling: str, *, named: bool = False) -> str:
    """Return the regex of a spelling with wildcards.

    Args:
        spelling: a suffix of a layout.
        named: whether the wildcards become named groups; a regex can hold each only once.
    """
    parts = re.split(r"(\{\w+\})", spelling)
    pattern = "".join(_WILDCARDS.get(part) or re.escape(part) for part in parts)
    return pattern if named else pattern.replace("(?P<index>", "(?:").replace("(?P<category>", "(?:")


@functools.cache
def grammar_of(peft_type: str) -> KeyGrammar:
    """Compile the grammar of a method; ValueError if the method has no layout."""
    layout = layout_of(peft_type)
    if layout is None:
        raise ValueError(f"no layout for {peft_type!r}")
    everywhere = [(suffix, role) for role in layout.roles.values() for suffix in (role.suffix, *role.also_read)]
    in_modules = [(suffix, role) for suffix, role in everywhere if role.scope == MODULE]
    elsewhere = [(suffix, role) for suffix, role in everywhere if role.scope != MODULE]
    shared_start = _shared_start([suffix.partition("{")[0] for suffix, _ in everywhere])
    declared = auxiliary()
    inside = tuple(f".{part}." for part in declared.wrapper_parts)
    outside = tuple(f"\n.{part}." for part in declared.outer_wrapper_parts)
    return KeyGrammar(
        layout,
        layout.prefix,
        {suffix: role.name for suffix, role in in_modules},
        tuple(_form(r"(?P<path>.+)\.", suffix, role) for suffix, role in in_modules),
        tuple(_form("", suffix, role) for suffix, role in elsewhere),
        f".{shared_start}",
        _static_tails(in_modules, shared_start),
        _static_tails([pair for pair in elsewhere if pair[1].scope != BARE], shared_start),
        tuple(
            Form(re.compile(pattern_of(suffix.removeprefix(shared_start), named=True)), role, suffix)
            for suffix, role in everywhere
            if _WILDCARD.search(suffix)
        ),
        tuple(
            Form(re.compile(rf"{pattern_of(role.memory, named=True)}\Z"), role, role.suffix)
            for role in layout.roles.values()
            if role.memory
        ),
        (*inside, *outside, f".{layout.prefix}"),
    )


def _form(before: str, suffix: str, role: Role) -> Form:
    return Form(re.compile(before + pattern_of(suffix, named=True)), role, suffix)


def _static_tails(pairs: list[tuple[str, Role]], shared_start: str) -> dict[str, str]:
    return {suffix.removeprefix(shared_start): role.name for suffix, role in pairs if not _WILDCARD.search(suffix)}


def _shared_start(texts: Collection[str]) -> str:
    """Return how all texts begin."""
    first, last = min(texts), max(texts)
    length = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[: min(length, len(last))]


class Sorted(NamedTuple):
    """Tensors whose keys are all sound.

    Attributes:
        modules: by module path.
        shared: those that belong to no single module, by the name of their group of modules, or by "".
    """

    modules: Grouped
    shared: Grouped


def group_sound(grammar: KeyGrammar, tensors: Mapping[str, TensorInfo]) -> Sorted | None:
    """Group tensors by module path and role, or return None unless every key is spelled by the grammar.

    Of two keys that name the same role, the last is in the result. The paths may still be misspelt: ask
    `looks_misspelt`.
    """
    mark = grammar.mark
    tails, shared_tails = dict(grammar.tails), dict(grammar.shared_tails)
    groups: dict[str, str] = {}
    whole = MODEL_PREFIX[:-1]
    owners: Grouped = {}
    shared: Grouped = {}
    for key, info in tensors.items():
        owner, _, tail = key.rpartition(mark)
        if owner == whole:
            role = shared_tails.get(tail) or _wild_role(grammar, tail, shared_tails, groups, in_module=False)
            if role is None:
                return None
            shared.setdefault(groups.get(tail, ""), {})[role] = info
            continue
        role = tails.get(tail)
        if role is None:
            role = _wild_role(grammar, tail, tails, groups, in_module=True)
            if role is None:
                return None
        roles = owners.get(owner)
        if roles is None:
            owners[owner] = {role: info}
        else:
            roles[role] = info
    text = "\n" + "\n".join(owners) if owners else ""
    paths = text.split(f"\n{grammar.prefix}")[1:]
    if len(paths) != len(owners) or text.count("\n") != len(owners) or not all(paths):
        return None
    return Sorted(dict(zip(paths, owners.values(), strict=True)), shared)


def _wild_role(
    grammar: KeyGrammar, tail: str, tails: dict[str, str], groups: dict[str, str], *, in_module: bool
) -> str | None:
    """Read a tail with a number or a name in it, and note what was read."""
    for pattern, role, _ in grammar.wild_tails:
        if (role.scope == MODULE) is not in_module or role.scope == BARE:
            continue
        found = pattern.fullmatch(tail)
        if found is not None:
            tails[tail], groups[tail] = _named_by(found, role)
            return tails[tail]
    return None


def _named_by(found: re.Match[str], role: Role) -> tuple[str, str]:
    """Return the name of the one tensor of a role that a match speaks of, and the group of modules it belongs to."""
    parts = found.groupdict()
    name = role.name if parts.get("index") is None else instance_of(role.name, parts["index"])
    return name, parts.get("category") or ""


def looks_misspelt(grammar: KeyGrammar, paths: Iterable[str]) -> bool:
    """Whether any of many module paths holds a second prefix or a wrapper's name."""
    text = "".join([f"\n.{path}." for path in paths])
    return any(suspect in text for suspect in grammar.suspects)


def read_key(grammar: KeyGrammar, key: str) -> KeyReading:
    """Read one key, sound or not.

    Returns:
        The reading; a key that is no role of the method has `role` None, and its faults concern what is in front of it.
    """
    for form in grammar.shared:
        prefix = grammar.layout.prefix_of(form.role)
        found = form.pattern.fullmatch(key[len(prefix) :]) if key.startswith(prefix) else None
        if found is not None:
            name, group = _named_by(found, form.role)
            return KeyReading(group, name, key, (), in_module=False)
    faults: list[str] = []
    rest = _strip_prefix(grammar, key, faults)
    return (
        _read_whole(grammar, key, rest, faults)
        or _read_in_module(grammar, rest, faults)
        or KeyReading(rest, None, (grammar.prefix or grammar.layout.companion_prefix) + rest, tuple(faults))
    )


def is_spelled(grammar: KeyGrammar, key: str) -> bool:
    """Whether a key ends as one on disk does, whatever stands in front of it."""
    return any(form.pattern.fullmatch(key) for form in (*grammar.forms, *grammar.shared))


def _read_whole(grammar: KeyGrammar, key: str, rest: str, faults: list[str]) -> KeyReading | None:
    """Read the misspelt key of a tensor that belongs to no single module."""
    for form in grammar.shared:
        found = form.pattern.fullmatch(rest)
        if found is not None:
            name, group = _named_by(found, form.role)
            canonical = grammar.layout.prefix_of(form.role) + rest
            wrapped = tuple(fault for fault in faults if fault == WRAPPER)
            plain = ".".join(part for part in key.split(".") if part not in _wrappers())
            if plain != canonical:
                wrapped = (*wrapped, PREFIX_MISSING if len(plain) < len(canonical) else PREFIX_DOUBLED)
            return KeyReading(group, name, canonical, wrapped, in_module=False)
    for form in grammar.named:
        found = form.pattern.fullmatch(rest) if form.role.scope != MODULE else None
        if found is not None:
            name, group = _named_by(found, form.role)
            canonical = key_of(grammar.layout, group, form.role.name, found.groupdict().get("index") or "")
            return KeyReading(group, name, canonical, (ADAPTER_NAME,), in_module=False)
    return None


@functools.cache
def _wrappers() -> frozenset[str]:
    return frozenset((*auxiliary().wrapper_parts, *auxiliary().outer_wrapper_parts))


def _read_in_module(grammar: KeyGrammar, rest: str, faults: list[str]) -> KeyReading | None:
    for form in grammar.forms:
        found = form.pattern.fullmatch(rest)
        if found is not None:
            return KeyReading(found["path"], _named_by(found, form.role)[0], grammar.prefix + rest, tuple(faults))
    for form in grammar.named:
        found = form.pattern.search(rest) if form.role.scope == MODULE else None
        if found and found.start() > 1 and rest[found.start() - 1] == ".":
            path = rest[: found.start() - 1]
            index = found.groupdict().get("index") or ""
            canonical = key_of(grammar.layout, path, form.role.name, index)
            return KeyReading(path, _named_by(found, form.role)[0], canonical, (*faults, ADAPTER_NAME))
    near = _near_suffix(grammar, rest) if PREFIX_MISSING not in faults else None
    if near is not None:
        path, suffix = near
        return KeyReading(path, grammar.roles[suffix], f"{grammar.prefix}{path}.{suffix}", (*faults, SUFFIX))
    return None


def _near_suffix(grammar: KeyGrammar, rest: str) -> tuple[str, str] | None:
    """Return module path and suffix of a key whose suffix differs in case or in `.weight` alone; None for any other.

    `.weight` behind the factors of an embedding is left to the rule that knows it by itself.
    """
    plain = _without_weight(rest)
    for suffix in grammar.roles:
        bare = _without_weight(suffix)
        path = rest[: len(plain) - len(bare) - 1]
        if plain.endswith(f".{bare}") and path and not is_of_embedding_with_weight(grammar.layout, rest):
            return path, suffix
    return None


def is_of_embedding_with_weight(layout: Layout, key: str) -> bool:
    """Whether a key ends in a role that only embeddings have, and that has no `.weight`, with `.weight` behind it."""
    bare = key.removesuffix(".weight")
    roles = [role for role in layout.roles.values() if bare != key and bare.endswith(f".{role.suffix}")]
    layers = {kind.layers for role in roles for kind in layout.kinds if role.name in kind.shapes}
    return layers == {("embedding",)}


def _without_weight(text: str) -> str:
    return text.lower().removesuffix("s").removesuffix(".weight")


def _strip_prefix(grammar: KeyGrammar, key: str, faults: list[str]) -> str:
    """Take prefix and wrappers off a key; note in `faults` what was not as it should be."""
    prefix, declared = grammar.prefix, auxiliary()
    if not prefix:
        # The method adapts no module: what stands beside its own tensors are companions.
        rest = key.removeprefix(grammar.layout.companion_prefix)
        plain = key.removeprefix(declared.prefix)
        return plain if any(form.pattern.fullmatch(plain) for form in grammar.shared) else rest
    parts = [part for part in key.split(".") if part not in declared.wrapper_parts]
    rest = ".".join(parts)
    if rest != key:
        faults.append(WRAPPER)
    for outer in declared.outer_wrapper_parts:
        for lead in (f"{outer}.", f"{prefix}{outer}."):
            if rest.startswith(lead) and rest.count(".") > lead.count("."):
                rest = rest.replace(f"{outer}.", "", 1)
                _note(faults, WRAPPER)
    before, found, behind = rest.partition(prefix)
    if not found:
        faults.append(PREFIX_MISSING)
        half = prefix.split(".", 1)[0] + "."
        return rest.removeprefix(half)
    if before:
        _note(faults, WRAPPER)
        behind = before + behind
    while behind.startswith(prefix):
        behind = behind[len(prefix) :]
        _note(faults, PREFIX_DOUBLED)
    return behind


def _note(faults: list[str], fault: str) -> None:
    if fault not in faults:
        faults.append(fault)
