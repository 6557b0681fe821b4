"""An adapter as consumers look at it: config, stored tensors, containers, and what is computed from them once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from adapter_format.anatomy import dissect
from adapter_format.conditions import holds, lookup_in
from adapter_format.consumers.history import Span, newest, written_by
from adapter_format.layouts import layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from adapter_format.anatomy import Anatomy
    from adapter_format.checkpoint import Checkpoint
    from adapter_format.layouts import Layout
    from adapter_format.modules import Module
    from adapter_format.tensors import TensorInfo

T = TypeVar("T")


class Held:
    """One adapter.

    Attributes:
        config: its config.
        tensors: its tensors by key; None if they are not known.
        containers: which of `safetensors` and `bin` hold them; empty if that is not known.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        tensors: Mapping[str, TensorInfo] | None,
        containers: frozenset[str] = frozenset(),
        anatomy: Anatomy | None = None,
    ) -> None:
        self.config = config
        self.tensors = tensors
        self.containers = containers
        self._anatomy = anatomy
        self._computed: dict[tuple[str, ...], Any] = {}

    @property
    def method(self) -> str:
        """The method that the config names, or ""."""
        method = self.config.get("peft_type")
        return method if isinstance(method, str) else ""

    @functools.cached_property
    def layout(self) -> Layout | None:
        """The layout of the method, if it has one."""
        return layout_of(self.method)

    @property
    def prefix(self) -> str:
        """What the keys of adapted modules start with; "" without a layout."""
        return self.layout.prefix if self.layout is not None else ""

    @functools.cached_property
    def modules(self) -> Mapping[str, Module]:
        """The adapted modules by path; none without tensors or a layout of the method."""
        if self._anatomy is None and self.tensors is not None and self.layout is not None:
            self._anatomy = dissect(self.layout, self.config, self.tensors)
        return self._anatomy.modules if self._anatomy is not None else {}

    @functools.cached_property
    def paths(self) -> tuple[str, ...]:
        """The paths of the adapted modules."""
        return tuple(self.modules)

    @functools.cached_property
    def writer(self) -> Span:
        """The releases that can have written it; the newest where none did, for others write what is read today."""
        return written_by(self.config) or Span(newest(), newest())

    def once(self, name: tuple[str, ...], compute: Callable[[], T]) -> T:
        """Return what was computed under a name, computing it the first time."""
        if name not in self._computed:
            self._computed[name] = compute()
        found: T = self._computed[name]
        return found

    def meets(self, conditions: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether the config meets conditions, absent fields being null."""
        return holds(conditions, lookup_in(self.config))


def held_in(checkpoint: Checkpoint) -> Held | None:
    """Return an adapter that was read, as consumers look at it; None if its config can't be read."""
    if checkpoint.config is None:
        return None
    tensors = checkpoint.header.tensors if checkpoint.header is not None else None
    containers = {"safetensors"} if checkpoint.header is not None else set()
    if checkpoint.legacy is not None:
        containers.add("bin")
    return Held(checkpoint.config, tensors, frozenset(containers), checkpoint.anatomy)
