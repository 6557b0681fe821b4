"""Companions of a generated adapter: saved modules, trained tokens, biases, stored embeddings; drawn and declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

from adapter_format.layouts import Layout, auxiliary
from adapter_format.testing.generated import GeneratedModule, fill, offer

if TYPE_CHECKING:
    from adapter_format.testing.examples import Stored

_SAVED = (
    ("score", ("weight",)),
    ("pooler", ("dense.weight", "dense.bias")),
    ("lm_head", ("weight",)),
    ("norm_out", ("weight", "running_mean", "num_batches_tracked")),
)
_DTYPES = st.sampled_from(["F32", "BF16", "F16"])


class _Plan(NamedTuple):
    """What the companions are added to."""

    draw: st.DrawFn
    layout: Layout
    modules: list[GeneratedModule]
    config: dict[str, Any]
    tensors: dict[str, Stored]

    def add(self, path: str, dtype: str, *shape: int) -> None:
        key = self.layout.prefix + path
        self.tensors.setdefault(key, fill(key, dtype, shape, self.tensors))


def draw_companions(
    draw: st.DrawFn,
    layout: Layout,
    modules: list[GeneratedModule],
    config: dict[str, Any],
    tensors: dict[str, Stored],
) -> None:
    """Add at most two sorts of what any method may carry beside its own tensors; config and tensors are changed."""
    plan = _Plan(draw, layout, modules, config, tensors)
    for step in draw(
        st.lists(
            st.sampled_from([_save_modules, _train_tokens, _train_biases, _store_embeddings]), max_size=2, unique=True
        )
    ):
        step(plan)


def _save_modules(plan: _Plan) -> None:
    saved = plan.draw(st.lists(st.sampled_from(_SAVED), min_size=1, max_size=2, unique=True))
    if not offer(plan.config, {auxiliary().saved_modules_field: [name for name, _ in saved]}):
        return
    for name, leaves in saved:
        owner = name if plan.draw(st.booleans()) else f"model.{name}"
        for leaf in leaves:
            if leaf.startswith("num_"):
                plan.add(f"{owner}.{leaf}", "I64")
            else:
                plan.add(f"{owner}.{leaf}", plan.draw(_DTYPES), *((3, 4) if leaf.endswith("weight") else (3,)))


def _train_tokens(plan: _Plan) -> None:
    declared = auxiliary()
    indices = plan.draw(st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True))
    wanted = {declared.tokens_module: indices} if plan.draw(st.booleans()) else indices
    if offer(plan.config, {declared.tokens_field: wanted}):
        plan.add(f"model.{declared.tokens_module}.{declared.tokens_suffix}", plan.draw(_DTYPES), len(indices), 4)


def _train_biases(plan: _Plan) -> None:
    if not plan.layout.bias:
        return
    modes = plan.layout.bias["modes"]
    mode = plan.draw(st.sampled_from([name for name in sorted(modes) if modes[name] != "none"]))
    if not offer(plan.config, {plan.layout.bias["field"]: mode}):
        return
    for module in plan.modules:
        if not {"target", "any_role"} & set(plan.layout.kind(module.kind).select):
            plan.add(f"{module.path}.{auxiliary().base_layer_part}.bias", "F32", 5)
    if modes[mode] == "all":
        plan.add("model.norm.bias", "F32", 4)


def _store_embeddings(plan: _Plan) -> None:
    targeted = [module for module in plan.modules if "any_role" in plan.layout.kind(module.kind).select]
    for module in targeted:
        plan.add(f"{module.path}.{auxiliary().base_layer_part}.weight", plan.draw(_DTYPES), 6, 4)
    name = plan.draw(st.sampled_from(auxiliary().embedding_modules))
    if not any(module.path.endswith(f".{name}") for module in targeted):
        plan.add(f"model.{name}.weight", plan.draw(_DTYPES), 6, 4)
