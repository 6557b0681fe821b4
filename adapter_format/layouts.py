"""Layouts: what tensors each method stores, read from `schemas/layouts/`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.packaged import load_schema, schema_names
from adapter_format.shapes import Shape, parse_shape

if TYPE_CHECKING:
    from collections.abc import Mapping


class Role(NamedTuple):
    """What one tensor is to its method.

    Attributes:
        name: unique within the layout.
        suffix: what follows the module path and a dot in the key on disk.
        also_read: other suffixes that PEFT reads as the same role.
        memory: the suffix in the state dict of a live model, with `{adapter}` in it.
        purpose: a few words for people.
        declared_by: config conditions that call for the role; empty: always required.
        untrained: `zeros` when a freshly initialised tensor is all zero.
        may_be_zero: whether zeros carry no suspicion.
        free_shape: whether the shape follows no formula.
    """

    name: str
    suffix: str
    also_read: tuple[str, ...]
    memory: str
    purpose: str
    declared_by: Mapping[str, Mapping[str, Any]]
    untrained: str
    may_be_zero: bool
    free_shape: bool


class Kind(NamedTuple):
    """One kind of base layer: which roles it has and in which shapes.

    Attributes:
        name: unique within the layout.
        title: the layer types, for people.
        select: when the kind applies; the first kind of the layout that applies is taken.
        config_symbols: symbols whose value is in the config, as JSON pointers.
        shapes: shape of each role.
        delta: the formula of what is added to the base weight.
    """

    name: str
    title: str
    select: Mapping[str, Any]
    config_symbols: Mapping[str, str]
    shapes: Mapping[str, Shape]
    delta: str


class Layout(NamedTuple):
    """The declared layout of one method."""

    peft_type: str
    title: str
    prefix: str
    weight_part: str
    symbols: Mapping[str, str]
    rank: Mapping[str, str]
    scaling: Mapping[str, str]
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


class Auxiliary(NamedTuple):
    """Tensors that any method may carry beside its own, from `schemas/layouts/auxiliary.json`."""

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


@functools.cache
def layout_of(peft_type: str) -> Layout | None:
    """Return the layout of a method, or None if the method is not known."""
    name = f"layouts/{peft_type.lower()}"
    if not peft_type.isidentifier() or peft_type != peft_type.upper() or name not in schema_names():
        return None
    return _read_layout(load_schema(name))


def known_layouts() -> tuple[Layout, ...]:
    """Return every packaged layout, in the order of their names."""
    names = sorted(name.partition("/")[2] for name in schema_names() if name.startswith("layouts/"))
    found = (layout_of(name.upper()) for name in names if "." not in name and name != "auxiliary")
    return tuple(layout for layout in found if layout is not None)


def _read_layout(data: Mapping[str, Any]) -> Layout:
    roles = {
        name: Role(
            name,
            role["suffix"],
            tuple(role.get("also_read", ())),
            role["memory"],
            role["purpose"],
            role.get("declared_by", {}),
            role.get("untrained", ""),
            role.get("may_be_zero", False),
            role.get("free_shape", False),
        )
        for name, role in data["roles"].items()
    }
    kinds = tuple(
        Kind(
            kind["name"],
            kind["title"],
            kind["select"],
            kind.get("config_symbols", {}),
            {name: parse_shape(shape) for name, shape in kind["shapes"].items()},
            kind["delta"],
        )
        for kind in data["kinds"]
    )
    return Layout(
        data["peft_type"],
        data["title"],
        data["prefix"],
        data["weight_part"],
        data["symbols"],
        data["rank"],
        data["scaling"],
        data["targets"],
        data["bias"],
        data["initialisation"],
        tuple(data["retired_layouts"]),
        tuple(data["written_always"]),
        roles,
        kinds,
    )


@functools.cache
def auxiliary() -> Auxiliary:
    """Return the declaration of the tensors that any method may carry."""
    data = load_schema("layouts/auxiliary")
    saved, tokens = data["saved_modules"], data["trainable_tokens"]
    return Auxiliary(
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
    )
