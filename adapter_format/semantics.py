"""What the stored numbers mean to a model: the scale that multiplies a module's update (spec, SEM-2)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from adapter_format.conditions import is_set
from adapter_format.errors import UnreadableAdapterError
from adapter_format.expressions import NoValueError, UnknownSymbolError, evaluate
from adapter_format.layouts import Value
from adapter_format.module_values import settings_finder, values_by_path
from adapter_format.shapes import plain_scope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from adapter_format.layouts import Layout


def scaling(layout: Layout, config: Mapping[str, Any], path: str, symbols: Mapping[str, Any] | int) -> float | None:
    """Return the scale s of one module: for LoRA, dW = s * B A.

    s is alpha divided by what the layout names, for LoRA the rank, or by its square root where the config says so.
    Source: PEFT 0.21.2, the `update_layer` methods of the tuners' layers and `get_pattern_key`.

    >>> from adapter_format.layouts import layout_of
    >>> scaling(layout_of("LORA"), {"lora_alpha": 32, "use_rslora": True}, "model.layers.0.mlp.up_proj", 16)
    8.0

    Args:
        layout: the method.
        config: content of `adapter_config.json`; absent fields have PEFT's defaults.
        path: the name that patterns are matched with: the module's path in the base model, of a targeted parameter the
            parameter's. The first pattern that matches decides.
        symbols: sizes and settings of the module, or its rank alone; for `target_parameters` the rank of one expert.

    Returns:
        The scale; None for a method that has none.

    Raises:
        UnreadableAdapterError: alpha is no finite number, or the rank is not positive.
    """
    if not layout.scaling:
        return None
    known = {"r": symbols} if isinstance(symbols, int) else symbols
    return scaling_from(layout, alpha_by_path(layout, config)(path), known, square_root=has_square_root(layout, config))


def alpha_value(layout: Layout) -> Value | None:
    """Return which field gives alpha, the numerator of the scale; None for a method without one."""
    numerator = layout.scaling.get("numerator")
    return Value("alpha", **numerator) if numerator is not None else None


def alpha_by_path(layout: Layout, config: Mapping[str, Any]) -> Callable[[str], float | None]:
    """Return a function that gives alpha for a name; prepared once, it is quick for many.

    It gives None where the config has null and the method then does without a scale, and raises UnreadableAdapterError
    where alpha is no finite number.
    """
    value = alpha_value(layout)
    if value is None:
        return lambda _: None
    find = values_by_path(value, config, settings_finder(layout, config))
    may_be_null = "without" in layout.scaling

    def alpha(path: str) -> float | None:
        found = find(path)
        if found is None and may_be_null:
            return None
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise UnreadableAdapterError(f"`{value.field}` is no number for {path!r:.200}, so its scale is not known.")
        try:
            number = float(found)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise UnreadableAdapterError(f"`{value.field}` is not finite for {path!r:.200}, so its scale is not known.")
        return number

    return alpha


def has_square_root(layout: Layout, config: Mapping[str, Any]) -> bool:
    """Whether alpha is divided by the square root of the rank instead of the rank."""
    field = layout.scaling.get("square_root")
    return field is not None and is_set(config.get(field))


def scaling_from(
    layout: Layout, alpha: float | None, symbols: Mapping[str, Any], *, square_root: bool = False
) -> float | None:
    """Compute the scale from its parts; None where the file does not tell it.

    Raises:
        UnreadableAdapterError: the divisor is not positive.
    """
    if alpha is None:
        without: float | None = layout.scaling.get("without")
        return without
    try:
        divisor = evaluate(layout.scaling.get("divisor", "1"), plain_scope(symbols))
    except (UnknownSymbolError, NoValueError):
        return None
    if divisor <= 0:
        raise UnreadableAdapterError(f"The rank is {divisor}, expected a positive number.")
    return float(alpha / (math.sqrt(divisor) if square_root else divisor))
