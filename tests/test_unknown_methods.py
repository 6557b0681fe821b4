"""Methods that no layout describes: custom ones, and those of releases to come."""

from __future__ import annotations

from pathlib import Path

import pytest

import adapter_format as af
from adapter_format.rules.edits import Edit, RenameTensors, SetConfig, StoreFirst, TruncateWeights
from adapter_format.testing.drafts import write_edited
from adapter_format.testing.examples import examples

CUSTOM = (SetConfig("/peft_type", "GATED_BANK"), RenameTensors(r"lora_A\.weight$", "gate.down"))


def judged(directory: Path, *more: Edit) -> af.Report:
    write_edited(examples()["plain"], (*CUSTOM, *more), directory)
    return af.validate(directory, data=True)


def test_a_method_of_ones_own_gets_no_error(tmp_path: Path) -> None:
    report = judged(tmp_path / "adapter")

    assert report.ok
    assert [finding.rule for finding in report.findings if finding.severity == "warning"] == ["AF209"]


def test_what_needs_the_layout_is_said_to_be_unchecked(tmp_path: Path) -> None:
    report = judged(tmp_path / "adapter")

    assert any(entry.what == "keys and shapes" and "GATED_BANK" in entry.why for entry in report.unchecked)


def test_what_needs_no_layout_is_judged(tmp_path: Path) -> None:
    report = judged(tmp_path / "adapter", TruncateWeights(-16), StoreFirst("nothing"))

    assert {finding.rule for finding in report.findings if finding.severity == "error"} == {"AF119"}


def test_its_tensors_are_counted(tmp_path: Path) -> None:
    summary = judged(tmp_path / "adapter").summary

    assert (summary.tensors, summary.bytes) == (16, 16 * 4 * 8 * 4)


@pytest.mark.parametrize(("name", "meant"), [("lora", "LORA"), ("LoRA", "LORA"), ("ADA_LORA", "ADALORA")])
def test_a_misspelt_method_is_an_error_that_names_the_right_one(name: str, meant: str, tmp_path: Path) -> None:
    write_edited(examples()["plain"], (SetConfig("/peft_type", name),), tmp_path / "adapter")

    report = af.validate(tmp_path / "adapter")

    finding = next(finding for finding in report.findings if finding.rule == "AF209")
    assert finding.severity == "error"
    assert repr(meant) in finding.message


@pytest.mark.parametrize("name", ["", "my method", "méthode", 7, None, []])
def test_what_can_be_no_name_is_an_error(name: object, tmp_path: Path) -> None:
    write_edited(examples()["plain"], (SetConfig("/peft_type", name),), tmp_path / "adapter")

    assert not af.validate(tmp_path / "adapter").ok
