"""Rules that no edit of files can break: bounds of this tool, and files that are no files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import adapter_format as af
from adapter_format.rules.edits import SetConfig
from adapter_format.testing.drafts import write_edited, write_example
from adapter_format.testing.examples import examples


def _errors(path: Path, limits: af.Limits | None = None) -> list[str]:
    report = af.validate(path, limits=limits or af.Limits())
    return [finding.rule for finding in report.findings if finding.severity == "error"]


def test_a_header_over_the_limit_is_refused(tmp_path: Path) -> None:
    write_example("plain", tmp_path / "a")

    assert _errors(tmp_path / "a", af.Limits(header_bytes=1000)) == ["AF125"]


def test_more_tensors_than_the_limit_are_refused(tmp_path: Path) -> None:
    write_example("plain", tmp_path / "a")

    assert _errors(tmp_path / "a", af.Limits(tensors=8)) == ["AF125"]


def test_more_entries_than_the_limit_are_refused(tmp_path: Path) -> None:
    write_example("plain", tmp_path / "a")
    for number in range(4):
        (tmp_path / "a" / f"{number}.txt").write_text("")

    assert "AF613" in _errors(tmp_path / "a", af.Limits(directory_entries=3))


def test_a_config_over_the_limit_is_refused(tmp_path: Path) -> None:
    write_example("plain", tmp_path / "a")

    assert _errors(tmp_path / "a", af.Limits(config_bytes=100)) == ["AF607"]


@pytest.mark.parametrize("pattern", [r"(\w+\.?)*!", r"(a+)+$", r"((.*)*)*x", r"(?:(.)\1)+"])
def test_a_pattern_that_may_never_end_costs_bounded_steps(pattern: str, tmp_path: Path) -> None:
    write_edited(examples()["plain"], (SetConfig("/target_modules", pattern),), tmp_path / "a")

    report = af.validate(tmp_path / "a")

    assert report.findings or report.unchecked


def test_a_pattern_that_can_not_be_bounded_is_a_finding(tmp_path: Path) -> None:
    write_edited(examples()["plain"], (SetConfig("/target_modules", r"(.*)_proj(?(1)|x)"),), tmp_path / "a")

    report = af.validate(tmp_path / "a")

    assert [finding.rule for finding in report.findings if finding.severity == "error"] == ["AF326"]
    assert any("targeting" in unchecked.what for unchecked in report.unchecked)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")
@pytest.mark.parametrize(
    ("name", "rule"),
    [("notes", "AF610"), ("adapter_model.safetensors", "AF136"), ("adapter_config.json", "AF207")],
)
def test_a_fifo_is_a_finding_and_never_waited_for(name: str, rule: str, tmp_path: Path) -> None:
    write_example("plain", tmp_path / "a")
    (tmp_path / "a" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "a" / name)

    assert _errors(tmp_path / "a") == [rule]


def test_links_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--example--adapter" / "snapshots" / "abc"
    blobs = tmp_path / "models--example--adapter" / "blobs"
    write_example("plain", snapshot)
    blobs.mkdir()
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(Path("..", "..", "blobs", str(number)))

    assert af.validate(snapshot).findings == ()
    assert af.load(snapshot).config["r"] == 4


def test_an_entry_a_module_is_matched_however_many_there_are(tmp_path: Path) -> None:
    paths = [f"model.layers.{layer}.self_attn.q_proj" for layer in range(3000)]
    ranks = {path: 1 + number % 3 for number, path in enumerate(paths)}
    tensors = {}
    for path, rank in ranks.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = np.ones((rank, 4), "f4")
        tensors[f"base_model.model.{path}.lora_B.weight"] = np.ones((4, rank), "f4")
    config = af.AdapterConfig(peft_type="LORA", r=1, rank_pattern=ranks, target_modules=["q_proj"])

    af.save(tmp_path / "a", tensors, config)

    assert af.validate(tmp_path / "a").summary.ranks == (1, 2, 3)
