"""The size formula: parameters and bytes of an adapter, from its dimensions alone.

For LoRA on linear layers it is the sum over modules of r * (d_in + d_out) * bytes per parameter; other kinds follow
from the shapes that the layout declares (spec, chapter Size).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.dtypes import BITS, DTYPES
from adapter_format.errors import UsageError
from adapter_format.expressions import NoValueError, UnknownSymbolError
from adapter_format.layouts import auxiliary, index_of, role_name
from adapter_format.settings import check_settings, layout_named
from adapter_format.settling import RANK, Frame
from adapter_format.shapes import elements_of, is_free

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter_format.anatomy import Anatomy
    from adapter_format.layouts import Layout
    from adapter_format.modules import Module


class StoredSize(NamedTuple):
    """How the stored bytes of an adapter come about.

    Attributes:
        stored_bytes: bytes of all tensors.
        formula_bytes: what the formula gives for the adapted modules.
        role_bytes: bytes by role of the method.
        companions: bytes by sort of companion, only those present.
        unexplained: stored bytes of roles that the formula does not give.
    """

    stored_bytes: int
    formula_bytes: int
    role_bytes: Mapping[str, int]
    companions: Mapping[str, int]
    unexplained: int


class PredictedSize(NamedTuple):
    """Parameters and bytes of an adapter before training.

    Attributes:
        parameters: number of stored elements.
        bytes: bytes of tensor data.
        per_module: parameters of each module given, in order, without those that modules share.
    """

    parameters: int
    bytes: int
    per_module: tuple[int, ...]


def stored_size(anatomy: Anatomy) -> StoredSize:
    """Explain the stored bytes of an adapter by the formula and by its companions."""
    roles: dict[str, int] = {}
    formula = 0
    for group in anatomy.alike:
        for name, info in group[0].roles.items():
            role = role_name(name)
            roles[role] = roles.get(role, 0) + info.nbytes * len(group)
        formula += module_bytes(anatomy.layout, group[0]) * len(group)
    companions: dict[str, int] = {}
    for companion in anatomy.companions:
        companions[companion.what] = companions.get(companion.what, 0) + companion.info.nbytes
    stored_roles = sum(roles.values())
    stored = stored_roles + sum(companions.values())
    return StoredSize(stored, formula, roles, companions, stored_roles - formula)


def module_bytes(layout: Layout, module: Module) -> int:
    """Compute what the formula gives for one stored module, in the element types that it is stored in.

    Shapes that do not fit their kind give 0: rules report them.
    """
    total = 0
    frame = Frame(layout, module.kind)
    symbols = {**module.symbols, **module.given}
    for name, info in module.roles.items():
        shape = module.kind.shapes.get(role_name(name))
        if shape is None or not info.dtype:
            continue
        if is_free(shape):
            total += info.nbytes
            continue
        try:
            total += elements_of(shape, frame.scope(symbols, index_of(name))) * BITS[info.dtype] // 8
        except (UnknownSymbolError, NoValueError):
            continue
    return total


def expected_size(
    modules: Mapping[str, tuple[int, int]] | Sequence[tuple[int, int]],
    r: int | None = None,
    dtype: str = "F32",
    *,
    peft_type: str | None = None,
    layer: str = "linear",
    roles: tuple[str, ...] = (),
    ranks: Mapping[str, int] | None = None,
    config: Mapping[str, Any] | None = None,
) -> PredictedSize:
    """Predict parameters and bytes from dimensions and settings.

    >>> expected_size([(4096, 4096)] * 4 * 32, r=16, dtype="F16")[:2]
    (16777216, 33554432)
    >>> expected_size([(64, 64)] * 2, peft_type="VERA", config={"r": 8}).parameters  # 2 * (64 + 8) + 8 * (64 + 64)
    1168

    Args:
        modules: `(d_in, d_out)` in features of each adapted module, by path or in a list.
        r: rank, for a method that has one; by default that of the config.
        dtype: safetensors name of the element type of what is trained.
        peft_type: the method; by default LoRA.
        layer: the base layer, such as `linear`; its kinds may use no other features than d_in and d_out.
        roles: further roles beside those that the config calls for, such as `lora_magnitude_vector` for DoRA.
        ranks: rank by path, for modules that differ from `r`.
        config: further settings, as in `adapter_config.json`; absent fields have PEFT's defaults.

    Raises:
        UsageError: a method, layer, element type, setting or size is not known, or they do not go together.
    """
    from adapter_format.prediction import predict

    layout = layout_named(peft_type or auxiliary().usual_method)
    if dtype not in DTYPES:
        raise UsageError(f"The element type {dtype!r} is none of {', '.join(DTYPES)}.")
    named = modules if isinstance(modules, Mapping) else {str(index): dims for index, dims in enumerate(modules)}
    settings: dict[str, Any] = dict(config or {})
    rank = layout.values.get(RANK)
    if r is not None:
        if rank is None:
            fields = ", ".join(f"`{value.field}`" for value in layout.values.values())
            depends = f"; its sizes depend on the config fields {fields}" if fields else ""
            raise UsageError(f"{layout.title} takes no rank{depends}.")
        settings[rank.field] = r
    check_settings(layout, settings)
    tensors = predict(layout, settings, named, layer, roles, ranks or {})
    counts = dict.fromkeys(named, 0)
    parameters = nbytes = 0
    for tensor in tensors:
        elements = math.prod(tensor.shape)
        parameters += elements
        nbytes += elements * BITS[tensor.dtype or dtype] // 8
        if tensor.path in counts:
            counts[tensor.path] += elements
    return PredictedSize(parameters, nbytes, tuple(counts.values()))
