"""A checkpoint that was read: its config, and its tensors as lazy arrays."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from adapter_format.config import CONFIG_NAME, LEGACY_WEIGHTS_NAME, WEIGHTS_NAME, AdapterConfig
from adapter_format.errors import UnreadableAdapterError
from adapter_format.limits import DEFAULT_LIMITS, Limits
from adapter_format.reading import adapter_directory
from adapter_format.storage.directory import read_file

if TYPE_CHECKING:
    from adapter_format.storage.safetensors_data import TensorMapping


class Adapter(NamedTuple):
    """One adapter.

    Attributes:
        config: content of `adapter_config.json`.
        tensors: key to read-only array; nothing is copied until a value is used.
    """

    config: AdapterConfig
    tensors: TensorMapping


def load(path: str | os.PathLike[str], *, mapped: bool = True, limits: Limits = DEFAULT_LIMITS) -> Adapter:
    """Read an adapter.

    The arrays are read-only views of the mapped file; the map lives as long as any of them. A file that is truncated
    while mapped ends the process (SIGBUS): pass `mapped=False` for files that others may change.

    Args:
        path: the adapter's directory, or one of its two files.
        mapped: whether to map the file; False reads each tensor when it is asked for.
        limits: bounds on what is read.

    Raises:
        UsageError: the path does not exist.
        UnreadableAdapterError: config or weights are missing, or so damaged that values would be wrong.
    """
    from adapter_format.storage.safetensors_data import open_tensors

    directory = adapter_directory(path)
    config = AdapterConfig.from_json(read_file(os.path.join(directory, CONFIG_NAME), limits.config_bytes))
    weights = os.path.join(directory, WEIGHTS_NAME)
    if not os.path.lexists(weights) and os.path.lexists(os.path.join(directory, LEGACY_WEIGHTS_NAME)):
        raise UnreadableAdapterError(
            f"The only weights are `{LEGACY_WEIGHTS_NAME}`, a pickle; convert them to `{WEIGHTS_NAME}` first."
        )
    return Adapter(config, open_tensors(weights, limits, mapped=mapped))
