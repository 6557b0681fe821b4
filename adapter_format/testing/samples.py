"""One valid adapter of each method, always the same, and generated adapters written to a directory."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, find, settings

from adapter_format.config import CONFIG_NAME, WEIGHTS_NAME
from adapter_format.testing.drafts import Draft, container
from adapter_format.testing.strategies import adapters

if TYPE_CHECKING:
    import os

    from adapter_format.testing.generated import GeneratedAdapter

_SETTINGS = settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
_ENOUGH_MODULES = 3


@functools.cache
def sample_adapter(method: str) -> GeneratedAdapter:
    """Return a valid adapter of a method: several modules, where it adapts any, with optional tensors by chance.

    Args:
        method: a value of `peft_type` that has a layout.

    Raises:
        UsageError: it has none.
    """

    def is_rich(adapter: GeneratedAdapter) -> bool:
        return len(adapter.modules) >= _ENOUGH_MODULES or not adapter.modules

    return find(adapters(methods=(method,), dtypes=("F32",)), is_rich, settings=_SETTINGS)


def write_adapter(adapter: GeneratedAdapter, directory: str | os.PathLike[str]) -> Path:
    """Write a generated adapter, sound or damaged, into a directory, which is made; return the directory.

    The container is written by other code than `adapter_format.save`, which refuses damage.
    """
    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    (place / CONFIG_NAME).write_bytes(json.dumps(adapter.config, indent=2, sort_keys=True).encode())
    (place / WEIGHTS_NAME).write_bytes(container(Draft(adapter.config, dict(adapter.tensors), [], [])))
    return place
