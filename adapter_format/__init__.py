"""Adapter Format: specification, torch-free reference implementation and validator of PEFT adapter checkpoints.

>>> import adapter_format as af
>>> report = af.validate("path/to/adapter")      # doctest: +SKIP
>>> adapter = af.load("path/to/adapter")         # doctest: +SKIP
>>> af.save("other/path", adapter.tensors, adapter.config)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapter_format._version import __version__

if TYPE_CHECKING:
    from adapter_format.adapter import Adapter, load
    from adapter_format.config import AdapterConfig
    from adapter_format.errors import AdapterFormatError, RefusedError, UnreadableAdapterError, UsageError
    from adapter_format.extract import adapter_names, extract_adapter
    from adapter_format.findings import Finding, Location, Report, Summary, Unchecked
    from adapter_format.limits import Limits
    from adapter_format.outcomes import Outcome, Reason
    from adapter_format.saving import save, save_all
    from adapter_format.size import PredictedSize, expected_size
    from adapter_format.storage.atomic import SaveError
    from adapter_format.storage.safetensors_file import read_header
    from adapter_format.storage.safetensors_header import Header
    from adapter_format.tensors import TensorInfo
    from adapter_format.validator import find_adapters, validate, validate_many

_HOMES = {
    "Adapter": "adapter",
    "AdapterConfig": "config",
    "AdapterFormatError": "errors",
    "Finding": "findings",
    "Header": "storage.safetensors_header",
    "Limits": "limits",
    "Location": "findings",
    "Outcome": "outcomes",
    "PredictedSize": "size",
    "Reason": "outcomes",
    "RefusedError": "errors",
    "SaveError": "storage.atomic",
    "Report": "findings",
    "Summary": "findings",
    "TensorInfo": "tensors",
    "Unchecked": "findings",
    "UnreadableAdapterError": "errors",
    "UsageError": "errors",
    "adapter_names": "extract",
    "expected_size": "size",
    "extract_adapter": "extract",
    "find_adapters": "validator",
    "load": "adapter",
    "read_header": "storage.safetensors_file",
    "save": "saving",
    "save_all": "saving",
    "validate": "validator",
    "validate_many": "validator",
}

__all__ = [
    "Adapter",
    "AdapterConfig",
    "AdapterFormatError",
    "Finding",
    "Header",
    "Limits",
    "Location",
    "Outcome",
    "PredictedSize",
    "Reason",
    "RefusedError",
    "Report",
    "SaveError",
    "Summary",
    "TensorInfo",
    "Unchecked",
    "UnreadableAdapterError",
    "UsageError",
    "__version__",
    "adapter_names",
    "expected_size",
    "extract_adapter",
    "find_adapters",
    "load",
    "read_header",
    "save",
    "save_all",
    "validate",
    "validate_many",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import adapter_format` costs next to nothing."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
