"""Minimal pairs in a few lines."""

from __future__ import annotations

import pytest

from adapter_format.rules import edits as e
from adapter_format.rules.edit_pair import Pair, pair
from adapter_format.rules.registry import all_rules
from adapter_format.testing.examples import examples

CONFIG = {"r": 4, "rank_pattern": {"q": 2}}
TENSORS = {"q.lora_A": ("F32", (4, 8)), "q.lora_B": ("F32", (6, 4)), "v.lora_A": ("F32", (4, 8))}
NOTHING = "(no such tensor)"


@pytest.mark.parametrize(
    ("edit", "good", "bad"),
    [
        (e.SetConfig("/r", "4"), ['"r": 4'], ['"r": "4"']),
        (e.SetConfig("/use_dora", True), ["(no use_dora)"], ['"use_dora": true']),
        (e.SetConfig("/rank_pattern/q", 3), ['"rank_pattern/q": 2'], ['"rank_pattern/q": 3']),
        (e.DropConfig("/r"), ['"r": 4'], ["(no r)"]),
        (e.ReplaceConfigText('"r": 4', '"r": 4,\n"r": 5'), ['"r": 4'], ['"r": 4,', '"r": 5']),
        (e.ReplaceHeaderText('"F32"', ""), ['"F32"'], ["(nothing)"]),
        (e.RenameTensors("^q", "Q"), ["q.lora_A", "q.lora_B"], ["Q.lora_A", "Q.lora_B"]),
        (e.DropTensors("lora_B"), ["q.lora_B"], [NOTHING]),
        (e.CopyTensor("q.lora_A", "k.lora_A"), ["q.lora_A"], ["q.lora_A", "k.lora_A"]),
        (e.AddTensor("norm", (3,), "F16"), [NOTHING], ["norm  F16 [3]"]),
        (e.ReshapeTensors("lora_B", (6, 3)), ["q.lora_B  F32 [6, 4]"], ["q.lora_B  F32 [6, 3]"]),
        (e.CastTensors("lora_B", "I8"), ["q.lora_B  F32 [6, 4]"], ["q.lora_B  I8 [6, 4]"]),
        (e.TransposeTensors("lora_B"), ["q.lora_B  F32 [6, 4]"], ["q.lora_B  F32 [4, 6]"]),
        (e.SetConfig("/r", 4), [], []),
        (e.TruncateWeights(0), [], []),
        (e.SetConfig("/r", "x" * 500), [], []),
        (e.ReplaceConfigText('"r"', b"\xff"), [], []),
    ],
)
def test_an_edit_becomes_the_lines_that_it_changes(edit: e.Edit, good: list[str], bad: list[str]) -> None:
    assert pair(edit, CONFIG, TENSORS) == Pair(tuple(good), tuple(bad))


@pytest.mark.parametrize("rule", ["AF2", "AF30", "AF31", "AF40"])
def test_rules_of_config_keys_and_shapes_show_a_pair(rule: str) -> None:
    hard_to_show = {"AF201", "AF204", "AF205", "AF207", "AF210", "AF225"}  # whole files, bytes and long values
    for declared in all_rules():
        if declared.id.startswith(rule) and declared.id not in hard_to_show:
            mutation = declared.mutations[0]
            example = examples()[mutation.example]
            tensors = {key: (stored.dtype, stored.shape) for key, stored in example.tensors.items()}
            assert any(pair(edit, example.config, tensors) != Pair() for edit in mutation.edits), declared.id
