"""`adapter-format validate`: exit status, selection, formats, destinations."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from adapter_format.cli import main

GOLDENS = Path(__file__).parents[1] / "golden" / "lora"
CLEAN, WARNED, BROKEN = GOLDENS / "bf16", GOLDENS / "alpha_pattern_reordered", GOLDENS / "compiled_base"

Captured = pytest.CaptureFixture[str]


def _run(*arguments: object) -> int:
    return main(["validate", *map(str, arguments)])


@pytest.mark.parametrize("report_format", ["text", "json", "jsonl"])
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((CLEAN,), 0),
        ((WARNED,), 0),
        ((WARNED, "--strict"), 1),
        ((BROKEN,), 1),
        ((CLEAN, BROKEN), 1),
        ((BROKEN, "--exit-zero"), 0),
        ((BROKEN, "--ignore", "AF303"), 0),
        ((BROKEN, "--ignore", "key-wrapper,AF2"), 0),
        ((BROKEN, "--select", "AF2"), 0),
        ((BROKEN, "--select", "af3"), 1),
        ((BROKEN, "--select", "AF2", "--select", "key-wrapper"), 1),
        ((BROKEN, "--select", "AF3", "--ignore", "AF303"), 0),
        ((BROKEN, "--severity", "AF3=info"), 0),
        ((WARNED, "--severity", "pattern-order=error"), 1),
        ((CLEAN / "adapter_model.safetensors",), 0),
        ((CLEAN, "--data"), 0),
    ],
)
def test_the_exit_status_is_the_verdict_in_every_format(
    arguments: tuple[object, ...], status: int, report_format: str, capsys: Captured
) -> None:
    assert _run(*arguments, "--format", report_format) == status
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("report_format", "report"), [("text", ""), ("jsonl", "")])
def test_nothing_to_check_is_no_pass(tmp_path: Path, capsys: Captured, report_format: str, report: str) -> None:
    assert _run(tmp_path, "--format", report_format) == 3

    assert capsys.readouterr() == (report, f"adapter-format: No adapter was found under {tmp_path}.\n")


def test_nothing_to_check_is_an_empty_document(tmp_path: Path, capsys: Captured) -> None:
    assert _run(tmp_path, "--format", "json") == 3

    assert json.loads(capsys.readouterr().out)["adapters"] == []


def test_a_tree_is_searched(capsys: Captured) -> None:
    _run(GOLDENS, "--format", "jsonl")

    found = [json.loads(line)["path"] for line in capsys.readouterr().out.splitlines()]
    assert {os.path.dirname(path) for path in map(str, GOLDENS.rglob("adapter_config.json"))} <= set(found)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_an_unreadable_folder_is_a_finding(capsys: Captured) -> None:
    # In a folder that others may pass through; the superuser may read everything and becomes somebody else.
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        locked = Path(parent, "locked")
        shutil.copytree(CLEAN, locked)
        locked.chmod(0)
        superuser = os.geteuid() == 0
        if superuser:
            os.setresuid(65534, 65534, 0)
        try:
            status = _run(locked)
        finally:
            if superuser:
                os.setresuid(0, 0, 0)
            locked.chmod(0o755)

    out, err = capsys.readouterr()
    assert (status, err) == (1, "")
    assert "AF607" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("no/such/path", CLEAN), "no/such/path does not exist."),
        ((CLEAN, "no/such/path"), "no/such/path does not exist."),
        (("a\0b",), r"'a\x00b' does not exist."),
        (("\x1b[2J",), r"'\x1b[2J' does not exist."),
        ((__file__,), "is a file, expected an adapter directory"),
        ((CLEAN, "--select", "AF9"), "No rule's id begins with 'AF9'; there are AF1, AF2, AF3, AF4, AF5, AF6, AF8."),
        ((CLEAN, "--ignore", "key-wraper"), "There is no rule 'key-wraper'. Did you mean key-wrapper?"),
        ((CLEAN, "--select", "x" * 100_000), "There is no rule"),
        ((CLEAN, "--severity", "AF303=fatal"), "The severity 'AF303=fatal' is not RULE=LEVEL"),
        ((CLEAN, "--severity", "AF303"), "The severity 'AF303' is not RULE=LEVEL"),
        ((CLEAN, "--jobs", "0"), "--jobs takes a number from 1 to 256, found 0."),
        ((CLEAN, "--jobs", "many"), "argument --jobs: invalid int value: 'many'."),
        ((CLEAN, "--format", "xml"), "invalid choice: 'xml'"),
        ((CLEAN, "--form", "text"), "unrecognized arguments: --form text"),
        ((CLEAN, "--\x1b[31m"), r"unrecognized arguments: --\x1b[31m"),
        ((), "the following arguments are required: PATH"),
        ((CLEAN, "--output", "no/such/folder/report"), "no/such/folder/report can't be written: No such file"),
        ((CLEAN, "--output", "a\0b"), r"'a\x00b' is no name of a file to write to."),
        ((CLEAN, "--output", GOLDENS), "is no name of a file to write to."),
    ],
)
def test_bad_usage_ends_in_one_sentence_before_anything_is_judged(
    arguments: tuple[object, ...], sentence: str, capsys: Captured
) -> None:
    status = _run(*arguments)

    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith("adapter-format: ")
    assert err.count("\n") == 1
    assert len(err) < 1000
    assert sentence in err


def test_an_adapter_with_a_missing_part_is_a_finding(tmp_path: Path, capsys: Captured) -> None:
    shutil.copy(CLEAN / "adapter_config.json", tmp_path)

    assert _run(tmp_path) == 1
    assert "AF130" in capsys.readouterr().out


def test_ignored_findings_are_counted(capsys: Captured) -> None:
    _run(BROKEN, "--format", "json", "--ignore", "AF303")

    (entry,) = json.loads(capsys.readouterr().out)["adapters"]
    assert entry["ok"] is True
    assert entry["summary"]["errors"] == 0
    assert entry["summary"]["ignored"] == 1


def test_another_severity_changes_rank_and_order(capsys: Captured) -> None:
    _run(BROKEN, "--format", "json", "--severity", "AF303=info", "--severity", "AF219=warning")

    (entry,) = json.loads(capsys.readouterr().out)["adapters"]
    assert [(item["rule"], item["severity"]) for item in entry["findings"]] == [("AF219", "warning"), ("AF303", "info")]


def test_the_last_word_on_a_severity_counts(capsys: Captured) -> None:
    assert _run(BROKEN, "--severity", "AF3=info", "--severity", "AF303=error") == 1


def test_data_reads_the_values(capsys: Captured) -> None:
    _run(GOLDENS / "untrained", "--data", "--format", "json")

    (entry,) = json.loads(capsys.readouterr().out)["adapters"]
    assert entry["level"] == "data"
    assert "AF504" in {item["rule"] for item in entry["findings"]}


def test_several_processes_give_the_same_report(capsys: Captured) -> None:
    folders = [GOLDENS / name for name in ("bf16", "compiled_base", "rank_pattern_reordered", "several_adapters")]
    status = _run(*folders, "--format", "jsonl")
    alone = capsys.readouterr().out

    assert _run(*folders, "--format", "jsonl", "--jobs", 2) == status
    assert capsys.readouterr().out == alone


def test_no_fold_lists_every_place(capsys: Captured) -> None:
    _run(BROKEN, "--format", "json", "--no-fold")

    (entry,) = json.loads(capsys.readouterr().out)["adapters"]
    assert [1 + len(item["places"]) for item in entry["findings"]] == [item["count"] for item in entry["findings"]]


@pytest.mark.parametrize("report_format", ["text", "json", "jsonl"])
def test_a_file_gets_what_the_pipe_gets(tmp_path: Path, capsys: Captured, report_format: str) -> None:
    _run(BROKEN, "--format", report_format)
    piped = capsys.readouterr().out

    assert _run(BROKEN, "--format", report_format, "--output", tmp_path / "report") == 1
    assert (tmp_path / "report").read_text(encoding="utf-8") == piped
    assert capsys.readouterr() == ("", "")
    assert os.listdir(tmp_path) == ["report"]


def test_a_report_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report").write_text("old")

    def interrupted(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("adapter_format.cli.validate.validate", interrupted)

    assert _run(BROKEN, "--output", tmp_path / "report") == 130
    assert (tmp_path / "report").read_text() == "old"
    assert os.listdir(tmp_path) == ["report"]


@pytest.mark.parametrize("name", ["link", "plain"])
def test_the_output_file_is_replaced_behind_its_link_and_follows_the_umask(tmp_path: Path, name: str) -> None:
    plain = tmp_path / "plain"
    plain.write_text("old")
    (tmp_path / "link").symlink_to(plain)
    before = os.umask(0o027)
    try:
        _run(CLEAN, "--output", tmp_path / name)
    finally:
        os.umask(before)

    assert (tmp_path / "link").is_symlink()
    assert plain.read_text().startswith("ok")
    assert stat.S_IMODE(plain.stat().st_mode) == 0o640


def test_a_device_is_written_to_and_not_replaced() -> None:
    assert _run(CLEAN, "--output", os.devnull) == 0
    assert not Path(os.devnull).is_file()


def test_an_interrupt_is_one_line(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("adapter_format.cli.validate.validate", interrupted)

    assert _run(CLEAN) == 130
    assert capsys.readouterr() == ("", "adapter-format: Interrupted.\n")


class _Terminal:
    """A terminal that keeps what is written."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.written = ""

    def write(self, text: str) -> int:
        self.written += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def test_long_work_shows_a_bar_on_a_terminal_and_takes_it_away(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("adapter_format.report.progress._PATIENCE", 0.0)
    monkeypatch.setattr("adapter_format.report.progress._INTERVAL", 0.0)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)

    assert _run(CLEAN, WARNED, "--data") == 0

    assert "2 adapters" in terminal.written
    assert terminal.written.endswith("\x1b[2K")
    assert capsys.readouterr().out.startswith("ok")


def test_short_work_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    _run(CLEAN)

    assert terminal.written == ""
