"""What other projects can test with: strategies, damage, valid examples and their mutations, fixtures.

>>> from hypothesis import given
>>> from adapter_format.testing import adapters
>>> @given(adapters(methods=["LORA", "VERA"]))
... def test_my_reader(adapter):
...     my_reader(adapter.config, adapter.arrays())

Everything is derived from the packaged layouts and schemas, so that every method that has a layout can be drawn. The
extra `testing` installs what it needs; with pytest, `adapter_format.testing.pytest_plugin` is found by itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapter_format.errors import UsageError

if TYPE_CHECKING:
    from adapter_format.testing.damages import DAMAGES, damage
    from adapter_format.testing.drafts import write_example, write_mutation
    from adapter_format.testing.examples import Example, Stored, examples
    from adapter_format.testing.generated import GeneratedAdapter, GeneratedModule
    from adapter_format.testing.samples import sample_adapter, write_adapter
    from adapter_format.testing.strategies import (
        GeneratedHeader,
        adapters,
        configs,
        damaged_files,
        mutations,
        safetensors_headers,
    )
    from adapter_format.testing.taken_apart import taken_apart

_HOMES = {
    "DAMAGES": "damages",
    "Example": "examples",
    "GeneratedAdapter": "generated",
    "GeneratedHeader": "strategies",
    "GeneratedModule": "generated",
    "Stored": "examples",
    "adapters": "strategies",
    "configs": "strategies",
    "damage": "damages",
    "damaged_files": "strategies",
    "examples": "examples",
    "mutations": "strategies",
    "safetensors_headers": "strategies",
    "sample_adapter": "samples",
    "taken_apart": "taken_apart",
    "write_adapter": "samples",
    "write_example": "drafts",
    "write_mutation": "drafts",
}

__all__ = [
    "DAMAGES",
    "Example",
    "GeneratedAdapter",
    "GeneratedHeader",
    "GeneratedModule",
    "Stored",
    "adapters",
    "configs",
    "damage",
    "damaged_files",
    "examples",
    "mutations",
    "safetensors_headers",
    "sample_adapter",
    "taken_apart",
    "write_adapter",
    "write_example",
    "write_mutation",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: strategies, damage and samples need Hypothesis, examples do not."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        message = f"`{__name__}.{name}` needs Hypothesis: install `adapter-format[testing]`."
        raise UsageError(message) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
