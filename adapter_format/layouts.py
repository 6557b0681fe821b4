"""Layouts: what tensors each method stores, read from `schemas/layouts/`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.conditions import holds
from adapter_format.config_fields import known_peft_types
from adapter_format.packaged import load_schema, schema_names
from adapter_format.shapes import Shape, parse_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


MODULE, MODEL, BARE, CATEGORY = "module", "model", "bare", "category"
"""Where a role's tensors belong: to one adapted module, to the adapter as a whole below the wrapper's own name, to the
adapter as a whole without any prefix, or to a group of modules that share them."""


class Value(NamedTuple):
    """Where in the config the value of a symbol is.

    Attributes:
        symbol: the symbol.
        field: name of the field; a dot leads into an object.
        pattern: name of the field with values by module path, "" if there is none.
        matching: how its keys are matched with paths, a name in `adapter_format.module_values`.
        key: what the keys are of a module path, for keys that are no patterns: `{path}` with something around it.
        take: what of the value counts: `value` itself, its `length`, or how many `trues` it has.
        may_be_zero: whether 0 is a size like any other.
        raw: whether expressions take the value as it stands, number or not.
        either: whether the field's own value holds as well where a pattern matches.
    """

    symbol: str
    field: str
    pattern: str = ""
    matching: str = "regex"
    key: str = ""
    take: str = "value"
    may_be_zero: bool = False
    raw: bool = False
    either: bool = False


class Role(NamedTuple):
    """What one tensor is to its method.

    Attributes:
        name: unique within the layout.
        suffix: what follows the module path and a dot in the key on disk. `{i}` in it stands for a number, `{leaf}` for
            any part, `{rest}` for any parts, `{category}` for the name of a group of modules.
        also_read: other suffixes that PEFT reads as the same role.
        memory: the suffix in the state dict of a live model, with `{adapter}` in it; "" if a model does not hold it so.
        purpose: a few words for people.
        scope: where the tensor belongs.
        declared_by: config conditions that call for the role; empty: always required.
        untrained: `zeros` when a freshly initialised tensor is all zero.
        may_be_zero: whether zeros carry no suspicion.
        may_be_empty: whether a dimension may be zero.
        may_repeat: whether equal tensors in several modules carry no suspicion.
        dtypes: the element types of a tensor that holds no weights; empty: any float type.
        dtype_cases: where the config decides which of them it is, the conditions and types to choose from.
        counted_as: symbol that counts the numbered tensors of the role.
        step: expression for the distance between their numbers.
        undeclared: what PEFT does with it if the config does not call for it: it is `dropped`; or dropped and
            `recomputed`, mostly to the same numbers; or `read` all the same.
        missing: what its absence does: `harms`, or nothing, if PEFT computes it anew (`harmless`); `unknown` if only
            the base decides whether it is there.
        refused: whether PEFT refuses to load if it `alone` is missing, or `together` with all that the same field calls
            for; "" if it does not.
        former: which releases wrote it, if the newest neither writes nor misses it; "" for every other role.
    """

    name: str
    suffix: str
    also_read: tuple[str, ...]
    memory: str
    purpose: str
    scope: str
    declared_by: Mapping[str, Mapping[str, Any]]
    untrained: str
    may_be_zero: bool
    may_be_empty: bool
    may_repeat: bool
    dtypes: tuple[str, ...]
    dtype_cases: tuple[tuple[Mapping[str, Mapping[str, Any]], str], ...]
    counted_as: str
    step: str
    undeclared: str
    missing: str
    refused: str
    former: str

    @property
    def switch(self) -> str:
        """The config field that decides whether it is read or computed anew, to much the same; "" if none does."""
        field, condition = next(iter(self.declared_by.items()), ("", {}))
        is_computed = self.undeclared == "recomputed" or self.missing == "harmless"
        return field if is_computed and condition == {"set": True} else ""


class Kind(NamedTuple):
    """One kind of base layer, or one form that the tensors of the adapter as a whole may take.

    Attributes:
        name: unique within the layout.
        title: the layer types, for people.
        scope: what its roles belong to.
        select: when the kind applies; the first kind of the layout that applies is taken.
        layers: the base layers that are adapted so: `linear`, `convolution`, `embedding`, ...
        shapes: shape of each role.
        cases: for roles whose shape depends on the config, the conditions and shapes to choose from; the first whose
            conditions hold is taken, and if none does the kind has no such role.
        always: roles that the kind has whatever the config says.
        relations: conditions between symbols, each with the sentence that says what it means.
        indexed: symbols that each numbered tensor has its own value of.
        draws: ranges from which tests choose symbols, before the relations settle the others.
        delta: the formula of what is added to the base weight.
    """

    name: str
    title: str
    scope: str
    select: Mapping[str, Any]
    layers: tuple[str, ...]
    shapes: Mapping[str, Shape]
    cases: Mapping[str, tuple[tuple[Mapping[str, Mapping[str, Any]], Shape], ...]]
    always: frozenset[str]
    relations: Mapping[str, str]
    indexed: frozenset[str]
    draws: Mapping[str, tuple[int, int]]
    delta: str


class Layout(NamedTuple):
    """The declared layout of one method.

    Attributes:
        peft_type: the method as configs name it.
        title: as people name it.
        prefix: what the keys of adapted modules start with; "" for a method that adapts none.
        companion_prefix: what the keys of other tensors start with.
        weight_part: how PEFT recognises the method's own tensors by name.
        stores_embeddings: whether PEFT stores the base's embeddings beside the tensors if one of them is adapted.
        symbols: what each symbol means.
        values: symbols whose value is in the config.
        scaling: how the scale of an update is computed.
        targets: names of the fields that choose the adapted modules; none for a method that adapts none.
        bias: the field that says which biases of the base are stored, and what its values mean.
        initialisation: the field of the initialisation, and which of its values change the base.
        retired_layouts: fields of first releases that mean other tensors than these.
        written_always: fields that every writer should write.
        roles: the tensors by name.
        kinds: the kinds of base layer, in the order in which they are tried.
    """

    peft_type: str
    title: str
    prefix: str
    companion_prefix: str
    weight_part: str
    stores_embeddings: bool
    symbols: Mapping[str, str]
    values: Mapping[str, Value]
    scaling: Mapping[str, Any]
    targets: Mapping[str, str]
    bias: Mapping[str, Any]
    initialisation: Mapping[str, Any]
    retired_layouts: tuple[str, ...]
    written_always: tuple[str, ...]
    roles: Mapping[str, Role]
    kinds: tuple[Kind, ...]

    def kind(self, name: str) -> Kind:
        """Return the kind of that name; KeyError if there is none."""
        for kind in self.kinds:
            if kind.name == name:
                return kind
        raise KeyError(name)

    def role(self, instance: str) -> Role:
        """Return the role of a tensor, which may be one of several numbered ones; KeyError if there is none."""
        return self.roles[role_name(instance)]

    @property
    def has_counts(self) -> bool:
        """Whether some of its tensors hold positions or counts instead of weights."""
        return any(role.dtypes for role in self.roles.values())

    @property
    def needs_modules(self) -> bool:
        """Whether an adapter of the method has tensors of single modules under any config."""
        return any(role.scope == MODULE and not role.declared_by for role in self.roles.values())

    def prefix_of(self, role: Role) -> str:
        """Return what stands in front of the suffix, or of the module path, in the keys of a role."""
        if role.scope == MODULE:
            return self.prefix
        return "" if role.scope == BARE else MODEL_PREFIX


MODEL_PREFIX = "base_model."
"""What the keys of tensors of the adapter as a whole start with: the wrapper holds its tuner under that name."""

BASE_FEATURES = frozenset({"d_in", "d_out", "c_in", "c_out", "kernel", "groups", "vocabulary", "dim", "experts"})
"""The symbols by which every layout calls what only the base layer decides."""

_INSTANCE = "#"


def role_name(instance: str) -> str:
    """Return the name of the role of a tensor: `hidden` for the numbered tensors `hidden#0`, `hidden#1`, ..."""
    return instance.partition(_INSTANCE)[0]


def instance_of(role: str, index: str) -> str:
    """Name one of the numbered tensors of a role."""
    return f"{role}{_INSTANCE}{index}"


def index_of(instance: str) -> str:
    """Return the number, or the name, that tells a tensor from the others of its role; "" if it is the only one."""
    return instance.partition(_INSTANCE)[2]


class Auxiliary(NamedTuple):
    """Tensors that any method may carry beside its own, from `schemas/layouts/auxiliary.json`."""

    prefix: str
    saved_modules_field: str
    memory_parts: tuple[str, ...]
    task_heads: Mapping[str, list[str]]
    tokens_field: str
    tokens_suffix: str
    tokens_memory: str
    tokens_module: str
    embedding_modules: tuple[str, ...]
    stored_embeddings: tuple[str, ...]
    base_layer_part: str
    wrapper_parts: tuple[str, ...]
    outer_wrapper_parts: tuple[str, ...]
    usual_method: str
    prompt_encoder_part: str


@functools.cache
def layout_of(peft_type: str) -> Layout | None:
    """Return the layout of a method, or None if the method is not known."""
    return _read_layout(load_schema(f"{_FOLDER}{peft_type.lower()}")) if peft_type in layout_names() else None


_FOLDER = "layouts/"
_NO_METHOD = "auxiliary"


def layout_names() -> tuple[str, ...]:
    """Return every method that has a layout, by its `peft_type`, without reading the layouts."""
    names = (name.removeprefix(_FOLDER) for name in schema_names() if name.startswith(_FOLDER) and "." not in name)
    return tuple(sorted(name.upper() for name in names if name != _NO_METHOD))


def current_layout_names() -> tuple[str, ...]:
    """Return every method with a layout that the newest release of PEFT knows."""
    return tuple(name for name in layout_names() if known_peft_types()[name].until is None)


def known_layouts() -> tuple[Layout, ...]:
    """Return every packaged layout, in the order of their names."""
    return tuple(layout for layout in map(layout_of, layout_names()) if layout is not None)


@functools.cache
def suffixes_by_method() -> Mapping[str, tuple[str, ...]]:
    """Return how the keys of each method end, with wildcards, without reading the layouts in full."""
    found = {name: load_schema(f"{_FOLDER}{name.lower()}") for name in layout_names()}
    return {name: tuple(role["suffix"] for role in data["roles"].values()) for name, data in found.items()}


def fitted(kind: Kind, find: Callable[[str], Any]) -> Kind:
    """Return a kind with the shapes that a config chooses; `find` gives the value of a config field by name."""
    if not kind.cases:
        return kind
    shapes = {name: shape for name, shape in kind.shapes.items() if name not in kind.cases}
    for role, cases in kind.cases.items():
        chosen = next((shape for conditions, shape in cases if holds(conditions, find)), None)
        if chosen is not None:
            shapes[role] = chosen
    return kind._replace(shapes={name: shapes[name] for name in kind.shapes if name in shapes})


def dtypes_of(role: Role, find: Callable[[str], Any]) -> tuple[str, ...]:
    """Return the element types that a config allows a tensor that holds no weights; the first is the usual one."""
    if not role.dtype_cases:
        return role.dtypes
    return tuple(name for conditions, name in role.dtype_cases if holds(conditions, find))[:1] or role.dtypes


def _read_layout(data: Mapping[str, Any]) -> Layout:
    prefix = data.get("prefix", "")
    return Layout(
        data["peft_type"],
        data["title"],
        prefix,
        data.get("companion_prefix", prefix),
        data["weight_part"],
        data.get("stores_embeddings", True),
        data["symbols"],
        {symbol: Value(symbol, **value) for symbol, value in data.get("values", {}).items()},
        data.get("scaling", {}),
        data.get("targets", {}),
        data.get("bias", {}),
        data.get("initialisation", {}),
        tuple(data.get("retired_layouts", ())),
        tuple(data.get("written_always", ())),
        {name: _read_role(name, role) for name, role in data["roles"].items()},
        tuple(map(_read_kind, data["kinds"])),
    )


def _read_role(name: str, data: Mapping[str, Any]) -> Role:
    suffix = data["suffix"]
    first, dot, rest = suffix.partition(".")
    return Role(
        name,
        suffix,
        tuple(data.get("also_read", ())),
        data.get("memory", f"{first}.{{adapter}}{dot}{rest}"),
        data["purpose"],
        data.get("scope", MODULE),
        _NEVER if "former" in data else data.get("declared_by", {}),
        data.get("untrained", ""),
        data.get("may_be_zero", False),
        data.get("may_be_empty", False),
        data.get("may_repeat", False),
        tuple(case if isinstance(case, str) else case["dtype"] for case in data.get("dtypes", ())),
        tuple((case.get("when", {}), case["dtype"]) for case in data.get("dtypes", ()) if not isinstance(case, str)),
        data.get("counted_as", ""),
        data.get("step", "1"),
        "read" if "former" in data else data.get("undeclared", "dropped"),
        data.get("missing", "harms"),
        data.get("refused", ""),
        data.get("former", ""),
    )


_NEVER = {"peft_type": {"given": False}}
"""A condition that holds for no config of a known method."""


def _read_kind(data: Mapping[str, Any]) -> Kind:
    shapes: dict[str, Shape] = {}
    cases: dict[str, tuple[tuple[Mapping[str, Mapping[str, Any]], Shape], ...]] = {}
    for role, shape in data["shapes"].items():
        if shape and isinstance(shape[0], dict):
            cases[role] = tuple((case.get("when", {}), parse_shape(case["shape"])) for case in shape)
            shapes[role] = cases[role][0][1]
        else:
            shapes[role] = parse_shape(shape)
    return Kind(
        data["name"],
        data["title"],
        data.get("scope", MODULE),
        data.get("select", {}),
        tuple(data.get("layers", ())),
        shapes,
        cases,
        frozenset(data.get("always", ())),
        data.get("relations", {}),
        frozenset(data.get("indexed", ())),
        {symbol: (low, high) for symbol, (low, high) in data.get("draws", {}).items()},
        data.get("delta", ""),
    )


@functools.cache
def auxiliary() -> Auxiliary:
    """Return the declaration of the tensors that any method may carry."""
    data = load_schema("layouts/auxiliary")
    saved, tokens = data["saved_modules"], data["trainable_tokens"]
    return Auxiliary(
        data["prefix"],
        saved["field"],
        tuple(saved["memory_parts"]),
        saved["task_heads"],
        tokens["field"],
        tokens["suffix"],
        tokens["memory"],
        tokens["default_module"],
        tuple(data["embedding_modules"]),
        tuple(data["stored_embeddings"]),
        data["base_layer_part"],
        tuple(data["wrapper_parts"]),
        tuple(data["outer_wrapper_parts"]),
        data["usual_method"],
        data["prompt_encoder_part"],
    )
