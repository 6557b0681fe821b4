"""`adapter-format fix`, and `validate --consumer`, through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import adapter_format as af
from adapter_format.cli import main
from adapter_format.consumers.history import fields_at
from adapter_format.packaged import load_schema
from adapter_format.report.json import SCHEMA_ID

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "lora" / "linear", tmp_path / "adapter"))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rules(path: Path, consumer: str) -> set[str]:
    return {finding.rule for finding in af.validate(path, consumers=[consumer]).findings}


def test_without_a_place_to_write_nothing_is_written(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(adapter)
    assert main(["fix", str(adapter), "--target", "peft==0.13.2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Would drop 17 fields that peft 0.13.2 does not know:\n")
    assert "  eva_config: its value is the default\n" in out
    assert out.endswith("Nothing was written: --in-place or --output DIR writes it, --dry-run shows the difference.\n")
    assert snapshot(adapter) == before


def test_a_dry_run_shows_the_difference_alone(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(adapter)
    assert main(["fix", str(adapter), "--target", "peft==0.13.2", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"--- a/{CONFIG}", f"+++ b/{CONFIG}"]
    removed = [line[1:] for line in lines[2:] if line.startswith("-")]
    added = [line[1:] for line in lines[2:] if line.startswith("+")]
    assert '  "eva_config": null,' in removed
    assert len(removed) - len(added) == 17
    assert snapshot(adapter) == before


def test_in_place_only_the_config_changes(adapter: Path) -> None:
    before = snapshot(adapter)
    assert main(["fix", str(adapter), "--target", "peft==0.13.2", "--in-place"]) == 0
    after = snapshot(adapter)
    assert after[WEIGHTS] == before[WEIGHTS]
    assert set(after) == set(before)
    assert "AF802" in rules(GOLDEN / "lora" / "linear", "peft==0.13.2")
    assert rules(adapter, "peft==0.13.2") == rules(adapter, "peft")
    old, new = json.loads(before[CONFIG]), json.loads(after[CONFIG])
    assert {name: old[name] for name in new} == new


def test_the_output_is_a_whole_adapter(adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(adapter)
    target = tmp_path / "new" / "place"
    assert main(["fix", str(adapter / CONFIG), "--target", "peft==0.13.2", "--output", str(target)]) == 0
    assert "written to" in capsys.readouterr().out
    assert set(snapshot(target)) == {CONFIG, WEIGHTS}
    assert snapshot(target)[WEIGHTS] == before[WEIGHTS]
    assert af.validate(target, consumers=["peft==0.13.2"]).consumers[0].outcome == "ok"
    assert snapshot(adapter) == before


@pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["--in-place"], ["--output"]])
def test_a_field_that_counts_is_named_and_nothing_is_written(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(GOLDEN / "lora" / "exclude_modules", tmp_path / "adapter"))
    before = snapshot(folder)
    where = [*arguments, str(tmp_path / "out")] if arguments == ["--output"] else arguments
    assert main(["fix", str(folder), "--target", "peft==0.13.2", *where]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "PEFT 0.13.2 stops at the field `exclude_modules`, which came with PEFT 0.14.0." in err
    assert "Nothing was written" in err
    assert snapshot(folder) == before
    assert not (tmp_path / "out").exists()


def test_a_release_that_knows_all_gets_the_same(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(adapter)
    assert main(["fix", str(adapter), "--target", "peft", "--in-place"]) == 0
    said = capsys.readouterr().out
    assert "nothing to drop" in said
    assert main(["fix", str(adapter), "--target", "peft", "--dry-run"]) == 0
    assert capsys.readouterr().out == said
    assert snapshot(adapter) == before


@pytest.mark.parametrize("arguments", [["--in-place"], ["--output"]])
def test_errors_that_remain_are_counted(
    arguments: list[str], adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (adapter / WEIGHTS).write_bytes((adapter / WEIGHTS).read_bytes()[:-4])
    where = [*arguments, str(tmp_path / "out")] if arguments == ["--output"] else arguments
    assert main(["fix", str(adapter), "--target", "peft==0.13.2", *where]) == 0
    assert capsys.readouterr().out.endswith("1 error remains; `adapter-format validate` says where.\n")


def test_a_config_without_a_method_says_so(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (adapter / CONFIG).write_text("{}")
    assert main(["fix", str(adapter), "--target", "peft==0.13.2"]) == 1
    assert "the field `peft_type`, which names the method, is missing" in capsys.readouterr().err


def test_each_unknown_field_has_its_own_mend(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = json.loads((adapter / CONFIG).read_text())
    known = {name: written[name] for name in sorted(fields_at("LORA", "0.13.2") & written.keys())}
    (adapter / CONFIG).write_text(json.dumps({**known, "exclude_modules": ["x"], "zzz": 1, "lora_bias": False}))
    report = af.validate(adapter, consumers=["peft==0.13.2"])
    found = [finding for finding in report.findings if finding.rule == "AF802"]
    mend = (
        "Use a release that knows `exclude_modules`. Remove `zzz`, which no release knows. "
        "`lora_bias` may be removed without harm."
    )
    assert [(finding.mend, finding.fixable) for finding in found] == [(mend, False)]
    assert "It does not know `zzz`, `lora_bias` either." in found[0].message
    main(["validate", str(adapter), "--consumer", "peft==0.13.2"])
    heading = next(line for line in capsys.readouterr().out.splitlines() if "AF802" in line)
    assert heading.endswith("consumer-lacks-field")


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--target", "peft==0.13.2", "--output", "{adapter}"], 2, "--in-place writes there"),
        (["--target", "peft==0.13.2", "--output", "{adapter}/adapter_config.json"], 2, "is no directory"),
        (["--target", "peft==0.13.2", "--output", ""], 2, "takes a directory"),
        (["--target", "peft==1.0"], 2, "has no release '1.0' that is known here; those known are from 0.1.0 to"),
        (["--target", "vllm"], 2, "No consumer is called 'vllm'; known here: peft."),
        ([], 2, "--target"),
        (["--target", "peft", "--dry-run", "--in-place"], 2, "not allowed with"),
    ],
)
def test_bad_usage(
    arguments: list[str], status: int, sentence: str, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(adapter)
    filled = [argument.replace("{adapter}", str(adapter)) for argument in arguments]
    assert main(["fix", str(adapter), *filled]) == status
    assert sentence in capsys.readouterr().err
    assert snapshot(adapter) == before


def test_a_damaged_config_is_left_alone(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (adapter / CONFIG).write_text('{"r": 1, "r": 2}')
    assert main(["fix", str(adapter), "--target", "peft==0.13.2", "--in-place"]) == 1
    assert "is damaged or missing" in capsys.readouterr().err
    assert (adapter / CONFIG).read_text() == '{"r": 1, "r": 2}'


def test_an_empty_folder_holds_nothing_to_mend(tmp_path: Path) -> None:
    assert main(["fix", str(tmp_path), "--target", "peft"]) == 3


def test_the_text_report_names_each_consumer(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["validate", str(adapter), "--consumer", "peft==0.13.2", "--consumer", "peft"])
    out = capsys.readouterr().out
    assert status == 1
    assert "      peft 0.13.2: rejects\n      peft 0.21.2: ok\n" in out
    assert "AF802 consumer-lacks-field" in out
    assert "`adapter-format fix --target peft==0.13.2` drops them; none changes what the adapter computes." in " ".join(
        out.split()
    )


def test_the_json_report_follows_its_schema(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from jsonschema import Draft202012Validator

    arguments = ["--consumer", "peft==0.13.2", "--consumer", "peft==0.17.1", "--format"]
    assert main(["validate", str(adapter), *arguments, "json"]) == 1
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    Draft202012Validator(load_schema("report")).validate(document)
    assert document["schema"] == SCHEMA_ID
    found = document["adapters"][0]
    assert [(one["name"], one["version"], one["outcome"]) for one in found["consumers"]] == [
        ("peft", "0.13.2", "rejects"),
        ("peft", "0.17.1", "warns"),
    ]
    pointers = {reason["location"]["pointer"] for reason in found["consumers"][0]["reasons"]}
    assert "/peft_version" in pointers
    assert [finding["fixable"] for finding in found["findings"] if finding["rule"] == "AF802"] == [True]
    assert main(["validate", str(adapter), *arguments, "jsonl"]) == 1
    assert json.loads(capsys.readouterr().out)["consumers"] == found["consumers"]


def test_a_field_that_counts_is_not_fixable() -> None:
    report = af.validate(GOLDEN / "lora" / "exclude_modules", consumers=["peft==0.13.2"])
    assert [finding.fixable for finding in report.findings if finding.rule == "AF802"] == [False]


def test_a_defect_shows_in_the_outcome_of_the_release_that_it_was_measured_with(adapter: Path) -> None:
    header, _, rest = (adapter / WEIGHTS).read_bytes().partition(b"base_model.model.lin0.lora_A")
    (adapter / WEIGHTS).write_bytes(header + b"base_model.model.lin9.lora_A" + rest)
    report = af.validate(adapter, consumers=["peft", "peft==0.20.0"])
    assert not report.ok
    assert [outcome.outcome for outcome in report.consumers] == ["wrong", "unknown"]
    assert {reason.kind for reason in report.consumers[0].reasons} == {"defect"}
    assert not [finding for finding in report.findings if finding.rule.startswith("AF8")]


def test_without_a_question_there_is_no_answer(adapter: Path) -> None:
    assert af.validate(adapter).consumers == ()


def test_an_unreadable_config_has_no_outcome(adapter: Path) -> None:
    (adapter / CONFIG).write_text("{")
    assert af.validate(adapter, consumers=["peft"]).consumers == ()


def test_many_processes_are_asked_the_same(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(adapter, adapter.parent / "other")
    assert main(["validate", str(adapter.parent), "--jobs", "2", "--consumer", "peft==0.13.2", "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)["adapters"]
    assert [one["consumers"][0]["outcome"] for one in found] == ["rejects", "rejects"]


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("lora/linear", "in PEFT 0.4.0 to 0.5.0, 0.14.0 to 0.21.2"),
        ("releases/0.14.0/bone_plain", "in PEFT 0.14.0 to 0.18.1"),
        ("releases/0.7.1/oft_plain", "in PEFT 0.7.0 to 0.13.2"),
        ("methods/xlora_depth_2", "not known in which releases"),
    ],
)
def test_inspect_says_which_releases_load_it_right(folder: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(GOLDEN / folder)]) == 0
    assert f"  loads right  {words}\n" in capsys.readouterr().out
    assert main(["inspect", str(GOLDEN / folder), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["loads_right"]
    assert found is None if words.startswith("not") else found[-1]["last"] in words
