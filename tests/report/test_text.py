"""The report for people."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapter_format as af
from adapter_format.findings import Finding, Location, Report, Summary, Unchecked
from adapter_format.report.page import plain
from adapter_format.report.terminal import paper_for
from adapter_format.report.text import NOTHING_YET, adapter_lines, add, closing_lines
from adapter_format.selection import Judged
from tests.report.test_json import REPORTS

GOLDENS = Path(__file__).parents[1] / "golden" / "lora"


def _set(*reports: Report, width: int = 80, **options: bool) -> str:
    totals, text = NOTHING_YET, ""
    for report in reports:
        totals = add(totals, Judged(report, 0))
        text += plain(adapter_lines(report, width, **options))
    return text + plain(closing_lines(totals, width))


@given(st.lists(REPORTS, max_size=3), st.integers(40, 120), st.booleans())
def test_no_report_controls_the_terminal(reports: list[Report], width: int, fold: bool) -> None:
    text = _set(*reports, width=width, fold=fold)

    assert all(line.isprintable() for line in text.split("\n"))


@given(REPORTS, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9))
def test_a_hostile_name_adds_no_line(report: Report, name: str) -> None:
    hostile, harmless = report._replace(path=f"a{name}\n\x1b[2J"), report._replace(path="a")

    assert _set(hostile).count("\n") == _set(harmless).count("\n")


def test_a_clean_adapter_takes_two_lines() -> None:
    report = af.validate(GOLDENS / "bf16")._replace(path="bf16")

    assert plain(adapter_lines(report, 80)) == (
        "ok    bf16\n      LORA, rank 2, 4 modules, 8 tensors, 168 parameters, 336 bytes BF16\n"
    )


def test_a_finding_says_where_and_how_to_mend_it() -> None:
    report = af.validate(GOLDENS / "compiled_base")._replace(path="compiled_base")

    assert _set(report).startswith(
        """\
FAIL  compiled_base (1 error, 1 info)
      LORA, rank 4, 2 modules, 4 tensors, 216 parameters, 864 bytes F32

  error   AF303 key-wrapper  PEFT only warns
          """
    )
    assert """
          at    base_model.model._orig_mod.lin0.lora_A.weight
                base_model.model._orig_mod.lin0.lora_B.weight
                base_model.model._orig_mod.lin1.lora_A.weight
                and 1 more
          mend: """ in _set(report)
    assert "          at    adapter_config.json, line 9, /base_model_name_or_path\n" in _set(report)


def test_unfolded_every_place_is_listed() -> None:
    places = tuple(Location("adapter_model.safetensors", f"key.{number}") for number in range(20))
    report = Report("p", None, "header", (Finding("AF301", "n", "error", "m", "d", places, 20, "warns"),))

    assert "key.19\n" in _set(report, fold=False)
    assert "key.19" not in _set(report)
    assert "and 17 more\n" in _set(report)


def test_the_end_counts_adapters_and_findings() -> None:
    reports = [af.validate(GOLDENS / name) for name in ("bf16", "compiled_base", "alpha_pattern_reordered")]

    assert _set(*reports).splitlines()[-1] == "3 adapters: 2 ok, 1 failed; 1 error, 1 warning, 1 info."


def test_being_strict_fails_a_warning() -> None:
    report = af.validate(GOLDENS / "alpha_pattern_reordered")

    assert plain(adapter_lines(report, 80)).startswith("ok")
    assert plain(adapter_lines(report, 80, strict=True)).startswith("FAIL")


def test_what_was_not_looked_at_is_said_once() -> None:
    reports = [
        Report(name, None, "header", (), (Unchecked("tensor values", "pass --data"), Unchecked(name, "why")), Summary())
        for name in ("a", "b")
    ]

    text = " ".join(_set(*reports).split())

    assert "Not checked: tensor values (pass --data); a (why; in 1 adapter); b (why; in 1 adapter)." in text


def test_no_adapter_no_report() -> None:
    assert _set() == ""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _write(stream: io.StringIO) -> str:
    paper_for(stream).write(adapter_lines(af.validate(GOLDENS / "compiled_base"), 80))
    return stream.getvalue()


def test_a_terminal_gets_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    assert "\x1b[1;31mFAIL\x1b[0m" in _write(_Terminal())


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_none_gets_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)

    assert "\x1b" not in _write(_Terminal())


def test_a_pipe_gets_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert "\x1b" not in _write(io.StringIO())


def test_hostile_markup_stays_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = _Terminal()

    paper_for(stream).write(adapter_lines(Report("[bold red]x[/] :smile: \x1b[5m", None, "header"), 80))

    assert "[bold red]x[/] :smile: \\x1b[5m" in stream.getvalue()


@pytest.mark.parametrize(("declared", "width"), [("72", 72), ("7", 40), ("", 100), ("wide", 100)])
def test_columns_decides_the_width_of_a_pipe(monkeypatch: pytest.MonkeyPatch, declared: str, width: int) -> None:
    monkeypatch.setenv("COLUMNS", declared)

    assert paper_for(io.StringIO()).width == width


def test_a_narrow_encoding_is_no_obstacle(tmp_path: Path) -> None:
    adapter = tmp_path / "Größe模"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}

    done = subprocess.run(
        [sys.executable, "-m", "adapter_format", "validate", str(adapter)],
        check=False,
        capture_output=True,
        env=environment,
    )

    assert rb"Gr\xf6\xdfe\u6a21" in done.stdout
    assert (done.returncode, done.stderr) == (1, b"")
