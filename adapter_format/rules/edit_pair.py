"""Edits as minimal pairs: the few lines of config or keys that an edit changes, before and after."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.rules import edits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter_format.rules.edits import Edit

    Tensors = Mapping[str, tuple[str, tuple[int, ...]]]

_SHOWN = 2
_LONGEST = 160


class Pair(NamedTuple):
    """What an edit changes; both sides are empty where a few lines can't show it.

    Attributes:
        good: lines of the valid example.
        bad: the same lines after the edit.
    """

    good: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()


def pair(edit: Edit, config: Mapping[str, Any], tensors: Tensors) -> Pair:
    """Show one edit as lines of the config or as keys with element type and shape.

    Args:
        edit: the edit.
        config: config of the valid example.
        tensors: key to element type and shape of the valid example.
    """
    shown = _in_config(edit, config) or _in_keys(edit, tensors) or _in_shapes(edit, tensors) or Pair()
    fits = all(len(text) <= _LONGEST for text in (*shown.good, *shown.bad))
    return shown if fits and shown.good != shown.bad else Pair()


def _in_config(edit: Edit, config: Mapping[str, Any]) -> Pair | None:
    match edit:
        case edits.SetConfig(pointer, value):
            return Pair((_stored(config, pointer),), (_member(pointer, value),))
        case edits.DropConfig(pointer):
            return Pair((_stored(config, pointer),), (_absent(pointer),))
        case edits.ReplaceConfigText(old, str(new)) if "\n" not in old:
            return Pair((old,), tuple(new.splitlines()))
        case edits.ReplaceHeaderText(old, str(new)):
            return Pair((old,), (new or "(nothing)",))
    return None


def _in_keys(edit: Edit, tensors: Tensors) -> Pair | None:
    match edit:
        case edits.RenameTensors(pattern, replacement):
            keys = _matching(pattern, tensors)
            return Pair(keys, tuple(re.sub(pattern, replacement, key) for key in keys))
        case edits.DropTensors(pattern):
            keys = _matching(pattern, tensors)
            return Pair(keys, ("(no such tensor)",) * len(keys))
        case edits.CopyTensor(source, key):
            return Pair((source,), (source, key))
        case edits.AddTensor(key, shape, dtype):
            return Pair(("(no such tensor)",), (_tensor(key, dtype, shape),))
    return None


def _in_shapes(edit: Edit, tensors: Tensors) -> Pair | None:
    match edit:
        case edits.ReshapeTensors(pattern, shape):
            return _changed(pattern, tensors, shape=shape)
        case edits.CastTensors(pattern, dtype):
            return _changed(pattern, tensors, dtype=dtype)
        case edits.TransposeTensors(pattern):
            keys = _matching(pattern, tensors)
            return Pair(
                tuple(_tensor(key, *tensors[key]) for key in keys),
                tuple(_tensor(key, tensors[key][0], tensors[key][1][::-1]) for key in keys),
            )
    return None


def _changed(pattern: str, tensors: Tensors, dtype: str | None = None, shape: tuple[int, ...] | None = None) -> Pair:
    keys = _matching(pattern, tensors)
    return Pair(
        tuple(_tensor(key, *tensors[key]) for key in keys),
        tuple(_tensor(key, dtype or tensors[key][0], tensors[key][1] if shape is None else shape) for key in keys),
    )


def _matching(pattern: str, tensors: Tensors) -> tuple[str, ...]:
    return tuple([key for key in tensors if re.search(pattern, key)][:_SHOWN])


def _tensor(key: str, dtype: str, shape: tuple[int, ...]) -> str:
    return f"{key}  {dtype} {list(shape)}"


def _stored(config: Mapping[str, Any], pointer: str) -> str:
    value: Any = config
    for part in pointer.strip("/").split("/"):
        if not isinstance(value, dict) or part not in value:
            return _absent(pointer)
        value = value[part]
    return _member(pointer, value)


def _absent(pointer: str) -> str:
    return f"(no {pointer.strip('/')})"


def _member(pointer: str, value: object) -> str:
    return f'"{pointer.strip("/")}": {json.dumps(value)}'
