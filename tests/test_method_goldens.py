"""Verdicts on adapters of every method that real PEFT wrote: none on those that reload, the right one on the others.

The manifest says how each golden reloads; the oracle measures it again. Adapters are judged with their values.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import adapter_format as af

METHODS = Path(__file__).parent / "golden" / "methods"
ADAPTERS: dict[str, dict[str, Any]] = {
    adapter["folder"]: {**adapter, "peft_type": golden["peft_type"]}
    for golden in json.loads((METHODS / "manifest.json").read_text(encoding="utf-8"))["goldens"]
    for adapter in golden["adapters"]
}
RELOADED = [folder for folder, adapter in ADAPTERS.items() if adapter["reload"] == "same"]
NOT_RELOADED = [folder for folder in ADAPTERS if folder not in RELOADED]

WARNED: dict[str, tuple[set[str], str]] = {
    **dict.fromkeys(
        ("vera_unsaved", "pvera_unsaved", "randlora_unsaved", "tinylora_unsaved"),
        ({"AF218"}, "a loader has to draw the projections again, of which PEFT warns"),
    ),
    "hra_linear": ({"AF218"}, "an odd `r`, of which PEFT warns on loading"),
    "hra_orthogonal": ({"AF218"}, "an odd `r`, of which PEFT warns on loading"),
    "ia3_bin": ({"AF135"}, "weights in a pickle"),
    "supertuning_without_indices": ({"AF218"}, "a loader has to find the indices again, of which PEFT warns"),
}
"""The only warnings on goldens that reload, each with its reason."""

NOT_RIGHT: dict[str, tuple[set[str], str]] = {
    "hira_rank_pattern_followed/second": (set(), "right as a second adapter, and so is rank `r` in any other"),
    "xlora_depth_1": ({"AF321"}, "PEFT left the only layer out"),
    "xlora_depth_2": ({"AF305", "AF614"}, "PEFT left a layer out that has the number of an expert"),
    "xlora_depth_3": ({"AF305"}, "PEFT left a layer out that has the number of an expert"),
}
"""Errors and warnings on goldens that do not reload as they were saved, and why not more."""

SIZE_NOT_BY_FORMULA: dict[str, str] = {
    "ia3_bin": "a pickle is not read",
    "xlora_depth_1": "no tensor was written",
}
"""Goldens whose bytes the formula does not give, each with its reason."""


def found(folder: str, *severities: str) -> set[str]:
    report = af.validate(METHODS / folder, data=True)
    return {finding.rule for finding in report.findings if finding.severity in severities}


@pytest.mark.parametrize("folder", RELOADED)
def test_what_reloads_is_no_error(folder: str) -> None:
    assert found(folder, "error") == set()


@pytest.mark.parametrize("folder", RELOADED)
def test_what_reloads_is_warned_of_for_a_reason_only(folder: str) -> None:
    expected, _ = WARNED.get(folder, (set(), ""))

    assert found(folder, "warning") == expected


@pytest.mark.parametrize("folder", NOT_RELOADED)
def test_what_does_not_reload_has_findings_or_a_reason(folder: str) -> None:
    expected, _ = NOT_RIGHT.get(folder, (set(), ""))

    assert found(folder, "error", "warning") == expected


def test_every_golden_that_does_not_reload_is_accounted_for() -> None:
    assert sorted(NOT_RELOADED) == sorted(NOT_RIGHT)
    assert set(WARNED) <= set(RELOADED)


@pytest.mark.parametrize("folder", [folder for folder in ADAPTERS if folder not in SIZE_NOT_BY_FORMULA])
def test_the_bytes_are_those_of_the_formula(folder: str) -> None:
    summary = af.validate(METHODS / folder).summary

    assert summary.tensors == ADAPTERS[folder]["keys"]
    assert summary.expected_bytes == summary.bytes


@pytest.mark.parametrize("folder", ADAPTERS)
def test_every_tensor_belongs_to_a_layout(folder: str) -> None:
    """A method that has no layout yet would pass most of the tests above."""
    report = af.validate(METHODS / folder)

    assert not [entry for entry in report.unchecked if entry.what == "keys and shapes"]
