"""Do the goldens still do in PEFT what their manifest says, and is there one of every kind?"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter

import pytest
from peft import PeftType

from . import base_models
from .golden_adapters import COLLECTIONS, GOLDEN, GoldenAdapter, goldens, parameters
from .golden_outputs import Digest, close, digest

MISSING = "Found missing adapter keys"
LARGEST = {"lora": 16_384, "methods": 65_536}
"""Bytes of the largest file, by collection."""

TOGETHER = {"lora": 600_000, "methods": 1_500_000}
"""Bytes of all files."""


@pytest.mark.parametrize("adapter", parameters(lambda adapter: True))
def test_peft_reloads_a_golden_as_the_manifest_says(adapter: GoldenAdapter) -> None:
    again = adapter.load_with_peft(adapter.folder)

    verdict = "raises" if again.error is not None else "same" if adapter.computed_as_saved(again) else "differs"
    expected = adapter.entry
    assert verdict == expected["reload"], again.error
    if expected["error"] is not None:
        assert str(again.error)[:40] == expected["error"][:40]
    assert any(text.startswith(MISSING) for text in again.warnings) == any(
        text.startswith(MISSING) for text in expected["warnings"]
    )


def test_every_method_of_peft_has_two_goldens() -> None:
    found = Counter(golden.get("peft_type", "LORA") for collection in COLLECTIONS for golden in goldens(collection))

    lacking = [kind.value for kind in PeftType if found[kind.value] < 2]
    assert not lacking, f"fewer than two settings of: {', '.join(lacking)}"
    assert not found.keys() - {kind.value for kind in PeftType}


@pytest.mark.parametrize("adapter", parameters(lambda adapter: True))
def test_the_manifest_names_the_method_of_the_config(adapter: GoldenAdapter) -> None:
    config = json.loads((adapter.folder / "adapter_config.json").read_text(encoding="utf-8"))

    assert config["peft_type"] == adapter.peft_type
    assert (adapter.collection == "lora") == (adapter.peft_type == "LORA")


def test_no_two_goldens_of_a_method_are_alike() -> None:
    seen: dict[tuple[object, ...], str] = {}
    for golden in goldens("methods"):
        folder = GOLDEN / "methods" / golden["name"]
        files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        configs = [(folder / file).read_bytes() for file in files if file.name == "adapter_config.json"]
        assert seen.setdefault((golden["base"], *files, *configs), golden["name"]) == golden["name"]


@functools.cache
def outputs_of_the_base(name: str) -> Digest:
    return digest(base_models.outputs(base_models.build(name), name))


@pytest.mark.parametrize("adapter", parameters(lambda adapter: adapter.collection == "methods"))
def test_a_golden_changes_what_its_base_computes(adapter: GoldenAdapter) -> None:
    saved = Digest(**adapter.entry["outputs"])

    assert not close(outputs_of_the_base(adapter.golden["base"]), saved, adapter.golden["tolerance"])


def test_what_does_not_reload_says_why() -> None:
    for golden in goldens("methods"):
        assert (golden["reload"] == "same") == ("why" not in golden), golden["name"]


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_the_manifest_lists_every_folder(collection: str) -> None:
    names = [golden["name"] for golden in goldens(collection)]

    assert len(names) == len(set(names))
    assert {path.name for path in (GOLDEN / collection).iterdir() if path.is_dir()} == set(names)


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_the_goldens_are_small(collection: str) -> None:
    sizes = {path: path.stat().st_size for path in (GOLDEN / collection).rglob("*") if path.is_file()}

    assert max(size for path, size in sizes.items() if path.name != "manifest.json") < LARGEST[collection]
    assert sum(sizes.values()) < TOGETHER[collection]


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_no_golden_names_a_path_of_the_machine_that_wrote_it(collection: str) -> None:
    absolute = re.compile(r"""["' ]/[a-z]+/|[A-Z]:\\\\""")

    assert not [path for path in (GOLDEN / collection).rglob("*.json") if absolute.search(path.read_text())]
