"""The key grammar: prefix + module path + role suffix, derived from a layout, and what is wrong with a misspelt key.

A damaged key is read as the key it was meant to be, with the faults on the way named, so that one cause is one finding
and everything behind it can still be checked.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

from adapter_format.layouts import Layout, auxiliary, layout_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from adapter_format.tensors import TensorInfo

PREFIX_MISSING = "key-prefix-missing"
PREFIX_DOUBLED = "key-prefix-doubled"
WRAPPER = "key-wrapper"
ADAPTER_NAME = "adapter-name-in-key"
SUFFIX = "role-misspelt"


class KeyReading(NamedTuple):
    """What a key says.

    Attributes:
        path: module path in the base model, without prefix; for a tensor that is no role, everything behind the prefix.
        role: name of the role in the layout, or None.
        canonical: the key as it should be spelled.
        faults: kinds of misspelling, in the order found; empty for a sound key.
    """

    path: str
    role: str | None
    canonical: str
    faults: tuple[str, ...] = ()


class KeyGrammar(NamedTuple):
    """Compiled grammar of one layout.

    Attributes:
        prefix: what every key starts with.
        sound: matches a well-formed key of a role; groups 1 and 2 are module path and suffix.
        roles: suffix to role name.
        mark: what stands between the module path and the tail of a key: a dot, and how all suffixes begin.
        tails: suffix without what is in `mark`, to role name.
        named: matches a role suffix with an adapter name left in it; (pattern, role) pairs.
        suspects: texts that show a misspelling in a module path between dots, behind a line feed.
    """

    prefix: str
    sound: re.Pattern[str]
    roles: dict[str, str]
    mark: str
    tails: dict[str, str]
    named: tuple[tuple[re.Pattern[str], str], ...]
    suspects: tuple[str, ...]


def key_of(layout: Layout, path: str, role: str) -> str:
    """Spell the key on disk of one role of one module."""
    return f"{layout.prefix}{path}.{layout.roles[role].suffix}"


@functools.cache
def grammar_of(peft_type: str) -> KeyGrammar:
    """Compile the grammar of a method; ValueError if the method has no layout."""
    layout = layout_of(peft_type)
    if layout is None:
        raise ValueError(f"no layout for {peft_type!r}")
    roles = {suffix: role.name for role in layout.roles.values() for suffix in (role.suffix, *role.also_read)}
    alternatives = "|".join(map(re.escape, roles))
    sound = re.compile(rf"{re.escape(layout.prefix)}(.+)\.({alternatives})")
    named = tuple(
        (
            re.compile(re.escape(role.memory).replace(re.escape("{adapter}"), r"(?!(?:weight|bias)\Z)[^.]+") + r"\Z"),
            role.name,
        )
        for role in layout.roles.values()
    )
    declared = auxiliary()
    inside = tuple(f".{part}." for part in declared.wrapper_parts)
    outside = tuple(f"\n.{part}." for part in declared.outer_wrapper_parts)
    shared = _shared_start(roles)
    tails = {suffix.removeprefix(shared): role for suffix, role in roles.items()}
    return KeyGrammar(layout.prefix, sound, roles, f".{shared}", tails, named, (*inside, *outside, f".{layout.prefix}"))


def _shared_start(texts: Collection[str]) -> str:
    """Return how all texts begin."""
    first, last = min(texts), max(texts)
    length = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[:length]


def group_sound(grammar: KeyGrammar, tensors: Mapping[str, TensorInfo]) -> dict[str, dict[str, TensorInfo]] | None:
    """Group tensors by module path and role, or return None unless every key is spelled by the grammar.

    Of two keys that name the same role, the last is in the result. The paths may still be misspelt: ask
    `looks_misspelt`.
    """
    mark, role_of = grammar.mark, grammar.tails.get
    owners: dict[str, dict[str, TensorInfo]] = {}
    for key, info in tensors.items():
        owner, _, tail = key.rpartition(mark)
        role = role_of(tail)
        if role is None:
            return None
        roles = owners.get(owner)
        if roles is None:
            owners[owner] = {role: info}
        else:
            roles[role] = info
    text = "\n" + "\n".join(owners)
    paths = text.split(f"\n{grammar.prefix}")[1:]
    if len(paths) != len(owners) or text.count("\n") != len(owners) or not all(paths):
        return None
    return dict(zip(paths, owners.values(), strict=True))


def looks_misspelt(grammar: KeyGrammar, paths: Iterable[str]) -> bool:
    """Whether any of many module paths holds a second prefix or a wrapper's name."""
    text = "".join([f"\n.{path}." for path in paths])
    return any(suspect in text for suspect in grammar.suspects)


def read_key(grammar: KeyGrammar, key: str) -> KeyReading:
    """Read one key, sound or not.

    Returns:
        The reading; a key that is no role of the method has `role` None, and its faults concern what is in front of it.
    """
    faults: list[str] = []
    rest = _strip_prefix(grammar.prefix, key, faults)
    suffix_match = grammar.sound.fullmatch(grammar.prefix + rest)
    if suffix_match:
        path, suffix = suffix_match.groups()
        return KeyReading(path, grammar.roles[suffix], grammar.prefix + rest, tuple(faults))
    for pattern, role in grammar.named:
        found = pattern.search(rest)
        if found and found.start() > 1 and rest[found.start() - 1] == ".":
            path = rest[: found.start() - 1]
            suffix = next(suffix for suffix, name in grammar.roles.items() if name == role)
            return KeyReading(path, role, f"{grammar.prefix}{path}.{suffix}", (*faults, ADAPTER_NAME))
    near = _near_suffix(grammar, rest) if PREFIX_MISSING not in faults else None
    if near is not None:
        path, suffix = near
        return KeyReading(path, grammar.roles[suffix], f"{grammar.prefix}{path}.{suffix}", (*faults, SUFFIX))
    return KeyReading(rest, None, grammar.prefix + rest, tuple(faults))


def _near_suffix(grammar: KeyGrammar, rest: str) -> tuple[str, str] | None:
    """Return module path and suffix of a key whose suffix differs in case or in `.weight` alone; None for any other.

    `.weight` behind a suffix that has none is left to the rule that knows it by itself.
    """
    plain = _without_weight(rest)
    for suffix in grammar.roles:
        bare = _without_weight(suffix)
        path = rest[: len(plain) - len(bare) - 1]
        if plain.endswith(f".{bare}") and path and rest != f"{path}.{suffix}.weight":
            return path, suffix
    return None


def _without_weight(text: str) -> str:
    return text.lower().removesuffix("s").removesuffix(".weight")


def _strip_prefix(prefix: str, key: str, faults: list[str]) -> str:
    """Take prefix and wrappers off a key; note in `faults` what was not as it should be."""
    declared = auxiliary()
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
