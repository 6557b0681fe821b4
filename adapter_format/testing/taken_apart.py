"""A stored adapter taken apart: what the strategies draw, from files that some writer wrote."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from adapter_format.anatomy import dissect
from adapter_format.config import WEIGHTS_NAME
from adapter_format.errors import UnreadableAdapterError
from adapter_format.reading import adapter_directory, read_checkpoint
from adapter_format.settling import RANK
from adapter_format.testing.examples import Stored
from adapter_format.testing.generated import GeneratedAdapter, GeneratedModule

if TYPE_CHECKING:
    from adapter_format.modules import Module


def taken_apart(path: str | os.PathLike[str]) -> GeneratedAdapter:
    """Read an adapter into the form that damages start from.

    Args:
        path: a sound adapter whose weights are in a safetensors file and whose method has a layout.

    Raises:
        UnreadableAdapterError: it is not such an adapter.
    """
    directory = adapter_directory(path)
    checkpoint = read_checkpoint(directory)
    header, layout, config = checkpoint.header, checkpoint.layout, checkpoint.config
    if header is None or layout is None or config is None or not header.readable:
        raise UnreadableAdapterError(f"{os.fspath(path)!r} can't be taken apart: config, layout or header is missing.")
    with open(os.path.join(directory, WEIGHTS_NAME), "rb") as file:
        data = file.read()[header.data_start :]
    tensors = {key: Stored(i.dtype, i.shape, data[i.start : i.end]) for key, i in header.tensors.items()}
    anatomy = dissect(layout, config, header.tensors)
    modules = tuple(map(_generated, anatomy.modules.values()))
    return GeneratedAdapter(dict(config), tensors, modules, tuple(map(_generated, anatomy.shared.values())))


def _generated(module: Module) -> GeneratedModule:
    rank = module.symbols.get(RANK)
    keys = {name: info.name for name, info in module.roles.items()}
    return GeneratedModule(module.path, module.kind.name, keys, rank if type(rank) is int else 0)
