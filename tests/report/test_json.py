"""The JSON report against its schema and its contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapter_format as af
from adapter_format.findings import SEVERITIES, Finding, Location, Report, Summary, Unchecked
from adapter_format.packaged import load_schema
from adapter_format.report.json import SCHEMA_ID, render_json, render_jsonl, report_to_dict
from adapter_format.selection import Judged

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDENS = Path(__file__).parents[1] / "golden" / "lora"
SCHEMA = load_schema("report")
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

ANY_TEXT = st.text(st.characters(), max_size=20)  # surrogates included
COUNTS = st.none() | st.integers(0, 2**70)
LOCATIONS = st.builds(
    Location,
    file=st.none() | ANY_TEXT,
    tensor=st.none() | ANY_TEXT,
    pointer=st.none() | ANY_TEXT,
    offset=st.none() | st.integers(0, 2**63),
    line=st.none() | st.integers(1, 10**6),
)
FINDINGS = st.builds(
    Finding,
    rule=st.from_regex("AF[1-6][0-9]{2}", fullmatch=True),
    name=st.from_regex("[a-z]{1,8}(-[a-z]{1,8}){0,3}", fullmatch=True),
    severity=st.sampled_from(SEVERITIES),
    message=ANY_TEXT.filter(bool),
    mend=ANY_TEXT.filter(bool),
    places=st.lists(LOCATIONS, min_size=1, max_size=9).map(tuple),
    occurrences=st.integers(1, 10**6),
    peft=st.sampled_from(["raises", "warns", "silent-wrong", "silent-ok", "unknown"]),
    fixable=st.booleans(),
)
REPORTS = st.builds(
    Report,
    path=ANY_TEXT,
    peft_type=st.none() | ANY_TEXT,
    level=st.sampled_from(["header", "data"]),
    findings=st.lists(FINDINGS, max_size=4).map(tuple),
    unchecked=st.lists(st.builds(Unchecked, ANY_TEXT, ANY_TEXT), max_size=3).map(tuple),
    summary=st.builds(
        Summary,
        tensors=COUNTS,
        parameters=COUNTS,
        bytes=COUNTS,
        expected_bytes=COUNTS,
        ranks=st.lists(st.integers(0, 999), unique=True, max_size=3).map(tuple),
        dtypes=st.lists(st.sampled_from(["F32", "BF16", "F8_E4M3"]), unique=True, max_size=3).map(tuple),
        modules=COUNTS,
        fingerprint=st.none() | st.just(f"sha256:{'0' * 64}"),
    ),
)


def _document(judged: list[Judged], **options: Any) -> Any:
    text = "".join(render_json(judged, **options))
    text.encode("ascii")
    return json.loads(text)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    assert SCHEMA["$id"] == SCHEMA_ID


@given(st.lists(st.builds(Judged, REPORTS, st.integers(0, 9)), max_size=3), st.booleans())
def test_every_report_follows_the_schema_and_is_ascii(judged: list[Judged], fold: bool) -> None:
    document = _document(judged, fold=fold)

    VALIDATOR.validate(document)
    assert [entry["path"] for entry in document["adapters"]] == [item.report.path for item in judged]


@given(st.lists(st.builds(Judged, REPORTS, st.integers(0, 9)), max_size=3), st.booleans())
def test_json_lines_hold_the_entries_of_the_document(judged: list[Judged], fold: bool) -> None:
    lines = list(render_jsonl(judged, fold=fold))

    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    assert [json.loads(line) for line in lines] == _document(judged, fold=fold)["adapters"]


@pytest.mark.parametrize("golden", sorted(path.name for path in GOLDENS.iterdir() if path.is_dir()))
def test_reports_on_real_adapters_follow_the_schema(golden: str) -> None:
    VALIDATOR.validate(_document([Judged(af.validate(GOLDENS / golden), 0)]))


def _objects(schema: Any, value: Any) -> Iterator[tuple[set[str], set[str]]]:
    """Pair the properties that the schema names with those that a report has, at every object."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    if isinstance(value, dict):
        if "properties" in schema:
            yield set(schema["properties"]), set(value)
        for name, item in value.items():
            yield from _objects(schema.get("properties", {}).get(name, {}), item)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(schema.get("items", {}), item)


def test_report_and_schema_name_the_same_fields() -> None:
    document = _document([Judged(af.validate(GOLDENS / "compiled_base"), 0)])

    assert all(named == present for named, present in _objects(SCHEMA, document))


def test_the_fields_of_the_contract_are_there() -> None:
    entry = report_to_dict(af.validate(GOLDENS / "compiled_base"), ignored=3)

    assert list(entry) == [
        "path", "ok", "peft_type", "level", "summary", "consumers", "findings", "unchecked",
    ]  # fmt: skip
    assert entry["ok"] is False
    assert entry["peft_type"] == "LORA"
    assert entry["level"] == "header"
    assert entry["consumers"] == []
    # The golden has 2 modules of rank 4 with 10+16 and 16+12 features in F32.
    assert {**entry["summary"], "fingerprint": None} == {
        "errors": 1, "warnings": 0, "infos": 1, "ignored": 3, "tensors": 4, "parameters": 4 * (10 + 16 + 16 + 12),
        "bytes": 16 * (10 + 16 + 16 + 12), "expected_bytes": 16 * (10 + 16 + 16 + 12), "ranks": [4], "dtypes": ["F32"],
        "modules": 2, "fingerprint": None,
    }  # fmt: skip
    first = entry["findings"][0]
    assert (first["rule"], first["name"], first["severity"], first["count"]) == ("AF303", "key-wrapper", "error", 4)
    assert first["help"] == "https://github.com/adapter-format/adapter-format/blob/main/spec/rules/AF303.md"
    assert {"what": "tensor values", "why": "header level; pass --data"} in entry["unchecked"]


def _finding(number: int) -> Finding:
    places = tuple(Location("adapter_model.safetensors", f"key {index}") for index in range(number))
    return Finding("AF301", "key-prefix-missing", "error", "m", "n", places, number, "warns")


@pytest.mark.parametrize(("fold", "listed"), [(True, 5), (False, 191)])
def test_folding_keeps_the_first_places_and_the_count(fold: bool, listed: int) -> None:
    report = Report("p", "LORA", "header", (_finding(192),))

    (entry,) = report_to_dict(report, fold=fold)["findings"]

    assert entry["location"]["tensor"] == "key 0"
    assert [place["tensor"] for place in entry["places"]] == [f"key {index}" for index in range(1, listed + 1)]
    assert entry["count"] == 192
