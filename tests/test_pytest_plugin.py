"""The fixtures that the package gives to other projects."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import adapter_format as af
from adapter_format.layouts import current_layout_names
from adapter_format.testing.pytest_plugin import METHODS


def test_there_is_a_sound_adapter_of_each_method(adapter_of_each_method: Path) -> None:
    report = af.validate(adapter_of_each_method, data=True)

    assert [finding for finding in report.findings if finding.severity != "info"] == []
    assert report.summary.tensors


def test_a_directory_is_made_once(adapter_directory: Callable[[str], Path]) -> None:
    assert adapter_directory("LORA") is adapter_directory("LORA")
    assert af.load(adapter_directory("LORA")).config.peft_type == "LORA"


def test_every_layout_has_an_adapter() -> None:
    assert current_layout_names() == METHODS


def test_without_hypothesis_one_sentence_says_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; from adapter_format.testing import sample_adapter"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr.splitlines()[-1] == (
        "adapter_format.errors.UsageError: `adapter_format.testing.sample_adapter` needs Hypothesis: "
        "install `adapter-format[testing]`."
    )
