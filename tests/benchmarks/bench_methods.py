"""`validate` at header level for each method, against reading the same JSON; the slowest method is named."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import adapter_format as af
from adapter_format.keys import key_of
from adapter_format.layouts import CATEGORY, index_of, layout_names, layout_of, role_name
from adapter_format.settling import RANK
from adapter_format.shape_functions import category
from adapter_format.targets import ENDINGS
from adapter_format.testing.drafts import Draft, container
from adapter_format.testing.drawn_fields import defaults_of
from adapter_format.testing.samples import sample_adapter
from tests.benchmarks.adapters import MODULES
from tests.benchmarks.figures import Figure
from tests.benchmarks.measuring import best_of_both

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from adapter_format.testing import GeneratedAdapter

MOST_TIMES_JSON = 5.0
TENSORS = 448
ROUNDS = 60
LEAST_KEYS = 50
"""Below, a file is a prompt or the like: its verdict is a matter of the config alone, and takes a fraction of one."""


def figures(folder: Path) -> Iterator[Figure]:
    """Measure; files are made in the folder."""
    ratios: dict[str, tuple[float, str]] = {}
    small: dict[str, float] = {}
    for method in layout_names():
        adapter = widened(sample_adapter(method))
        place = folder / method
        place.mkdir()
        data = container(Draft(adapter.config, dict(adapter.tensors), [], []))
        config = json.dumps(adapter.config, indent=2).encode()
        (place / "adapter_model.safetensors").write_bytes(data)
        (place / "adapter_config.json").write_bytes(config)
        header = data[8 : 8 + int.from_bytes(data[:8], "little")]
        ours, json_alone = best_of_both(
            partial(af.validate, place),
            partial(_parse, header, config),
            ROUNDS,
        )
        if len(adapter.tensors) < LEAST_KEYS:
            small[method] = ours
        else:
            ratios[method] = ours / json_alone, f"{ours * 1e3:.2f} ms for {len(adapter.tensors):,} tensors"
    slowest = max(ratios, key=lambda method: ratios[method][0])
    name = f"`validate`, warm, of the slowest of {len(ratios)} methods, {slowest}, against `json.loads`"
    yield Figure(name, ratios[slowest][0], "times", MOST_TIMES_JSON, detail=ratios[slowest][1])
    if small:
        longest = max(small, key=lambda method: small[method])
        detail = f"{len(small)} methods with a tensor or a few; the slowest is {longest}"
        yield Figure("`validate`, warm, of an adapter without modules", small[longest] * 1e3, "ms", detail=detail)


def _parse(header: bytes, config: bytes) -> tuple[object, object]:
    return json.loads(header), json.loads(config)


def widened(adapter: GeneratedAdapter) -> GeneratedAdapter:
    """Repeat one module of an adapter in the linear layers of as many blocks as make the usual number of tensors."""
    layout = layout_of(adapter.config["peft_type"])
    if layout is None or not adapter.modules:
        return adapter
    module = adapter.modules[0]
    config = {**defaults_of(layout.peft_type), **adapter.config}
    for value in layout.values.values():
        config.pop(value.pattern, None)
        if value.symbol == RANK and value.pattern and value.take == "value":
            config[value.field] = module.rank
    dropped = [layout.targets.get(name, "") for name in ("layers", "layers_pattern", "excluded", "parameters", "tying")]
    for name in (*dropped, "modules_to_save", "trainable_token_indices", "alpha_pattern", layout.bias.get("field", "")):
        config.pop(name, None)
    leaves = [path.partition(".")[2] for path in MODULES]
    paths = [f"model.layers.{n}.{path}" for n in range(TENSORS) for path in MODULES]
    listed = isinstance(adapter.config.get(layout.targets["modules"]), list)
    config[layout.targets["modules"]] = leaves if listed else rf".*\.({'|'.join(leaves)})"
    if layout.targets.get("matching") == ENDINGS:
        paths = [path for path in paths if path.endswith(leaves[0])]
        config[layout.targets["modules"]] = leaves[0]
    paths = paths[: TENSORS // len(module.keys) + 1]
    if "number" in layout.targets:
        config[layout.targets["number"]] = len(paths)
    tensors = {}
    for path in paths:
        for name, key in module.keys.items():
            tensors[key_of(layout, path, role_name(name), index_of(name))] = adapter.tensors[key]
    for unit in (unit for unit in adapter.shared if unit.path in ("", category(module.path))):
        for name, key in unit.keys.items():
            role = layout.role(name)
            for group in sorted({category(path) for path in paths}) if role.scope == CATEGORY else [""]:
                tensors[key_of(layout, group, role.name, index_of(name))] = adapter.tensors[key]
    return adapter._replace(config=config, tensors=tensors)
