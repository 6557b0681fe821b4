"""What the stored numbers mean to a model: the scale that multiplies a module's update (spec, SEM-2)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from adapter_format.conditions import is_set
from adapter_format.config_fields import fields_of
from adapter_format.errors import UnreadableAdapterError
from adapter_format.targets import value_by_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from adapter_format.layouts import Layout


def scaling(layout: Layout, config: Mapping[str, Any], path: str, rank: int) -> float:
    """Return the scale s of one module: for LoRA, dW = s * B A.

    s = alpha / r, or alpha / sqrt(r) where the config says so. Source: PEFT 0.21.2, `LoraLayer.update_layer` and
    `get_pattern_key`; the fields of alpha, its patterns and the square root are those that the layout declares.

    >>> from adapter_format.layouts import layout_of
    >>> scaling(layout_of("LORA"), {"lora_alpha": 32, "use_rslora": True}, "model.layers.0.mlp.up_proj", 16)
    8.0

    Args:
        layout: the method.
        config: content of `adapter_config.json`; absent fields have PEFT's defaults.
        path: the name that patterns are matched with: the module's path in the base model, of a targeted parameter the
            parameter's. The first pattern that matches decides.
        rank: rank of the module, after patterns; for `target_parameters` that of one expert.

    Raises:
        UnreadableAdapterError: alpha is no finite number, or the rank is not positive.
    """
    return scaling_from(alpha_by_path(layout, config)(path), rank, square_root=has_square_root(layout, config))


def alpha_by_path(layout: Layout, config: Mapping[str, Any]) -> Callable[[str], float]:
    """Return a function that gives alpha for a name; prepared once, it is quick for many.

    It raises UnreadableAdapterError where alpha is no finite number.
    """
    field = layout.scaling["numerator"]
    known = fields_of(layout.peft_type).get(field)
    settings = config if field in config or known is None else {**config, field: known.default}
    find = value_by_path(settings, field, layout.scaling["pattern"])

    def alpha(path: str) -> float:
        value = find(path)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UnreadableAdapterError(f"`{field}` is no number for {path!r:.200}, so its scale is not known.")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise UnreadableAdapterError(f"`{field}` is not finite for {path!r:.200}, so its scale is not known.")
        return number

    return alpha


def has_square_root(layout: Layout, config: Mapping[str, Any]) -> bool:
    """Whether alpha is divided by the square root of the rank instead of the rank."""
    field = layout.scaling.get("square_root")
    return field is not None and is_set(config.get(field))


def scaling_from(alpha: float, rank: int, *, square_root: bool) -> float:
    """Compute the scale from its parts.

    Raises:
        UnreadableAdapterError: the rank is not positive.
    """
    if rank < 1:
        raise UnreadableAdapterError(f"The rank is {rank}, expected a positive number.")
    return alpha / (math.sqrt(rank) if square_root else rank)
