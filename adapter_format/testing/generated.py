"""What strategies draw: an adapter with its modules, and tensors that look trained."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adapter_format.config_fields import fields_of
from adapter_format.constraints import broken_constraints
from adapter_format.dtypes import BITS, DTYPES
from adapter_format.storage.arrays import to_array
from adapter_format.tensors import TensorInfo
from adapter_format.testing.examples import Stored, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt


class GeneratedModule(NamedTuple):
    """One adapted module of a generated adapter.

    Attributes:
        path: module path in the base model.
        kind: name of its kind in the layout.
        keys: key on disk of each role, or of each of its numbered tensors.
        rank: its rank.
    """

    path: str
    kind: str
    keys: Mapping[str, str]
    rank: int


class GeneratedAdapter(NamedTuple):
    """An adapter that a strategy drew.

    Attributes:
        config: content of `adapter_config.json`.
        tensors: stored tensors by key, the method's own and its companions.
        modules: the adapted modules.
        shared: tensors that belong to no single module, in sets; `path` of each is the name of its group of modules.
        breaks: id of the one rule that the adapter breaks with an error or a warning, "" for a valid adapter.
    """

    config: dict[str, Any]
    tensors: dict[str, Stored]
    modules: tuple[GeneratedModule, ...]
    shared: tuple[GeneratedModule, ...] = ()
    breaks: str = ""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the tensors as NumPy arrays, in shape, type and bytes as they are stored.

        Raises:
            UnreadableAdapterError: `ml_dtypes` is needed for an element type and is not installed.
        """
        return {
            key: to_array(stored.data, TensorInfo(key, stored.dtype, stored.shape, 0, len(stored.data)))
            for key, stored in self.tensors.items()
        }


def fill(key: str, dtype: str, shape: tuple[int, ...], others: Mapping[str, Stored]) -> Stored:
    """Make a tensor of trained-looking values, unlike every other of its shape: finite, small, no row of zeros.

    Args:
        key: its name, from which the values follow.
        dtype: its element type.
        shape: its sizes.
        others: tensors that it must not repeat, as far as its number of elements allows.
    """
    elements = math.prod(shape)
    stored = Stored(dtype, shape, b"")
    for attempt in range(8):
        noise = np.random.default_rng(zlib.crc32(key.encode()) + attempt)
        if DTYPES[dtype].kind == "float" and BITS[dtype] < 16:
            # Exponents and mantissas in the middle of what 8 bits hold: neither zero nor NaN in any of the formats.
            data = noise.integers(0x21, 0x50, elements * BITS[dtype] // 8, np.uint8).tobytes()
        else:
            signs = np.where(np.arange(elements) % 2, -1, 1)
            data = encode(noise.uniform(0.05, 0.5, elements) * signs, dtype)
        stored = Stored(dtype, shape, data)
        if elements < 2 or stored not in others.values():
            break
    return stored


def put(config: dict[str, Any], field: str, value: Any) -> None:
    """Set a config field; a dot in its name leads into an object."""
    *path, last = field.split(".")
    for part in path:
        if not isinstance(config.get(part), dict):
            config[part] = {}
        config = config[part]
    config[last] = value


def offer(config: dict[str, Any], changes: Mapping[str, Any]) -> bool:
    """Change the config, unless its method lacks a field or that would break a constraint of it."""
    changed = {**config, **changes}
    if not changes.keys() <= fields_of(config["peft_type"]).keys() or any(
        broken_constraints(changed, config["peft_type"])
    ):
        return False
    config.update(changes)
    return True
