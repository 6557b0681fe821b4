"""The names of tensors in a live model: where adapters' names stand in them, and whose tensor each is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from adapter_format.errors import AdapterFormatError, UsageError
from adapter_format.keys import pattern_of, spelled
from adapter_format.layouts import BARE, MODEL_PREFIX, MODULE, Auxiliary, Layout, Role, auxiliary

Path = tuple[str, ...]

_NAME = "{adapter}"


class Entry(NamedTuple):
    """One key of a state dict, taken apart.

    Attributes:
        key: as it is in the state dict.
        parts: its parts, without those of wrappers.
        layer: path of the module whose adapter tensor this is, or of what holds it for all modules, or None.
        suffix: what the key ends with on disk, if it has a layer.
        role: name of its role in the layout, "" for what PEFT stores beside them.
        token_module: path of the embedding whose trainable tokens this is, or None.
        wrapper: where `modules_to_save` or `original_module` stands in `parts`, or None.
        names: where names of adapters stand in `parts`.
    """

    key: str
    parts: Path
    layer: Path | None
    suffix: Path
    role: str
    token_module: Path | None
    wrapper: int | None
    names: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the tensor belongs to the adapter as a whole, so that its key has no prefix of modules."""
        return self.layer is not None and self.layer in ((), (MODEL_PREFIX[:-1],))

    def is_of_another(self, adapter: str) -> bool:
        """Whether the key has the name of another adapter in it."""
        return any(self.parts[at] != adapter for at in self.names)

    def without_name(self) -> Path:
        """The path without the adapter's name, which PEFT removes from the last two places only."""
        edge = len(self.parts) - 2
        return tuple(part for at, part in enumerate(self.parts) if at < edge or at not in self.names)


class Survey(NamedTuple):
    """What the state dict of a live model holds.

    Attributes:
        entries: all keys, in their order.
        layers: paths of the adapted modules of all adapters.
        adapters: names of the adapters, in the order of their first tensors; none for a method that keeps one adapter
            in a model, without a name.
        is_nameless: whether there is an adapter without a name.
        prefix: what the keys lack in front.
        depth: number of leading parts of a key that are the prefix.
    """

    entries: tuple[Entry, ...]
    layers: frozenset[Path]
    adapters: tuple[str, ...]
    is_nameless: bool
    prefix: Path
    depth: int


class _Match(NamedTuple):
    """The end of a key, recognised: path of the module, place of the adapter's name, suffix on disk, role."""

    module: Path
    names: tuple[int, ...]
    suffix: Path
    role: str
    in_module: bool


class _Form(NamedTuple):
    """One form of keys in memory, compiled, with the suffix that it has on disk."""

    pattern: re.Pattern[str]
    suffix: str
    role: str
    in_module: bool


def is_held(role: Role) -> bool:
    """Whether the state dict of a live model holds a tensor as it is stored, if under another name."""
    return bool(role.memory)


def survey(state_dict: Mapping[str, object], layout: Layout) -> Survey:
    """Take all keys of a state dict apart.

    Raises:
        UsageError: not a state dict, or that of something around the PEFT model.
        AdapterFormatError: two keys are the same but for wrapper parts.
    """
    declared = auxiliary()
    paths = _clean_paths(state_dict, declared)
    roles = [_form(role.memory, role.suffix, role.name, role.scope) for role in layout.roles.values() if is_held(role)]
    heads = frozenset(role.suffix.partition(".")[0] for role in layout.roles.values())
    token_form = [_form(declared.tokens_memory, declared.tokens_suffix, "", MODULE)]

    names: dict[Path, set[str]] = {}
    wrapped: set[Path] = set()
    bases: set[Path] = set()
    for parts in paths:
        match = _match(parts, roles)
        if match is not None and match.in_module:
            names.setdefault(match.module, set()).update(parts[at] for at in match.names)
        for at, part in enumerate(parts):
            if part == declared.base_layer_part:
                bases.add(parts[:at])
            elif part == declared.memory_parts[0] and at < len(parts) - 2:
                wrapped.add(parts[:at])
    # A base model may have modules that are named like those of an adapter. What was wrapped to be adapted
    # holds a base layer, unless the state dict has no base in it.
    adapted = names.keys() & bases or names.keys()

    entries: list[Entry] = []
    adapters: dict[str, None] = {}
    for parts, key in paths.items():
        match = _match(parts, roles) or _match_unnamed(parts, layout.weight_part, heads, names)
        tokens = _match(parts, token_form)
        wrapper = _wrapper(parts, wrapped, declared)
        found: list[int] = []
        if match is not None:
            found.extend(match.names)
        if tokens is not None:
            found.extend(tokens.names)
        if wrapper is not None and parts[wrapper] == declared.memory_parts[0]:
            found.append(wrapper + 1)
        if match is None or not match.in_module or match.module in adapted:
            adapters.update(dict.fromkeys(parts[at] for at in found))
        entries.append(
            Entry(
                key,
                parts,
                match and match.module,
                match.suffix if match else (),
                match.role if match else "",
                tokens and tokens.module,
                wrapper,
                tuple(found),
            )
        )
    prefix, depth = _prefix(adapted, layout)
    is_nameless = not adapters and any(entry.role for entry in entries)
    return Survey(tuple(entries), frozenset(names), tuple(adapters), is_nameless, prefix, depth)


