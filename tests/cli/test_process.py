"""The command as a process: pipes, signals, closed streams, and what it imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parents[1] / "golden" / "lora"
COMMAND = [sys.executable, "-m", "adapter_format"]

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, devices and shells of POSIX")


def _loaded(*arguments: str) -> set[str]:
    code = (
        "import io, sys, contextlib\n"
        "from adapter_format.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    main({list(arguments)!r})\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("report_format", ["text", "json", "jsonl"])
def test_a_clean_verdict_imports_nothing_heavy(report_format: str) -> None:
    loaded = _loaded("validate", str(GOLDENS / "all_linear"), "--format", report_format)

    heavy = {"numpy", "jsonschema", "rich", "torch", "safetensors", "hypothesis", "concurrent.futures", "secrets"}
    assert not heavy & loaded


@pytest.mark.parametrize(
    "arguments",
    [("inspect", str(GOLDENS / "all_linear")), ("rules",), ("schema",), ("size", "--rank", "8", "--module", "q=4x4")],
)
def test_the_other_commands_are_light_too(arguments: tuple[str, ...]) -> None:
    assert not {"numpy", "jsonschema", "rich", "torch"} & _loaded(*arguments)


@POSIX
@pytest.mark.parametrize("arguments", [["validate", str(GOLDENS)], ["validate", str(GOLDENS / "bf16")], ["rules"]])
def test_a_closed_pipe_is_no_pass_and_ends_without_a_word(arguments: list[str]) -> None:
    assert _into_a_closed_pipe(*arguments) == (2, b"")


@POSIX
def test_help_into_a_closed_pipe_ends_without_a_word() -> None:
    _, said = _into_a_closed_pipe("--help")

    assert said == b""


def _into_a_closed_pipe(*arguments: str) -> tuple[int, bytes]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([*COMMAND, *arguments], check=False, stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@POSIX
def test_a_full_disk_is_one_sentence() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, "rules"], check=False, stdout=full, stderr=subprocess.PIPE, text=True)

    assert done.returncode == 2
    assert done.stderr == "adapter-format: The operating system refused: No space left on device.\n"


@POSIX
@pytest.mark.parametrize(
    ("closed", "said"),
    [(">&-", "adapter-format: Standard output is closed: there is nowhere to write the report to.\n"), ("2>&-", "")],
)
def test_closed_streams_are_no_accident(closed: str, said: str) -> None:
    script = f'"$0" -m adapter_format validate no/such/path {closed}'
    done = subprocess.run(["sh", "-c", script, sys.executable], check=False, capture_output=True, text=True)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@POSIX
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_is_one_line(tmp_path: Path, jobs: str) -> None:
    slow = _slow_adapter(tmp_path)
    arguments = [*COMMAND, "validate", slow, slow, "--data", "--jobs", jobs]
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert (process.returncode, out, err) == (130, "", "adapter-format: Interrupted.\n")


def _slow_adapter(folder: Path) -> str:
    """Make an adapter of a sparse half terabyte."""
    rank, width = 16, 2**20
    entries, end = [], 0
    for layer in range(4096):
        for role, shape in (("A", [rank, width]), ("B", [width, rank])):
            start, end = end, end + rank * width * 4
            entries.append(
                f'"base_model.model.layers.{layer}.up_proj.lora_{role}.weight":'
                f'{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}'
            )
    header = f"{{{','.join(entries)}}}".encode()
    header += b" " * (-len(header) % 8)
    with open(folder / "adapter_model.safetensors", "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
    (folder / "adapter_config.json").write_text(
        f'{{"peft_type": "LORA", "r": {rank}, "lora_alpha": 16, "target_modules": ["up_proj"]}}', encoding="utf-8"
    )
    return str(folder)


def test_a_huge_argument_is_one_sentence() -> None:
    done = subprocess.run([*COMMAND, "validate", "a" * 100_000], check=False, capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 400


@POSIX
def test_an_undecodable_path_is_shown_and_survives_json(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff\x1b[31m"
    os.mkdir(folder)
    (Path(os.fsdecode(folder)) / "adapter_config.json").write_bytes((GOLDENS / "bf16/adapter_config.json").read_bytes())

    text = subprocess.run([*COMMAND, "validate", folder], check=False, capture_output=True)
    document = subprocess.run([*COMMAND, "validate", folder, "--format", "json"], check=False, capture_output=True)

    assert (text.returncode, text.stderr) == (document.returncode, document.stderr) == (1, b"")
    assert rb"\udcff\x1b[31m" in text.stdout
    assert b"\x1b" not in text.stdout
    assert rb"\udcff\u001b[31m" in document.stdout
