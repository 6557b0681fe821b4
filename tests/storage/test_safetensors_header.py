"""What looks like a sound header to Python and is none: booleans and other types that equal the numbers expected."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapter_format.storage.safetensors_header import parse_header

SOUND = {
    "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
    "b": {"dtype": "U8", "shape": [1, 1], "data_offsets": [1, 2]},
}


def header(text: str) -> bytes:
    data = text.encode()
    data += b" " * (-len(data) % 8)
    return len(data).to_bytes(8, "little") + data


def defects(entries: dict[str, Any], nbytes: int = 2) -> set[str]:
    data = header(json.dumps(entries))
    return {defect.kind for defect in parse_header(data, len(data) + nbytes).defects}


def test_the_plain_header_is_sound() -> None:
    assert not defects(SOUND)
    assert not defects({f"true_{name}": entry for name, entry in SOUND.items()})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shape", [True]),
        ("shape", [1.0]),
        ("shape", [1, False]),
        ("shape", [-1]),
        ("shape", {"1": 1}),
        ("shape", "1"),
        ("shape", [[1]]),
        ("shape", None),
        ("data_offsets", [False, True]),
        ("data_offsets", [0, True]),
        ("data_offsets", [0, 1.0]),
        ("data_offsets", [0, 1, 1]),
        ("dtype", ["U8"]),
        ("dtype", "u8"),
        ("dtype", 8),
    ],
)
def test_a_value_of_another_type_is_a_defect_wherever_it_stands(field: str, value: object) -> None:
    assert defects({**SOUND, "a": {**SOUND["a"], field: value}})
    last = {"dtype": "U8", "shape": [1], "data_offsets": [2, 3], field: value}
    assert defects({**SOUND, "c": last}, 3)


def test_a_scalar_beside_an_empty_shape_of_another_type_is_a_defect() -> None:
    scalar = {"dtype": "U8", "shape": [], "data_offsets": [0, 1]}
    assert not defects({"a": scalar, "b": {**scalar, "data_offsets": [1, 2]}})
    assert defects({"a": scalar, "b": {**scalar, "shape": "", "data_offsets": [1, 2]}})
    assert defects({"a": scalar, "b": {**scalar, "shape": {}, "data_offsets": [1, 2]}})


def test_an_offset_between_the_multiples_of_its_type_is_a_defect_for_each_tensor() -> None:
    byte = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    wide = {"dtype": "F32", "shape": [1], "data_offsets": [1, 5]}
    assert defects({"a": byte, "b": wide}, 5)
