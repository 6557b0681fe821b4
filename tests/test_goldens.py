"""Verdicts on adapters that real PEFT wrote: none on those that reload, the right one on those that do not.

The manifest says how each golden reloads; the oracle measures it again. Adapters are judged with their values.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import adapter_format as af

LORA = Path(__file__).parent / "golden" / "lora"
ADAPTERS: dict[str, dict[str, Any]] = {
    adapter["folder"]: adapter
    for golden in json.loads((LORA / "manifest.json").read_text(encoding="utf-8"))["goldens"]
    for adapter in golden["adapters"]
}
RELOADED = [folder for folder, adapter in ADAPTERS.items() if adapter["reload"] == "same"]
NOT_RELOADED = [folder for folder in ADAPTERS if folder not in RELOADED]

_REPEATED = "only a reader that repeats the initialisation is right, as PEFT is"
WARNED = {
    "init_loftq": ("AF223", _REPEATED),
    "init_olora": ("AF223", _REPEATED),
    "init_pissa": ("AF223", _REPEATED),
    "kasa": ("AF223", "only a reader that truncates the base in the same way is right, as PEFT is"),
    "linear_bin": ("AF135", "a pickle, which several readers refuse"),
    "untrained": ("AF504", "saved before training: it does nothing"),
}
"""The only warnings on goldens that reload, each with its reason."""

EXPECTED = {
    "compiled_base": {"AF303"},
    "init_corda": {"AF224"},
    "init_lora_ga": {"AF224"},
    "init_pissa_niter": {"AF224"},
    "rank_pattern_reordered": {"AF401"},
}
"""Errors on goldens that do not reload."""

NO_ERROR = {
    "adapter_named_zero": (
        {"AF614"},
        "PEFT lost the keys of layer 0 when it saved; one that adapts layer 1 alone may be meant: the cause is told",
    ),
    "alpha_pattern_reordered": (
        {"AF327"},
        "the order of the patterns in training is not in the file; it is right if they were trained as they are stored",
    ),
    "converted_pissa_modules_to_save": (
        {"AF318"},
        "only the base tells whether it has the module: where it has none of that name, PEFT ignores the entry",
    ),
    "init_loftq_without_quantiser": (
        {"AF223"},
        "it does reload where bitsandbytes is installed: the reader is what is lacking",
    ),
}
"""Goldens that do not reload and get no error: what they get, and why not more."""


def found(folder: str, *severities: str) -> set[str]:
    report = af.validate(LORA / folder, data=True)
    return {finding.rule for finding in report.findings if finding.severity in severities}


@pytest.mark.parametrize("folder", RELOADED)
def test_what_reloads_is_no_error(folder: str) -> None:
    assert found(folder, "error") == set()


@pytest.mark.parametrize("folder", RELOADED)
def test_what_reloads_is_warned_of_for_a_reason_only(folder: str) -> None:
    expected = {WARNED[folder][0]} if folder in WARNED else set()

    assert found(folder, "warning") == expected


@pytest.mark.parametrize("folder", NOT_RELOADED)
def test_what_does_not_reload_is_an_error_or_has_a_reason(folder: str) -> None:
    assert found(folder, "error") == EXPECTED.get(folder, set())
    if folder in NO_ERROR:
        assert found(folder, "warning") == NO_ERROR[folder][0]


def test_every_golden_that_does_not_reload_is_accounted_for() -> None:
    assert sorted(NOT_RELOADED) == sorted([*EXPECTED, *NO_ERROR])
    assert set(WARNED) <= set(RELOADED)


@pytest.mark.parametrize("folder", [folder for folder in RELOADED if folder != "linear_bin"])
def test_the_bytes_are_those_of_the_formula(folder: str) -> None:
    summary = af.validate(LORA / folder).summary

    assert summary.tensors == ADAPTERS[folder]["keys"]
    assert summary.expected_bytes == summary.bytes


def test_there_are_enough_goldens() -> None:
    assert len(RELOADED) >= 30
