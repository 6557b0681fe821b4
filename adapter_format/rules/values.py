"""5xx: tensor values, read with `--data`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter_format.config import WEIGHTS_NAME
from adapter_format.findings import Finding, Location
from adapter_format.rules.edits import CopyTensor, DropTensors, FillTensors, mutation
from adapter_format.rules.keys import places, tensors_of
from adapter_format.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from adapter_format.anatomy import Anatomy
    from adapter_format.checkpoint import Checkpoint
    from adapter_format.tensor_scan import TensorStatistics
    from adapter_format.tensors import TensorInfo

    Statistics = Mapping[str, TensorStatistics]

_A, _B = r"layers\.1\.self_attn\.q_proj\.lora_A", r"layers\.1\.self_attn\.q_proj\.lora_B"

NAN = Rule(
    "AF501", "nan", "error", "VAL-1", "NaN among the values",
    "One NaN spreads through the whole model: every answer is NaN or garbage.",
    "Go back to a checkpoint from before the training diverged.", "silent-wrong",
    (mutation("plain", FillTensors(_B, "nan", "first")),), pains=("P23",), level="data",
)  # fmt: skip
INFINITE = Rule(
    "AF502", "infinite", "error", "VAL-1", "Infinite values",
    "An overflow in training or in a cast to F16: products with it are NaN or infinite.",
    "Go back to a checkpoint from before the overflow, or store a wider element type.", "silent-wrong",
    (mutation("plain", FillTensors(_A, "inf", "first")),), pains=("P23",), level="data",
)  # fmt: skip
DOWN_ZERO = Rule(
    "AF503", "factor-all-zero", "warning", "VAL-2", "A factor that is never zero by initialisation is all zero",
    "With A zero the module adds nothing, whatever B holds; usually a shard or a placeholder was saved.",
    "Save again with all parameters gathered.", "silent-wrong",
    (mutation("plain", FillTensors(_A, 0)),), pains=("P13",), level="data",
    note="PEFT loads the zeros as they were saved: a warning, no error.",
)  # fmt: skip
NEVER_TRAINED = Rule(
    "AF504", "never-trained", "warning", "VAL-2", "Every B is zero: the adapter does nothing",
    "B starts at zero and was never changed: the adapter was saved before training, or its gradients never arrived.",
    "Check that the adapter's parameters were trained and that the right state was saved.", "silent-wrong",
    (mutation("plain", FillTensors(r"lora_B", 0)),), pains=("P12",), level="data",
    note="A freshly made adapter is like this by design, hence a warning.",
)  # fmt: skip
PARTLY_TRAINED = Rule(
    "AF505", "partly-trained", "warning", "VAL-2", "B is zero in some modules only",
    "Those modules add nothing: they were frozen, bypassed by a fused kernel, or lost in a distributed save.",
    "Check why these modules were not trained; leave them out of the targets if that is meant.", "silent-wrong",
    (mutation("plain", FillTensors(_B, 0)),), pains=("P12",), level="data",
    note="PEFT loads the zeros as they were saved: a warning, no error.",
)  # fmt: skip
ZERO_ROWS = Rule(
    "AF506", "zero-rows", "warning", "VAL-2", "Rows of zeros in a tensor that is not zero",
    "A save of one shard of a distributed run leaves the rows of the other shards at zero.",
    "Gather the full state before saving.", "silent-wrong",
    (mutation("plain", FillTensors(_B, 0, "row")),), pains=("P13",), level="data",
    note="PEFT loads the zeros as they were saved: a warning, no error.",
)  # fmt: skip
SUBNORMAL = Rule(
    "AF507", "subnormal-only", "warning", "VAL-3", "All values are subnormal",
    "The values are so small that devices may take them for zero; usually a scale was applied twice.",
    "Check the scale, and store a wider element type.", "silent-wrong",
    (mutation("plain", FillTensors(_B, "subnormal")),), pains=("P23",), level="data",
    note="PEFT loads the values as they were saved: a warning, no error.",
)  # fmt: skip
IDENTICAL = Rule(
    "AF508", "identical-tensors", "warning", "VAL-4", "Tensors of different modules hold the same bytes",
    "Trained factors of two modules are never equal; one was written over the other.",
    "Save again; compare the export's mapping of names.", "silent-wrong",
    (mutation("plain", DropTensors(_B), CopyTensor("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
                                  "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight")),), level="data",
    note="PEFT loads the tensors as they were saved: a warning, no error.",
)  # fmt: skip

RULES = tuple(value for value in list(globals().values()) if isinstance(value, Rule))


def check_values(
    checkpoint: Checkpoint, statistics: Statistics, identical: Callable[[TensorInfo, TensorInfo], bool]
) -> Iterator[Finding]:
    """Judge the scanned values.

    Args:
        checkpoint: the adapter.
        statistics: what the scan found, by key.
        identical: whether two tensors hold the same bytes.
    """
    yield from _check_finite(statistics)
    if checkpoint.anatomy is not None:
        yield from _check_zeros(checkpoint.anatomy, statistics)
        yield from _check_identical(checkpoint.anatomy, statistics, identical)


def _check_finite(statistics: Statistics) -> Iterator[Finding]:
    for rule, name, counts, first in (
        (NAN, "NaN", {key: s.nan for key, s in statistics.items()}, {key: s.first_nan for key, s in statistics.items()}),
        (INFINITE, "infinity", {key: s.infinite for key, s in statistics.items()},
         {key: s.first_infinite for key, s in statistics.items()}),
    ):  # fmt: skip
        found = [key for key, count in counts.items() if count]
        if found:
            values = sum(counts[key] for key in found)
            text = f"{values:,} {name} in {tensors_of(len(found))}; the first in {found[0]!r} at element {first[found[0]]}."
            yield rule.finding(text, places(found))


def _check_zeros(anatomy: Anatomy, statistics: Statistics) -> Iterator[Finding]:
    fresh: list[str] = []
    trained = 0
    dead: list[str] = []
    rows: list[tuple[str, int, int]] = []
    subnormal: list[str] = []
    for unit in anatomy.units:
        for name, info in unit.roles.items():
            scanned = statistics.get(info.name)
            role = anatomy.layout.role(name)
            if scanned is None or not scanned.elements or role.may_be_zero or role.dtypes:
                continue
            if role.untrained == "zeros":
                trained += not scanned.zeros
                if scanned.zeros:
                    fresh.append(info.name)
            elif scanned.zeros:
                dead.append(info.name)
            if scanned.zero_rows and not scanned.zeros:
                rows.append((info.name, scanned.zero_rows, info.shape[0]))
            if scanned.subnormal_only:
                subnormal.append(info.name)
    if fresh and not trained:
        yield NEVER_TRAINED.finding(
            f"All {len(fresh)} up factors are zero: the adapter changes nothing.", places(fresh)
        )
    elif fresh:
        text = f"Zero everywhere: {len(fresh)} of {len(fresh) + trained} up factors, first {fresh[0]!r}."
        yield PARTLY_TRAINED.finding(text, places(fresh))
    if dead:
        yield DOWN_ZERO.finding(
            f"All zero, though never zero by initialisation: {tensors_of(len(dead))}, first {dead[0]!r}.", places(dead)
        )
    if rows:
        key, count, total = rows[0]
        text = f"Rows of zeros in {tensors_of(len(rows))}; {key!r} has {count:,} of {total:,}."
        yield ZERO_ROWS.finding(text, places(key for key, _, _ in rows))
    if subnormal:
        yield SUBNORMAL.finding(
            f"Subnormal values only in {tensors_of(len(subnormal))}, first {subnormal[0]!r}.", places(subnormal)
        )


def _check_identical(
    anatomy: Anatomy, statistics: Statistics, identical: Callable[[TensorInfo, TensorInfo], bool]
) -> Iterator[Finding]:
    """Compare the tensors that start at zero: equal trained ones can't be chance.

    The other factors may start equal by design, as EVA's do for modules that share their input.
    """
    seen: dict[tuple[object, ...], TensorInfo] = {}
    found: list[tuple[str, str]] = []
    for unit in anatomy.units:
        for name, info in unit.roles.items():
            scanned = statistics.get(info.name)
            role = anatomy.layout.role(name)
            if role.untrained != "zeros" or role.may_repeat or scanned is None or scanned.zeros or scanned.elements < 2:
                continue
            signature = (info.dtype, info.shape, scanned.checksum)
            other = seen.setdefault(signature, info)
            if other is not info and identical(other, info):
                found.append((other.name, info.name))
    if found:
        text = f"{found[0][1]!r} holds the same bytes as {found[0][0]!r} ({tensors_of(len(found))} repeat another)."
        yield IDENTICAL.finding(text, [Location(WEIGHTS_NAME, key) for _, key in found])
