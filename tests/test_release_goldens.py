"""Verdicts on adapters that old releases of PEFT wrote: none on those that the newest reloads, the right one on others.

`manifest.json` says what each release does with each golden; the oracle measures the newest again. Where the newest
release can't reload a golden, or computes something else, a finding names a release that can.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import adapter_format as af

RELEASES = Path(__file__).parent / "golden" / "releases"
GOLDENS: dict[str, dict[str, Any]] = {
    golden["folder"]: golden
    for golden in json.loads((RELEASES / "manifest.json").read_text(encoding="utf-8"))["goldens"]
}
NEWEST = "0.21.2"
RELOADED = [folder for folder, golden in GOLDENS.items() if golden["loads_in"][NEWEST]["verdict"] == "same"]
NOT_RELOADED = [folder for folder in GOLDENS if folder not in RELOADED]

WARNED: dict[str, tuple[set[str], str]] = {}
"""Setting to the only warnings on goldens of it that the newest release reloads, each with its reason."""

NO_RELEASE_NAMED: dict[str, str] = {}
"""Setting of goldens that the newest release does not reload, and why no finding names one that does."""


def setting(folder: str) -> str:
    return folder.partition("/")[2]


def found(folder: str, *severities: str) -> set[str]:
    report = af.validate(RELEASES / folder, data=True)
    return {finding.rule for finding in report.findings if finding.severity in severities}


@pytest.mark.parametrize("folder", RELOADED)
def test_what_the_newest_release_reloads_is_no_error(folder: str) -> None:
    assert found(folder, "error") == set()


@pytest.mark.parametrize("folder", RELOADED)
def test_what_it_reloads_is_warned_of_for_a_reason_only(folder: str) -> None:
    expected, _ = WARNED.get(setting(folder), (set(), ""))

    assert found(folder, "warning") <= expected


def right_releases(golden: dict[str, Any]) -> list[str]:
    return [release for release, entry in golden["loads_in"].items() if entry["verdict"] == "same"]


@pytest.mark.parametrize("folder", NOT_RELOADED)
def test_what_it_does_not_reload_names_a_release_that_does(folder: str) -> None:
    report = af.validate(RELEASES / folder, data=True)
    texts = [f"{finding.message} {finding.mend}" for finding in report.findings]
    named = {release for text in texts for release in re.findall(r"\b\d+\.\d+(?:\.\d+)?\b", text)}
    right = right_releases(GOLDENS[folder])

    if setting(folder) in NO_RELEASE_NAMED:
        assert not named & set(right)
        return
    assert right, "no release reloads it: give the reason"
    assert named
    assert report.findings
