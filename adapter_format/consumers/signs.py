"""Signs in an adapter that tell which of several layouts it has: each names the keys or fields that show it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from adapter_format.config import CONFIG_NAME, WEIGHTS_NAME
from adapter_format.config_fields import fields_of
from adapter_format.consumers.matching import Patterns, sizes
from adapter_format.findings import Location
from adapter_format.packaged import load_schema
from adapter_format.settling import RANK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from adapter_format.consumers.held import Held


def places_of(change: Mapping[str, Any], held: Held) -> tuple[Location, ...]:
    """Return where the signs of a change are; nothing if the adapter does not show them all.

    Args:
        change: an entry of `changes` in `schemas/consumers/peft.json`.
        held: the adapter.
    """
    if not held.meets(change.get("when", {})):
        return ()
    places = [_field(name) for name in change.get("fields", ()) if name in held.config]
    tensors = held.tensors or {}
    if "keys" in change:
        shown = _matching(change, tensors)
        if not shown:
            return ()
        places += shown
    if "lacks" in change and (held.tensors is None or _matching({"keys": change["lacks"]}, tensors)):
        return ()
    if "seen" in change:
        found = _SIGNS[change["seen"]](held, [place.tensor for place in places if place.tensor])
        if found is None:
            return ()
        places = found or places
    return tuple(places) or (Location(CONFIG_NAME, pointer=""),)


def _matching(change: Mapping[str, Any], tensors: Mapping[str, Any]) -> list[Location]:
    search = re.compile(change["keys"]).search
    dimensions = change.get("dimensions")
    return [
        Location(WEIGHTS_NAME, tensor=key)
        for key, info in tensors.items()
        if search(key) and (dimensions is None or len(info.shape) == dimensions)
    ]


def _field(name: str) -> Location:
    return Location(CONFIG_NAME, pointer=f"/{name}")


def patterns_of(held: Held) -> Patterns | None:
    """Return the fields that ranks and alphas come from; None for a method whose patterns have no history."""
    found = load_schema("consumers/peft")["pattern_regimes"].get(held.method)
    if found is None:
        return None
    known = fields_of(held.method)
    rank, alpha = (held.config.get(name, known[name].default) for name in (found["rank"], found["alpha"]))
    ranks, alphas = held.config.get("rank_pattern"), held.config.get("alpha_pattern")
    return Patterns(rank, alpha, ranks if isinstance(ranks, dict) else {}, alphas if isinstance(alphas, dict) else {})


def _scaled(held: Held, _keys: Sequence[str]) -> list[Location] | None:
    """Some alpha is not the rank of its module."""
    patterns = patterns_of(held)
    if patterns is None:
        return None
    found = sizes(patterns, held.paths, "each", "regex") if held.paths else None
    if found is None:
        return [] if patterns.alpha != patterns.rank or patterns.ranks or patterns.alphas else None
    return [] if any(size.alpha != size.rank for size in found.values()) else None


def _scaled_convolution(held: Held, keys: Sequence[str]) -> list[Location] | None:
    """A scale lies in a row, as that of a convolution does."""
    shapes = {key: (held.tensors or {})[key].shape for key in keys}
    found = [key for key, shape in shapes.items() if len(shape) == 2 and shape[0] == 1 < shape[1]]
    return [Location(WEIGHTS_NAME, tensor=key) for key in found] or None


def _bias_of_layer(held: Held, _keys: Sequence[str]) -> list[Location] | None:
    """A bias stands beside the factors of its layer."""
    keys = (f"{held.prefix}{path}.bias" for path in held.paths)
    found = [Location(WEIGHTS_NAME, tensor=key) for key in keys if key in (held.tensors or {})]
    return found or None


def _grouped(held: Held, keys: Sequence[str]) -> list[Location] | None:
    """The factor of a convolution has fewer columns than the rank: each group its own."""
    found = []
    for module in held.modules.values():
        rank = module.symbols.get(RANK)
        factors = [info for info in module.roles.values() if info.name in keys and len(info.shape) > 2]
        found += [Location(WEIGHTS_NAME, tensor=info.name) for info in factors if rank and info.shape[1] < rank]
    return found or None


def _several_widths(held: Held, keys: Sequence[str]) -> list[Location] | None:
    """Vectors over the outputs of several modules differ in length."""
    shapes = {(held.tensors or {})[key].shape for key in keys}
    return [Location(WEIGHTS_NAME, tensor=key) for key in keys] if len(shapes) > 1 else None


_SIGNS: dict[str, Callable[[Held, Sequence[str]], list[Location] | None]] = {
    "scaled": _scaled,
    "scaled-convolution": _scaled_convolution,
    "bias-of-layer": _bias_of_layer,
    "grouped": _grouped,
    "several-widths": _several_widths,
}
"""How `seen` in the data is judged, of an adapter and the keys found: the places that show it, or None if none do."""
