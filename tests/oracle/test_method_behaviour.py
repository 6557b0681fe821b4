"""Does PEFT still do with every damaged golden what `method_behaviour.json` says?"""

from __future__ import annotations

import json

import pytest

from tests.method_mutations import folders

from .method_behaviour import RECORD, measure

RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))["methods"]


@pytest.mark.parametrize(("peft_type", "folder"), list(folders()), ids=[folder for _, folder in folders()])
def test_peft_does_with_a_damaged_golden_what_was_recorded(peft_type: str, folder: str) -> None:
    assert dict(measure(peft_type, folder)) == RECORDED[peft_type][folder]
