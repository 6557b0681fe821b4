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

_NAME = "its keys look like those of a base with other paths; which paths the base has, only the base tells"

WARNED: dict[str, tuple[set[str], str]] = {
    "lora_bin": ({"AF135"}, "a pickle, which several readers refuse"),
    "lora_olora": ({"AF223"}, "only a reader that repeats the initialisation is right, as PEFT is"),
    "lora_pissa": ({"AF223"}, "only a reader that repeats the initialisation is right, as PEFT is"),
    "oft_coft": ({"AF218", "AF229"}, "the series changed in 0.18; with a tight bound the outputs are still the same"),
    "randlora_without_projection": ({"AF218"}, "a loader has to draw the projections again"),
    "vera_without_projection": ({"AF218"}, "a loader has to draw the projections again"),
    "xlora_plain": ({"AF614"}, "adapters called `0` and `1` make releases of PEFT lose keys of those layers"),
}
"""Setting to the only warnings on goldens of it that the newest release reloads, each with its reason."""

NO_RELEASE_NAMED: dict[str, str] = {
    "lora_bias_lora_only": "the biases were never stored: no release has them",
    "lora_grouped_conv": "without the base, the old factor of a convolution in groups looks like that of one without",
    "lora_named_self_attn": _NAME,
    "lora_named_zero": _NAME,
    "lora_pissa_niter": "the base was changed by a randomised decomposition, which no release finds again",
}
"""Setting of goldens that the newest release does not reload, and why no finding names one that does."""


NAMED_ALL_THE_SAME = ("0.4.0/lora_bias_lora_only",)


def setting(folder: str) -> str:
    return folder.split("/")[1]


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


_SPAN = re.compile(r"loads right in PEFT (\d+\.\d+\.\d+) to (\d+\.\d+\.\d+)")
_ONE = re.compile(r"load with PEFT (\d+\.\d+\.\d+)")


def key(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def unmeasured(folder: str, release: str) -> bool:
    return bool(GOLDENS[folder]["loads_in"][release]["verdict"] == "unmeasured")


def right_releases(golden: dict[str, Any]) -> list[str]:
    return [release for release, entry in golden["loads_in"].items() if entry["verdict"] == "same"]


@pytest.mark.parametrize("folder", NOT_RELOADED)
def test_what_it_does_not_reload_names_a_release_that_does(folder: str) -> None:
    report = af.validate(RELEASES / folder, data=True)
    texts = [f"{finding.message} {finding.mend}" for finding in report.findings]
    spans = [match.groups() for text in texts for match in _SPAN.finditer(text)]
    spans += [(match[1], match[1]) for text in texts for match in _ONE.finditer(text)]
    right = right_releases(GOLDENS[folder])

    if setting(folder) in NO_RELEASE_NAMED and folder not in NAMED_ALL_THE_SAME:
        assert spans == []
        return
    assert {finding.severity for finding in report.findings} & {"error", "warning"}
    assert spans, "no finding names a release"
    for first, last in spans:
        inside = [release for release in GOLDENS[folder]["loads_in"] if key(first) <= key(release) <= key(last)]
        assert [release for release in inside if release not in right and not unmeasured(folder, release)] == []
        assert set(inside) & set(right)
