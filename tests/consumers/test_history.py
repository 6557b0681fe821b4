"""Which release knows what, and which can have written a config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapter_format.consumers.history import (
    Span,
    fields_at,
    is_within,
    methods_at,
    newest,
    releases,
    span_words,
    written_by,
)

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
OLD = sorted(path.parent for path in (GOLDEN / "releases").glob("*/*/adapter_config.json"))
NEW = sorted(path.parent for path in (GOLDEN / "methods").glob("*/adapter_config.json"))


def test_releases_are_in_order() -> None:
    numbers = [tuple(map(int, release.split("."))) for release in releases()]
    assert numbers == sorted(numbers)
    assert (releases()[0], newest()) == ("0.1.0", "0.21.2")


@pytest.mark.parametrize(
    ("release", "method", "known"),
    [
        ("0.1.0", "LORA", True),
        ("0.1.0", "ADALORA", False),
        ("0.3.0", "ADALORA", True),
        ("0.13.2", "BONE", False),
        ("0.14.0", "BONE", True),
        ("0.18.1", "BONE", True),
        ("0.19.0", "BONE", False),
        ("0.20.0", "SHADOW", False),
        ("0.21.0", "SHADOW", True),
    ],
)
def test_a_method_is_known_from_its_first_to_its_last_release(release: str, method: str, known: bool) -> None:
    assert (method in methods_at(release)) is known


@pytest.mark.parametrize(
    ("release", "method", "field", "known"),
    [
        ("0.8.2", "LORA", "use_dora", False),
        ("0.9.0", "LORA", "use_dora", True),
        ("0.2.0", "LORA", "merge_weights", True),
        ("0.3.0", "LORA", "merge_weights", False),
        ("0.14.0", "OFT", "rank_pattern", True),
        ("0.15.0", "OFT", "rank_pattern", False),
        ("0.17.1", "IA3", "peft_version", False),
        ("0.18.0", "IA3", "peft_version", True),
        ("0.1.0", "IA3", "peft_type", False),
        ("0.4.0", "IA3", "auto_mapping", True),
        ("0.4.0", "NO_SUCH", "peft_type", False),
    ],
)
def test_a_field_is_known_from_its_first_to_its_last_release(
    release: str, method: str, field: str, known: bool
) -> None:
    assert (field in fields_at(method, release)) is known


def test_limits_are_inclusive_and_optional() -> None:
    assert is_within("0.9.0", {})
    assert is_within("0.9.0", {"since": "0.9.0", "until": "0.9.0"})
    assert not is_within("0.10.0", {"until": "0.9.0"})
    assert not is_within("0.8.2", {"since": "0.9.0"})


@pytest.mark.parametrize("folder", OLD, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_the_writer_of_an_old_adapter_is_told_from_its_config(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    release = next(part for part in folder.parts if part in releases())

    found = written_by(config)

    assert found is not None
    assert is_within(release, {"since": found.first, "until": found.last})


@pytest.mark.parametrize("folder", NEW, ids=lambda folder: folder.name)
def test_a_stamp_names_the_writer(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert written_by(config) == Span("0.21.2", "0.21.2")


def test_fields_of_releases_that_differ_tell_them_apart() -> None:
    fields = {name: None for name in fields_at("LORA", "0.13.2") if name != "runtime_config"}
    config = {**fields, "peft_type": "LORA"}

    assert written_by(config) == Span("0.10.0", "0.13.2")
    assert written_by({**config, "invented": 1}) == Span("0.10.0", "0.13.2")
    assert written_by({**config, "exclude_modules": None}) is None


@pytest.mark.parametrize(
    ("stamp", "found"),
    [
        ("0.18.0", Span("0.18.0", "0.18.0")),
        ("0.19.1.dev0@abc", Span("0.19.1", "0.19.1")),
        ("0.99.0", None),
        ("", None),
    ],
)
def test_a_stamp_is_read_with_its_additions(stamp: str, found: Span | None) -> None:
    assert written_by({"peft_type": "LORA", "peft_version": stamp}) == found


@pytest.mark.parametrize("method", [None, 1, [], "", "lora", "NO_SUCH"])
def test_a_config_of_no_method_has_no_writer(method: object) -> None:
    assert written_by({"peft_type": method}) is None


def test_ranges_in_words() -> None:
    assert span_words([Span("0.4.0", "0.5.0"), Span("0.14.0", "0.14.0")]) == "0.4.0 to 0.5.0, 0.14.0"
