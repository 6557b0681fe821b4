"""Sound keys are sorted all at once, others one by one: the two ways must agree where both apply."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

import adapter_format as af
from adapter_format.anatomy import by_pattern
from adapter_format.keys import grammar_of, group_sound, looks_misspelt, read_key
from adapter_format.tensors import TensorInfo

if TYPE_CHECKING:
    from pathlib import Path

GRAMMAR = grammar_of("LORA")
PARTS = ("base_model.model.", "model.", "layers.", "0.", "q_proj.", "lora_A.", "lora_", "weight", "\n", ".", "module.")
WELL_SPELT = [f"base_model.model.{path}.{suffix}" for path in ("a.0.b", "c") for suffix in GRAMMAR.roles]


@given(st.lists(st.sampled_from(WELL_SPELT) | st.lists(st.sampled_from(PARTS)).map("".join), unique=True))
def test_keys_sorted_at_once_are_sorted_as_one_by_one(keys: list[str]) -> None:
    tensors = {key: TensorInfo(key, "F32", (1,), 0, 4) for key in keys}
    readings = {key: read_key(GRAMMAR, key) for key in keys}
    expected: dict[str, dict[str | None, str]] = {}
    for key, reading in readings.items():
        expected.setdefault(reading.path, {})[reading.role] = key
    sound = all(reading.role is not None and not reading.faults for reading in readings.values())

    found = group_sound(GRAMMAR, tensors)

    if sound and keys:
        assert found is not None
    if found is not None and not looks_misspelt(GRAMMAR, by_pattern(found)):
        assert sound
        assert {path: {role: info.name for role, info in roles.items()} for path, roles in found.items()} == expected


def test_layer_numbers_of_thousands_of_digits_are_no_crash(tmp_path: Path) -> None:
    entries, position = {}, 0
    for layer in range(4):
        for factor, shape in (("A", [4, 8]), ("B", [8, 4])):
            key = f"base_model.model.model.layers.{'9' * 5000}{layer}.q_proj.lora_{factor}.weight"
            entries[key] = {"dtype": "F32", "shape": shape, "data_offsets": [position, position + 128]}
            position += 128
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(len(text).to_bytes(8, "little") + text + b"\1" * position)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")

    assert af.validate(tmp_path).summary.tensors == 8
