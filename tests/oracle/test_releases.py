"""Do the goldens of old PEFT releases still do in the newest one what their manifest says?"""

from __future__ import annotations

import json
import re
from typing import Any

import peft
import pytest

from tests.golden.releases.environments import WRITERS
from tests.golden.releases.loading import HERE, Job, fields_of_release, load
from tests.golden.releases.recipes import RECIPES, numbers, of_release
from tests.oracle.golden_outputs import Digest, close

MANIFEST: dict[str, Any] = json.loads((HERE / "manifest.json").read_text())
NEWEST_IN_OLD: dict[str, Any] = json.loads((HERE / "newest_in_old.json").read_text())
GOLDENS: list[dict[str, Any]] = MANIFEST["goldens"]
TEXTS: list[str] = MANIFEST["texts"]
NEWEST = peft.__version__
MISSING = "Found missing adapter keys"
EACH = pytest.mark.parametrize("golden", GOLDENS, ids=[golden["folder"] for golden in GOLDENS])


def warned_of_missing_keys(warnings: list[str]) -> bool:
    return any(text.startswith(MISSING) for text in warnings)


@EACH
def test_the_newest_release_loads_it_as_recorded(golden: dict[str, Any]) -> None:
    recorded = golden["loads_in"][NEWEST]

    found = load(Job(**fields_of_release(golden)))

    assert found["verdict"] == recorded["verdict"], found.get("error")
    if "error" in recorded:
        assert found["error"][:60] == TEXTS[recorded["error"]][:60]
    if "outputs" in recorded:
        assert close(Digest(**found["outputs"]), Digest(**recorded["outputs"]), 1e-4)
    told = [TEXTS[place] for place in recorded.get("warnings", ())]
    assert warned_of_missing_keys(found.get("warnings", [])) == warned_of_missing_keys(told)


@EACH
def test_a_reason_says_which_releases_read_it_otherwise(golden: dict[str, Any]) -> None:
    later = {release for release in golden["loads_in"] if numbers(release) >= numbers(golden["release"])}
    wrong = {release for release in later if golden["loads_in"][release]["verdict"] != "same"}

    assert wrong == {release for release in later if is_said_to_misread(release, golden)}


def is_said_to_misread(release: str, golden: dict[str, Any]) -> bool:
    if "why" not in golden:
        return False
    since, until = golden["changed_in"] or golden["release"], golden["mended_in"] or "99"
    return numbers(since) <= numbers(release) < numbers(until)


def test_every_recipe_was_written() -> None:
    listed = {(golden["release"], golden["name"]) for golden in GOLDENS}

    assert listed == {(release, recipe.name) for release in WRITERS for recipe in of_release(release)}
    assert {recipe.name for recipe in RECIPES} == {name for _, name in listed}
    assert not MANIFEST["not_written"]


def test_the_manifest_lists_every_folder() -> None:
    folders = {path.relative_to(HERE).as_posix() for release in WRITERS for path in (HERE / release).iterdir()}

    assert folders == {f"{golden['release']}/{golden['name']}" for golden in GOLDENS}


def test_the_configs_are_of_the_releases_that_are_said_to_have_written_them() -> None:
    for golden in GOLDENS:
        config = json.loads((HERE / golden["folder"] / "adapter_config.json").read_text())
        stamp = golden["release"] if numbers(golden["release"]) >= numbers("0.18.0") else None
        assert (config.get("peft_version"), config["peft_type"]) == (stamp, golden["peft_type"]), golden["folder"]


@pytest.mark.parametrize("release", ["0.6.2", "0.7.1", "0.10.0", "0.11.1", "0.13.2"])
def test_some_releases_take_no_config_of_the_newest_as_it_is(release: str) -> None:
    verdicts = [entry[release] for entry in NEWEST_IN_OLD["goldens"].values() if release in entry]

    assert len(verdicts) > 50
    assert all(verdict["verdict"] in ("raises", "unmeasured") for verdict in verdicts)
    assert any(verdict.get("after_dropping", {}).get("verdict") == "same" for verdict in verdicts)


def test_the_files_are_small() -> None:
    sizes = {path: path.stat().st_size for release in WRITERS for path in (HERE / release).rglob("*") if path.is_file()}

    assert max(sizes.values()) < 16_384
    assert sum(sizes.values()) < 700_000


def test_nothing_names_a_path_of_the_machine_that_wrote_it() -> None:
    absolute = re.compile(r"""["' ]/[a-z]+/|[A-Z]:\\\\""")

    assert not [path.name for path in HERE.rglob("*.json") if absolute.search(path.read_text())]
