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
from adapter_format.dtypes import DTYPES
from adapter_format.errors import UsageError
from adapter_format.layouts import current_layout_names
from adapter_format.rules.registry import all_rules
from adapter_format.settings import layout_named
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
    methods: str | Sequence[str] | None = None,
    dtypes: str | Sequence[str] = ("F32", "BF16", "F16"),
    *,
    broken: bool = False,
) -> GeneratedAdapter:
    """Draw adapters.

    A valid one has no error and no warning at data level: its modules are of the kinds of the layout, with optional
    roles, ranks and scales by pattern, targets by name, path or regex, chosen layers, and companions (saved modules,
    trained tokens, biases, stored embeddings) as the config declares them.

    Args:
        draw: given by Hypothesis.
        methods: one or more values of `peft_type`, each with a layout; None for every one that the newest PEFT knows.
        dtypes: element types of the method's own tensors, one an adapter, by their safetensors names; or a single one.
        broken: whether to damage each in one way, so that it breaks exactly the rule named by its `breaks`.

    Raises:
        UsageError: a method has no layout, or an element type is not known.
    """
    adapter = draw_adapter(draw, _method_names(methods), _dtype_names(dtypes))
    return draw_damaged(draw, adapter) if broken else adapter


@st.composite
def configs(draw: st.DrawFn, methods: str | Sequence[str] | None = None, *, broken: bool = False) -> dict[str, Any]:
    """Draw configs that the schema accepts and whose fields go together, whether or not tensors could fit them.

    Args:
        draw: given by Hypothesis.
        methods: one or more values of `peft_type`; None for every method with a layout that the newest PEFT knows.
        broken: whether to put any JSON value under some fields instead, known or not; by chance one may still be valid.

    Raises:
        UsageError: a method has no layout.
    """
    method = draw(st.sampled_from(_method_names(methods)))
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


def _method_names(methods: str | Sequence[str] | None) -> tuple[str, ...]:
    if methods is None:
        return current_layout_names()
    given = (methods,) if isinstance(methods, str) else tuple(methods)
    if not given:
        raise UsageError("No method is named to draw from.")
    return tuple(layout_named(method).peft_type for method in given)


def _dtype_names(dtypes: str | Sequence[str]) -> tuple[str, ...]:
    given = (dtypes,) if isinstance(dtypes, str) else tuple(dtypes)
    if not given:
        raise UsageError("No element type is named to draw from.")
    for name in given:
        if name not in DTYPES:
            raise UsageError(f"The element type {name[:80]!r} is none of {', '.join(DTYPES)}.")
    return given


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
