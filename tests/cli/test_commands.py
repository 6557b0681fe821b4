"""The commands beside `validate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import adapter_format
from adapter_format.cli import main
from adapter_format.packaged import load_schema, schema_names
from adapter_format.rules.registry import all_rules

GOLDENS = Path(__file__).parents[1] / "golden" / "lora"

Captured = pytest.CaptureFixture[str]


def _text(capsys: Captured, *arguments: object) -> str:
    assert main([*map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def _json(capsys: Captured, *arguments: object) -> Any:
    return json.loads(_text(capsys, *arguments, "--format", "json"))


def test_the_version(capsys: Captured) -> None:
    assert _text(capsys, "--version") == f"adapter-format {adapter_format.__version__}\n"


@pytest.mark.parametrize("command", ["validate", "inspect", "explain", "rules", "size", "schema"])
def test_every_command_has_help(capsys: Captured, command: str) -> None:
    assert command in _text(capsys, "--help")
    assert _text(capsys, command, "--help").startswith(f"usage: adapter-format {command}")


def test_no_command_is_bad_usage(capsys: Captured) -> None:
    assert main([]) == 2
    assert "validate" in capsys.readouterr().out


def test_an_unknown_command_is_bad_usage(capsys: Captured) -> None:
    assert main(["valdate"]) == 2
    assert "invalid choice: 'valdate'" in capsys.readouterr().err


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.id)
def test_explain_tells_all_of_a_rule(capsys: Captured, rule: Any) -> None:
    text = " ".join(_text(capsys, "explain", rule.id).split())
    for part in (rule.slug, rule.severity, rule.clause, rule.title, rule.why, rule.mend, rule.note, *rule.quotes):
        assert " ".join(part.split()) in text

    entry = _json(capsys, "explain", rule.slug)
    assert (entry["id"], entry["why"], entry["quotes"]) == (rule.id, rule.why, list(rule.quotes))


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("AF306", ['"use_dora": true'], ['"use_dora": false']),
        ("AF208", ['"peft_type": "LORA"'], ["(no peft_type)"]),
        (
            "AF301",
            ["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"],
            ["model.layers.0.self_attn.q_proj.lora_A.weight"],
        ),
        (
            "AF402",
            ["base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight  F32 [8, 4]"],
            ["base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight  F32 [8, 3]"],
        ),
    ],
)
def test_explain_shows_a_minimal_pair(capsys: Captured, rule: str, good: list[str], bad: list[str]) -> None:
    example = _json(capsys, "explain", rule)["example"]

    assert example["good"][: len(good)] == good
    assert example["bad"][: len(bad)] == bad


def test_explain_finds_what_a_loader_prints(capsys: Captured) -> None:
    assert '"Found missing adapter keys while loading the checkpoint"' in _text(capsys, "explain", "AF301")


def test_explain_suggests(capsys: Captured) -> None:
    assert main(["explain", "key-prefix-mising"]) == 2
    assert "Did you mean key-prefix-missing?" in capsys.readouterr().err


def test_rules_lists_all_one_a_line_in_a_pipe(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    _, *lines, _ = _text(capsys, "rules").splitlines()

    assert [line.split()[:2] for line in lines] == [[rule.id, rule.slug] for rule in all_rules()]
    assert all(line.endswith(rule.title) for line, rule in zip(lines, all_rules(), strict=True))


def test_rules_as_json(capsys: Captured) -> None:
    assert [rule["id"] for rule in _json(capsys, "rules")["rules"]] == [rule.id for rule in all_rules()]


@pytest.mark.parametrize("name", schema_names())
def test_schema_prints_a_packaged_file(capsys: Captured, name: str) -> None:
    assert json.loads(_text(capsys, "schema", name)) == load_schema(name)


def test_schema_lists_names(capsys: Captured) -> None:
    assert _text(capsys, "schema").split() == list(schema_names())


@pytest.mark.parametrize("name", ["nope", "../pyproject", "", "\x1b[2J"])
def test_schema_refuses_other_names(capsys: Captured, name: str) -> None:
    assert main(["schema", name]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err


SEVEN_B = ["size", "--rank", 16, "--dtype", "F16"]
QKVO = ["--layers", 32, *(part for name in "qkvo" for part in ("--module", f"{name}=4096x4096"))]


@pytest.mark.parametrize("modules", [QKVO, ["--modules", 128, "--d-in", 4096, "--d-out", 4096]])
def test_the_size_of_the_usual_7b_adapter(capsys: Captured, modules: list[object]) -> None:
    text = _text(capsys, *SEVEN_B, *modules)

    assert "16,777,216" in text
    assert "33,554,432 (33.6 MB)" in text
    entry = _json(capsys, *SEVEN_B, *modules)
    assert (entry["parameters"], entry["bytes"]) == (16_777_216, 33_554_432)


def test_size_against_the_base(capsys: Captured) -> None:
    entry = _json(capsys, *SEVEN_B, *QKVO, "--base-parameters", "6.74e9")
    assert (entry["base_bytes"], entry["times_smaller"]) == (13_480_000_000, 401.7)

    quantized = _json(capsys, *SEVEN_B, *QKVO, "--base-parameters", "6.74e9", "--base-dtype", "u8")
    assert quantized["base_bytes"] == 6_740_000_000


def test_size_counts_further_roles(capsys: Captured) -> None:
    arguments = ["size", "--rank", 2, "--module", "q=3x5", "--role", "lora_magnitude_vector", "--role", "lora_B_bias"]

    # A 2x3, B 5x2, magnitude 5, bias 5.
    assert _json(capsys, *arguments)["parameters"] == 6 + 10 + 5 + 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "--rank"),
        (["--rank", "8"], "Say what is adapted"),
        (["--rank", "0", "--module", "q=3x4"], "'0' is no number from 1"),
        (["--rank", "9" * 5000, "--module", "q=3x4"], "is no number from 1"),
        (["--rank", "8", "--module", "q=34"], "'q=34' is not NAME=INxOUT"),
        (["--rank", "8", "--module", "q=3x-4"], "'-4' is no number from 1"),
        (["--rank", "8", "--module", "q=3x4", "--modules", "3"], "not both"),
        (["--rank", "8", "--modules", "3", "--d-in", "4"], "Say what is adapted"),
        (["--rank", "8", "--module", "q=3x4", "--dtype", "half"], "The element type 'HALF' is none of"),
        (["--rank", "8", "--module", "q=3x4", "--base-dtype", "half"], "The element type 'HALF' is none of"),
        (["--rank", "8", "--module", "q=3x4", "--role", "lora_C"], "has no role 'lora_C'"),
        (["--rank", "8", "--module", "q=3x4", "--method", "NOPE"], "No layout is known for the method 'NOPE'"),
        (["--rank", "8", "--module", "q=3x4", "--method", "lora"], "did you mean 'LORA'?"),
        (["--rank", "8", "--module", "q=3x4", "--method", "OFT"], "OFT takes no rank; its sizes depend on"),
        (["--rank", "8", "--module", "q=3x4", "--set", "use_rs_lora=true"], "did you mean `use_rslora`?"),
        (["--module", "q=8x8", "--method", "C3A", "--set", "block_size=-2"], "`block_size` is -2, expected an integer"),
        (
            ["--module", "q=8x8", "--method", "C3A", "--set", "block_size=abc"],
            '`block_size` is "abc", expected an integer',
        ),
        (["--method", "PROMPT_TUNING", "--set", "num_virtual_tokens=-20"], "`num_virtual_tokens` is -20, expected"),
        (
            ["--method", "PREFIX_TUNING", "--set", "num_virtual_tokens=20"],
            "depends on config fields that are not set: `num_layers`, `token_dim`.",
        ),
        (["--rank", "8", "--module", "q=3x4", "--layers", "1000000000000"], "are more than the 1,000,000"),
        (["--rank", "8", "--module", "q=3x4", "--base-parameters", "inf"], "'inf' is no number from 1 to 1e18"),
        (["--rank", "8", "--module", "q=3x4", "--base-parameters", "many"], "'many' is no number from 1 to 1e18"),
    ],
)
def test_size_refuses_in_one_sentence(capsys: Captured, arguments: list[str], sentence: str) -> None:
    assert main(["size", *arguments]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert sentence in err


def test_inspect_shows_the_whole(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = _text(capsys, "inspect", GOLDENS / "embeddings_saved_on_demand")

    assert "LORA (LoRA)" in text
    assert "2 = alpha / rank" in text
    assert "4,512 = 672 by the formula + 3,840 stored embedding" in text
    assert "model.layers.*.self_attn.q_proj" in text
    assert "2 infos; `adapter-format validate` says which." in text


@pytest.mark.parametrize(
    ("golden", "columns"),
    [
        (path.parent.name, columns)
        for index, path in enumerate(sorted(GOLDENS.glob("*/adapter_config.json")))
        for columns in ([80] if index % 8 else [80, 120])
    ],
)
def test_inspect_works_on_every_golden(
    capsys: Captured, golden: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))

    text = _text(capsys, "inspect", GOLDENS / golden)
    assert all(len(line) <= columns or len(line.split()) <= 2 for line in text.splitlines()[1:])
    entry = _json(capsys, "inspect", GOLDENS / golden)
    rows, beside = entry["modules"], entry["companions"]
    assert sum(row["parameters"] for row in rows + beside) == (entry["summary"]["parameters"] or 0)


def test_inspect_needs_an_adapter(capsys: Captured, tmp_path: Path) -> None:
    assert main(["inspect", str(tmp_path)]) == 3
    assert main(["inspect", str(tmp_path / "nope")]) == 2
    assert capsys.readouterr().err.count("\n") == 2
