"""What is said of keys under another spelling: one cause is one finding, and following its mend ends the matter."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import adapter_format as af

if TYPE_CHECKING:
    from adapter_format.findings import Finding

METHODS = Path(__file__).parent / "golden" / "methods"


def findings(folder: str, path: Path, pattern: str, replacement: str, **changes: Any) -> list[Finding]:
    """Errors and warnings of a golden whose keys were changed by a regex, and its config by fields."""
    copy = path / folder
    shutil.copytree(METHODS / folder, copy)
    config = json.loads((copy / "adapter_config.json").read_text(encoding="utf-8"))
    (copy / "adapter_config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    weights = copy / "adapter_model.safetensors"
    data = weights.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = {re.sub(pattern, replacement, key): entry for key, entry in json.loads(data[8 : 8 + size]).items()}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    weights.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    return [found for found in af.validate(copy).findings if found.severity != "info"]


@pytest.mark.parametrize(
    ("folder", "pattern", "replacement", "rule", "mend"),
    [
        ("vera_saved", r"^base_model\.(vera_[AB])$", r"\1", "AF301", "Put `base_model.` in front of each key;"),
        ("vera_saved", r"^base_model\.model\.", "", "AF301", "Put `base_model.model.` in front of each key;"),
        (
            "vera_saved",
            r"^base_model\.model\.",
            "base_model.",
            "AF301",
            "Replace `base_model.` by `base_model.model.` in",
        ),
        (
            "vera_saved",
            r"^base_model\.(vera_[AB])$",
            r"base_model.model.\1",
            "AF302",
            "Replace `base_model.model.` by `base_model.` in each key;",
        ),
        (
            "lokr_factored",
            "^base",
            "base_model.model.base",
            "AF302",
            "Remove `base_model.model.` from the front of each key;",
        ),
        (
            "prompt_tuning_causal",
            "^prompt",
            "base_model.model.prompt",
            "AF302",
            "Remove `base_model.model.` from the front",
        ),
        (
            "prefix_tuning_gpt2",
            "^prompt",
            "base_model.prompt",
            "AF302",
            "Remove `base_model.` from the front of each key;",
        ),
    ],
)
def test_a_mend_names_the_prefix_of_the_keys_in_question(
    folder: str, pattern: str, replacement: str, rule: str, mend: str, tmp_path: Path
) -> None:
    (found,) = findings(folder, tmp_path, pattern, replacement)

    assert found.rule == rule
    assert found.mend.startswith(mend)


def test_two_prefixes_that_are_missing_are_both_named(tmp_path: Path) -> None:
    (found,) = findings("vera_saved", tmp_path, r"^base_model\.(model\.)?", "")

    assert "do not start with `base_model.model.` or `base_model.`;" in found.message
    assert "Put `base_model.model.` in front of keys like 'lin0." in found.mend
    assert "Put `base_model.` in front of keys like 'vera_A'" in found.mend


@pytest.mark.parametrize(
    ("pattern", "replacement", "rule", "mend"),
    [
        (r"\.default\.", ".", "AF334", "Rename the keys;"),
        (r"shadow_backbone\.default\.", "shadow_backbone.", "AF334", "Rename the keys;"),
        (r"\.default\.", ".mine.", "AF304", "Rename the keys, or save with"),
    ],
)
def test_a_name_that_is_stored_is_told_from_a_path(
    pattern: str, replacement: str, rule: str, mend: str, tmp_path: Path
) -> None:
    (found,) = findings("shadow_causal", tmp_path, pattern, replacement)

    assert found.rule == rule
    assert found.mend.startswith(mend)
    assert ".default." in found.message.rpartition("should be ")[2]


def test_a_name_in_front_of_that_of_a_group_is_no_group(tmp_path: Path) -> None:
    (found,) = findings("frod_saved", tmp_path, r"frod_V\.", "frod_V.mine.")

    assert found.rule == "AF304"
    assert found.message.endswith("'base_model.frod_V.mine.lin0' should be 'base_model.frod_V.lin0'.")


@pytest.mark.parametrize("folder", ["prompt_tuning_causal", "prefix_tuning_gpt2", "cartridge_frozen"])
def test_the_prompt_of_a_live_model_is_no_weight_of_the_base(folder: str, tmp_path: Path) -> None:
    (found,) = findings(folder, tmp_path, "^prompt_embeddings$", "prompt_encoder.default.embedding.weight")

    assert (found.rule, found.peft) == ("AF321", "raises")
    assert "what PEFT makes of it when it saves, `prompt_embeddings`" in found.message


@pytest.mark.parametrize(
    ("folder", "pattern"), [("adalora_linear", "(lora_[AB])$"), ("ia3_linear", "(ia3_l)$"), ("hra_linear", "(hra_u)$")]
)
def test_weight_behind_what_is_no_embedding_is_a_role_misspelt(folder: str, pattern: str, tmp_path: Path) -> None:
    found = {one.rule for one in findings(folder, tmp_path, pattern, r"\1.weight")}

    assert found - {one.rule for one in af.validate(METHODS / folder).findings} == {"AF334"}


@pytest.mark.parametrize(
    ("folder", "method", "own", "fields"),
    [
        ("adalora_linear", "LORA", "ADALORA", {"/init_r", "/target_r", "/tinit"}),
        ("vera_saved", "LORA", "VERA", {"/vera_dropout", "/save_projection"}),
        ("lokr_factored", "LOHA", "LOKR", {"/decompose_both", "/decompose_factor"}),
    ],
)
def test_the_fields_of_the_method_that_the_keys_are_of_are_one_finding(
    folder: str, method: str, own: str, fields: set[str], tmp_path: Path
) -> None:
    (found,) = [one for one in findings(folder, tmp_path, "^$", "", peft_type=method) if one.rule == "AF213"]

    assert fields <= {place.pointer for place in found.places}
    assert f"Keys are spelled as {own} spells them" in found.message
    assert found.mend.startswith(f"Set `peft_type` to {own} ")


def test_a_field_of_another_method_is_known_to_peft(tmp_path: Path) -> None:
    (found,) = findings("lokr_factored", tmp_path, "^$", "", init_r=3)

    assert found.message == "LOKR has no field `init_r`, ADALORA has it; it is dropped."
    assert "Did you mean" not in found.mend


@pytest.mark.parametrize("folder", ["vera_saved", "frod_saved", "pvera_saved", "supertuning_linear"])
def test_projections_that_are_stored_but_not_called_for_are_one_finding(folder: str, tmp_path: Path) -> None:
    switch = "save_precomputed_indices" if folder.startswith("super") else "save_projection"
    (found,) = findings(folder, tmp_path, "^$", "", **{switch: False})

    assert (found.rule, found.severity) == ("AF306", "warning")
    assert found.mend == f"Set `{switch}` to true, so that those of the file are read."


@pytest.mark.parametrize(("folder", "names"), [("vera_unsaved", ["vera_A", "vera_B"]), ("frod_unsaved", ["frod_V"])])
def test_projections_that_are_called_for_but_not_stored_are_one_finding(
    folder: str, names: list[str], tmp_path: Path
) -> None:
    (found,) = findings(folder, tmp_path, "^$", "", save_projection=True)

    assert (found.rule, found.severity, found.peft) == ("AF307", "error", "raises")
    assert all(f"'base_model.{name}" in found.message for name in names)


def test_peft_refuses_vera_without_its_first_projection_alone(tmp_path: Path) -> None:
    said = {
        name: [
            (one.rule, one.severity, one.peft) for one in findings("vera_saved", tmp_path / name, f"{name}$", "other")
        ]
        for name in ("vera_A", "vera_B")
    }

    assert ("AF307", "error", "raises") in said["vera_A"]
    assert ("AF307", "warning", "warns") in said["vera_B"]
