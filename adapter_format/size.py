"""The size formula: parameters and bytes of an adapter, from its dimensions alone.

For LoRA on linear layers it is the sum over modules of r * (d_in + d_out) * bytes per parameter; other kinds follow
from the shapes that the layout declares (spec, chapter Size).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from adapter_format.dtypes import BITS, DTYPES
from adapter_format.errors import UsageError
from adapter_format.layouts import layout_of
from adapter_format.shapes import elements_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter_format.anatomy import Anatomy
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
        per_module: parameters of each module given, in order.
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
            roles[name] = roles.get(name, 0) + info.nbytes * len(group)
        formula += module_bytes(group[0]) * len(group)
    companions: dict[str, int] = {}
    for companion in anatomy.companions:
        companions[companion.what] = companions.get(companion.what, 0) + companion.info.nbytes
    stored_roles = sum(roles.values())
    stored = stored_roles + sum(companions.values())
    return StoredSize(stored, formula, roles, companions, stored_roles - formula)


def module_bytes(module: Module) -> int:
    """Compute what the formula gives for one stored module, in the element types that it is stored in.

    Shapes that do not fit their kind give 0: rules report them.
    """
    total = 0
    symbols = dict(module.symbols)
    if module.rank is not None:
        symbols["r"] = module.rank
    for name, shape in module.kind.shapes.items():
        info = module.roles.get(name)
        if info is None or not info.dtype:
            continue
        if any(dimension.left == "any" for dimension in shape):
            total += info.nbytes
            continue
        try:
            total += elements_of(shape, symbols) * BITS[info.dtype] // 8
        except (KeyError, ZeroDivisionError):
            continue
    return total


def expected_size(
    modules: Mapping[str, tuple[int, int]] | Sequence[tuple[int, int]],
    r: int,
    dtype: str = "F32",
    *,
    peft_type: str = "LORA",
    kind: str = "linear",
    roles: tuple[str, ...] = (),
    ranks: Mapping[str, int] | None = None,
) -> PredictedSize:
    """Predict parameters and bytes from dimensions and rank.

    >>> expected_size([(4096, 4096)] * 4 * 32, r=16, dtype="F16")[:2]
    (16777216, 33554432)

    Args:
        modules: `(d_in, d_out)` in features of each adapted module, by path or in a list.
        r: rank.
        dtype: safetensors name of the element type.
        peft_type: the method.
        kind: the kind of base layer; its shapes may use no other symbols than r, d_in and d_out.
        roles: further roles beside the required ones, such as `lora_magnitude_vector` for DoRA.
        ranks: rank by path, for modules that differ from `r`.

    Raises:
        UsageError: the method, the kind, the element type or a size is not known.
    """
    layout = layout_of(peft_type)
    if layout is None:
        raise UsageError(f"No layout is known for the method {peft_type!r}.")
    if dtype not in DTYPES:
        raise UsageError(f"The element type {dtype!r} is none of {', '.join(DTYPES)}.")
    try:
        declared = layout.kind(kind).shapes
    except KeyError:
        names = ", ".join(kind.name for kind in layout.kinds)
        raise UsageError(f"The kind {kind!r} is none of {names}.") from None
    wanted = [name for name in declared if name in roles or not layout.roles[name].declared_by]
    named = modules if isinstance(modules, Mapping) else {str(index): dims for index, dims in enumerate(modules)}
    counts: list[int] = []
    for path, (d_in, d_out) in named.items():
        rank = (ranks or {}).get(path, r)
        if min(rank, d_in, d_out) < 1:
            raise UsageError(f"Rank and features must be positive, found r={rank}, d_in={d_in}, d_out={d_out}.")
        symbols = {"r": rank, "d_in": d_in, "d_out": d_out}
        try:
            counts.append(sum(elements_of(declared[name], symbols) for name in wanted))
        except KeyError as error:
            raise UsageError(f"The kind {kind!r} needs a value for {error}.") from None
    parameters = sum(counts)
    return PredictedSize(parameters, parameters * BITS[dtype] // 8, tuple(counts))
