"""A checkpoint that was read: its config, and its tensors as lazy arrays."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from adapter_format.config import CONFIG_NAME, LEGACY_WEIGHTS_NAME, WEIGHTS_NAME, AdapterConfig
from adapter_format.errors import UnreadableAdapterError
from adapter_format.limits import DEFAULT_LIMITS, Limits
from adapter_format.reading import adapter_directory
from adapter_format.storage.regular_file import OpenFile, opened, read_at

if TYPE_CHECKING:
    from adapter_format.storage.safetensors_data import TensorMapping

_ATTEMPTS = 8


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
    while mapped ends the process (SIGBUS): pass `mapped=False` for files that others may change. Config and weights
    are always of the same save, even while another process saves with `save`.

    Args:
        path: the adapter's directory, or one of its two files.
        mapped: whether to map the file; False reads each tensor when it is asked for.
        limits: bounds on what is read.

    Raises:
        UsageError: the path does not exist.
        UnreadableAdapterError: config or weights are missing, or so damaged that values would be wrong.
    """
    directory = adapter_directory(path)
    config_path = os.path.join(directory, CONFIG_NAME)
    for _ in range(_ATTEMPTS):
        with opened(config_path) as config_file:
            config = _read_config(config_file, limits)
            tensors = _open_weights(directory, mapped, limits)
            # A save puts its config in place last: while the one that was read is still there, both belong together.
            if _is_in_place(config_file, config_path):
                return Adapter(config, tensors)
            tensors.close()
    raise UnreadableAdapterError(f"{directory!r} is saved again and again while it is read; try once more.")


def _read_config(file: OpenFile, limits: Limits) -> AdapterConfig:
    data = read_at(file, limits.config_bytes + 1, 0)
    if len(data) > limits.config_bytes:
        raise UnreadableAdapterError(f"`{CONFIG_NAME}` is longer than the limit of {limits.config_bytes:,} bytes.")
    return AdapterConfig.from_json(data)


def _open_weights(directory: str, mapped: bool, limits: Limits) -> TensorMapping:
    from adapter_format.storage.safetensors_data import open_tensors

    weights = os.path.join(directory, WEIGHTS_NAME)
    if not os.path.lexists(weights) and os.path.lexists(os.path.join(directory, LEGACY_WEIGHTS_NAME)):
        raise UnreadableAdapterError(
            f"The only weights are `{LEGACY_WEIGHTS_NAME}`, a pickle; convert them to `{WEIGHTS_NAME}` first."
        )
    return open_tensors(weights, limits, mapped=mapped)


def _is_in_place(file: OpenFile, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file.descriptor), os.stat(path))
    except FileNotFoundError:
        return False
