"""Do the goldens still do in PEFT what their manifest says?"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .golden_outputs import Digest, Reload, close, digest, reload

LORA = Path(__file__).resolve().parents[1] / "golden" / "lora"
GOLDENS: list[dict[str, Any]] = json.loads((LORA / "manifest.json").read_text())["goldens"]
ADAPTERS = [pytest.param(golden, adapter, id=adapter["folder"]) for golden in GOLDENS for adapter in golden["adapters"]]
MISSING = "Found missing adapter keys"


def load(golden: dict[str, Any], adapter: dict[str, Any]) -> Reload:
    return reload(
        LORA / adapter["folder"],
        golden["base"],
        adapter_name=adapter["name"],
        options=golden["load_options"],
        loaded_with=golden["loaded_with"],
    )


def same(golden: dict[str, Any], adapter: dict[str, Any], again: Reload) -> bool:
    saved = Digest(**adapter["outputs"])
    return again.outputs is not None and close(digest(again.outputs), saved, golden["tolerance"])


@pytest.mark.parametrize(("golden", "adapter"), ADAPTERS)
def test_peft_reloads_a_golden_as_the_manifest_says(golden: dict[str, Any], adapter: dict[str, Any]) -> None:
    again = load(golden, adapter)

    verdict = "raises" if again.error is not None else "same" if same(golden, adapter, again) else "differs"
    assert verdict == adapter["reload"], again.error
    if adapter["error"] is not None:
        assert str(again.error)[:40] == adapter["error"][:40]
    assert any(text.startswith(MISSING) for text in again.warnings) == any(
        text.startswith(MISSING) for text in adapter["warnings"]
    )


def test_the_manifest_lists_every_folder() -> None:
    listed = {golden["name"] for golden in GOLDENS}
    assert {path.name for path in LORA.iterdir() if path.is_dir()} == listed


def test_the_goldens_are_small() -> None:
    sizes = {path: path.stat().st_size for path in LORA.rglob("*") if path.is_file()}
    assert max(size for path, size in sizes.items() if path.name != "manifest.json") < 16_384
    assert sum(sizes.values()) < 600_000


def test_no_golden_names_a_path_of_the_machine_that_wrote_it() -> None:
    absolute = re.compile(r"""["' ]/[a-z]+/|[A-Z]:\\\\""")
    assert not [path.name for path in LORA.rglob("*.json") if absolute.search(path.read_text())]
