"""Hypothesis strategies for adapters, configs and containers; they need the extra `testing`.

>>> from hypothesis import given
>>> from adapter_format.testing.strategies import adapters
>>> @given(adapters())
... def test_my_reader(adapter):
...     my_reader(adapter.config, adapter.arrays())

All of them follow from the packaged schemas and layouts: a method that has a layout can be drawn. The simplest adapter,
to which failures shrink, is one module with the tensors that its method needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from adapter_format.constraints import broken_constraints
from adapter_format.layouts import current_layout_names
from adapter_format.rules.registry import all_rules
from adapter_format.testing.damages import draw_damaged
from adapter_format.testing.drawn_adapters import draw_adapter
from adapter_format.testing.drawn_fields import ANY_JSON, field_values
from adapter_format.testing.drawn_headers import GeneratedHeader, draw_damaged_file, draw_sound, draw_unsound
from adapter_format.testing.generated import GeneratedAdapter, GeneratedModule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter_format.rules.edits import Mutation
    from adapter_format.rules.rule import Rule

__all__ = [
    "ANY_JSON",
    "GeneratedAdapter",
    "GeneratedHeader",
    "GeneratedModule",
    "adapters",
    "configs",
    "damaged_files",
    "mutations",
    "safetensors_headers",
]


@st.composite
def adapters(
    draw: st.DrawFn,
    methods: Sequence[str] | None = None,
    dtypes: Sequence[str] = ("F32", "BF16", "F16"),
    *,
    broken: bool = False,
) -> GeneratedAdapter:
    """Draw adapters.

    A valid one has no error and no warning at data level: its modules are of the kinds of the layout, with optional
    roles, ranks and scales by pattern, targets by name, path or regex, chosen layers, and companions (saved modules,
    trained tokens, biases, stored embeddings) as the config declares them.

    Args:
        draw: given by Hypothesis.
        methods: values of `peft_type`, each with a layout; None for every one that the newest PEFT knows.
        dtypes: element types of the method's own tensors, one an adapter, by their safetensors names.
        broken: whether to damage each in one way, so that it breaks exactly the rule named by its `breaks`.

    Raises:
        UsageError: a method has no layout.
    """
    adapter = draw_adapter(draw, current_layout_names() if methods is None else tuple(methods), tuple(dtypes))
    return draw_damaged(draw, adapter) if broken else adapter


@st.composite
def configs(draw: st.DrawFn, methods: Sequence[str] | None = None, *, broken: bool = False) -> dict[str, Any]:
    """Draw configs that the schema accepts and whose fields go together, whether or not tensors could fit them.

    Args:
        draw: given by Hypothesis.
        methods: values of `peft_type`; None for every method with a layout that the newest PEFT knows.
        broken: whether to put any JSON value under some fields instead, known or not; by chance one may still be valid.
    """
    names = current_layout_names() if methods is None else tuple(methods)
    method = draw(st.sampled_from(names))
    config: dict[str, Any] = {"peft_type": method}
    values = field_values(method)
    for name in draw(st.lists(st.sampled_from(sorted(values)), max_size=8, unique=True)):
        changed = {**config, name: draw(values[name])}
        if not any(broken_constraints(changed, method)):
            config = changed
    if broken:
        fields = st.sampled_from([*sorted(values), "peft_type"]) | st.text(max_size=4)
        config.update(draw(st.dictionaries(fields, ANY_JSON, min_size=1, max_size=3)))
    return config


def safetensors_headers(*, broken: bool = False) -> st.SearchStrategy[GeneratedHeader]:
    """Return a strategy for the headers of safetensors files of any names, element types and shapes.

    Args:
        broken: whether to damage each in one to three ways, listed in its `damages`; some damages cancel out.
    """
    return draw_unsound() if broken else draw_sound()


def damaged_files(data: bytes) -> st.SearchStrategy[GeneratedHeader]:
    """Return a strategy for damaged versions of the header of one sound safetensors file.

    Args:
        data: the whole file, with a header that JSON can read.
    """
    return draw_damaged_file(data)


def mutations() -> st.SearchStrategy[tuple[Rule, Mutation]]:
    """Return a strategy for every rule's own mutations; `adapter_format.testing.drafts` writes them."""
    return st.sampled_from([(rule, mutation) for rule in all_rules() for mutation in rule.mutations])