def modules_named(entries: Iterable[Entry], names: Collection[str]) -> set[Path]:
    """Return the paths of all modules whose path is one of the names or ends with one."""
    endings = {tuple(name.split(".")) for name in names}
    return {
        entry.parts[:at]
        for entry in entries
        for at in range(1, len(entry.parts))
        if any(entry.parts[max(0, at - len(ending)) : at] == ending for ending in endings)
    }


def _clean_paths(state_dict: object, declared: Auxiliary) -> dict[Path, str]:
    """Map the parts of each key, without what wrappers add, to the key."""
    if not isinstance(state_dict, Mapping):
        kind = type(state_dict).__name__
        raise UsageError(f"state_dict is a {kind}, not a mapping; pass model.state_dict().")
    paths: dict[Path, str] = {}
    for key in state_dict:
        if not isinstance(key, str):
            raise UsageError(f"state_dict has the key {key!r}, which is not a string.")
        parts = tuple(part for part in key.split(".") if part not in declared.wrapper_parts)
        first = paths.setdefault(parts, key)
        if first != key:
            raise AdapterFormatError(f"{first!r} and {key!r} differ only in wrapper parts; remove one.")
    while paths and all(len(parts) > 1 and parts[0] in declared.outer_wrapper_parts for parts in paths):
        paths = {parts[1:]: key for parts, key in paths.items()}
    return paths


def _form(memory: str, suffix: str, role: str, scope: str) -> _Form:
    """Compile a form such as `lora_A.{adapter}.weight`."""
    ending = pattern_of(memory, named=True).replace(pattern_of(_NAME), "(?P<adapter>[^.]+)", 1)
    before = {MODULE: r"(?P<path>.+)\.", BARE: ""}.get(scope, re.escape(MODEL_PREFIX))
    return _Form(re.compile(before + ending), suffix, role, scope == MODULE)


def _match(parts: Path, forms: Iterable[_Form]) -> _Match | None:
    """Recognise a key that ends in one of the forms."""
    key = ".".join(parts)
    for form in forms:
        found = form.pattern.fullmatch(key)
        if found is not None:
            groups = found.groupdict()
            names = (key.count(".", 0, found.start("adapter")),) if "adapter" in groups else ()
            suffix = spelled(form.suffix, groups.get("category") or "", groups.get("index") or "")
            module = tuple(groups["path"].split(".")) if form.in_module else _owner(form)
            return _Match(module, names, tuple(suffix.split(".")), form.role, form.in_module)
    return None


def _owner(form: _Form) -> Path:
    """The path of what holds a tensor of the adapter as a whole."""
    whole = MODEL_PREFIX[:-1]
    return (whole,) if form.pattern.pattern.startswith(re.escape(MODEL_PREFIX)) else ()


def _match_unnamed(
    parts: Path, mark: str, heads: Collection[str], names: Mapping[Path, Collection[str]]
) -> _Match | None:
    """Recognise what is no role, but has the method's mark and an adapted module: PEFT stores it too."""
    for start in range(len(parts) - 2, max(len(parts) - 4, 0), -1):
        at = start + 1
        known = names.get(parts[:start], ())
        if parts[start].startswith(mark) and parts[start] not in heads and parts[at] in known:
            return _Match(parts[:start], (at,), parts[start:at] + parts[at + 1 :], "", True)
    return None


def _wrapper(parts: Path, wrapped: Collection[Path], declared: Auxiliary) -> int | None:
    """Where in a key the outermost wrapper of a fully trained module has its part."""
    saved = declared.memory_parts[0]
    for at, part in enumerate(parts[:-1]):
        if part in declared.memory_parts and parts[:at] in wrapped:
            return None if part == saved and at == len(parts) - 2 else at
    return None


def _prefix(layers: Collection[Path], layout: Layout) -> tuple[Path, int]:
    """Return what keys lack in front, and how many of their leading parts are the prefix."""
    prefix = tuple(layout.prefix.split(".")[:-1])
    if not layers or all(layer[: len(prefix)] == prefix for layer in layers):
        return (), len(prefix)
    for layer in layers:
        for at in range(1, len(layer) - len(prefix)):
            if layer[at : at + len(prefix)] == prefix:
                raise UsageError(
                    f"The PEFT model lies below {'.'.join(layer[:at])!r} in this state dict; "
                    f"pass its own, whose keys start with {layout.prefix!r}."
                )
    return prefix, 0
