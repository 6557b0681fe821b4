"""Sound keys are sorted all at once, others one by one: the two ways must agree where both apply."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapter_format as af
from adapter_format.anatomy import by_pattern, saved_module
from adapter_format.keys import grammar_of, group_sound, key_of, looks_misspelt, read_key
from adapter_format.layouts import BARE, CATEGORY, layout_names, layout_of
from adapter_format.tensors import TensorInfo

if TYPE_CHECKING:
    from pathlib import Path

METHODS = layout_names()
PARTS = ("base_model.", "base_model.model.", "layers.", "0.", "q_proj.", "lora_A.", "weight", "\n", ".", "module.")


def well_spelt(method: str) -> list[str]:
    """Keys of a method, with two numbers or names in the place of each wildcard."""
    layout = layout_of(method)
    assert layout is not None
    wild = {"{i}": ("0", "12"), "{leaf}": ("weight", "bias"), "{rest}": ("a.weight", "b.0.c")}
    return [
        key_of(layout, path.replace(".", "_") if role.scope == CATEGORY else path, role.name, index)
        for role in layout.roles.values()
        for path in ("a.0.b", "c")
        for index in next((texts for name, texts in wild.items() if name in role.suffix), ("",))
    ]


@given(st.data(), st.sampled_from(METHODS))
def test_keys_sorted_at_once_are_sorted_as_one_by_one(data: st.DataObject, method: str) -> None:
    grammar = grammar_of(method)
    any_key = st.sampled_from(well_spelt(method)) | st.lists(st.sampled_from(PARTS)).map("".join)
    keys = data.draw(st.lists(any_key, unique=True))
    tensors = {key: TensorInfo(key, "F32", (1,), 0, 4) for key in keys}
    readings = {key: read_key(grammar, key) for key in keys}
    expected: tuple[dict[str, dict[str | None, str]], dict[str, dict[str | None, str]]] = {}, {}
    for key, reading in readings.items():
        expected[not reading.in_module].setdefault(reading.path, {})[reading.role] = key
    sound = all(reading.role is not None and not reading.faults for reading in readings.values())
    is_bare = any(role.scope == BARE for role in grammar.layout.roles.values())

    found = group_sound(grammar, tensors)

    if sound and keys and not is_bare:
        assert found is not None
    if found is not None and not looks_misspelt(grammar, by_pattern(found.modules)):
        assert sound
        for owners, wanted in zip(found, expected, strict=True):
            assert {path: {role: info.name for role, info in own.items()} for path, own in owners.items()} == wanted


@pytest.mark.parametrize("method", METHODS)
def test_a_spelt_key_is_read_as_what_it_was_spelt_from(method: str) -> None:
    for key in well_spelt(method):
        reading = read_key(grammar_of(method), key)
        assert (reading.canonical, reading.faults) == (key, ())
        assert reading.role is not None


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


def test_the_owner_of_a_saved_tensor_is_found_in_a_path_of_thousands_of_parts() -> None:
    path = "a." * 50_000 + "score.weight"
    assert saved_module(path, []) == ""
    assert saved_module(path, ["weight", "q", "core", "score"]) == "core"
    assert saved_module(path, ["a.score", "core"]) == "a.score"


@given(st.text("ab.", max_size=8), st.lists(st.text("ab.", min_size=1, max_size=3), max_size=3))
def test_a_saved_module_is_the_end_of_an_owner_of_the_tensor(path: str, saved: list[str]) -> None:
    parts = path.split(".")
    owners = [".".join(parts[:length]) for length in range(1, len(parts))]
    assert saved_module(path, saved) == next((name for name in saved if any(o.endswith(name) for o in owners)), "")
