"""What is said where tensors and settings contradict each other: the field, the value that would fit, and no guess."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import adapter_format as af

if TYPE_CHECKING:
    from adapter_format.findings import Finding

METHODS = Path(__file__).parent / "golden" / "methods"


def findings(folder: str, path: Path, changes: dict[str, Any], *without: str) -> list[Finding]:
    """Errors and warnings of a golden under another config."""
    copy = path / folder
    shutil.copytree(METHODS / folder, copy)
    config = {**json.loads((copy / "adapter_config.json").read_text(encoding="utf-8")), **changes}
    kept = {name: value for name, value in config.items() if name not in without}
    (copy / "adapter_config.json").write_text(json.dumps(kept), encoding="utf-8")
    return [found for found in af.validate(copy).findings if found.severity != "info"]


@pytest.mark.parametrize(
    ("folder", "changes", "rule", "mend"),
    [
        ("oft_block_size", {"oft_block_size": 16}, "AF414", "Set `oft_block_size` to 4."),
        ("oft_block_size", {"block_share": True}, "AF414", "Set `block_share` to false."),
        ("vera_saved", {"r": 999}, "AF401", "Set `r` to 2."),
        ("adalora_linear", {"init_r": 1}, "AF401", "Set `init_r` (or the entry of `rank_pattern`) so that it gives 3."),
        # The number of entries is r(d_in + d_out): its divisors are all ranks that it could have.
        ("shira_linear", {"r": 9}, "AF414", "Set `r` to what the adapter was trained with."),
        ("prompt_tuning_causal", {"num_virtual_tokens": 99}, "AF414", "Set `num_virtual_tokens` to 3."),
        ("loha_linear", {"alpha": 0}, "AF216", "Set `alpha` to the value used in training."),
    ],
)
def test_the_mend_names_field_and_value(
    tmp_path: Path, folder: str, changes: dict[str, Any], rule: str, mend: str
) -> None:
    (found,) = findings(folder, tmp_path, changes)

    assert (found.rule, found.mend) == (rule, mend)


def test_following_the_mend_ends_the_matter(tmp_path: Path) -> None:
    assert findings("oft_block_size", tmp_path / "a", {"oft_block_size": 16})
    assert not findings("oft_block_size", tmp_path / "b", {"oft_block_size": 4})


def test_a_default_is_not_said_to_stand_in_the_config(tmp_path: Path) -> None:
    (found,) = findings("vera_saved", tmp_path, {}, "r")

    assert "stored with rank 2, but PEFT's default is 256" in found.message


def test_a_lost_method_is_told_by_the_keys(tmp_path: Path) -> None:
    (found,) = findings("vera_saved", tmp_path, {}, "peft_type")

    assert found.rule == "AF208"
    assert found.mend.startswith('Add `"peft_type": "VERA"`')


def test_a_regex_that_is_too_long_is_found_and_nothing_is_guessed_from_it(tmp_path: Path) -> None:
    endless = ".*1|" + "|".join(f".*layers.{number}.mlp.down_proj" for number in range(400))

    (found,) = findings("ia3_feedforward_regex", tmp_path, {"feedforward_modules": endless})

    assert (found.rule, found.places[0].pointer) == ("AF326", "/feedforward_modules")


@pytest.mark.parametrize("pattern", [5, 1.5, True, {}])
def test_layers_by_another_type_are_a_finding(tmp_path: Path, pattern: object) -> None:
    changes = {"layers_to_transform": [0], "layers_pattern": pattern, "target_modules": ["q"]}

    assert "AF211" in {found.rule for found in findings("oft_block_size", tmp_path, changes)}


def test_a_count_beyond_any_file_is_refused_and_not_planned() -> None:
    with pytest.raises(af.UsageError, match="can't adapt"):
        af.expected_size([(8, 8)], peft_type="PEANUT", config={"depth": 2**23})
