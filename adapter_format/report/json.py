"""The JSON report, after `schemas/report.schema.json`.

Its text is ASCII: whatever a name holds, lone surrogates of an undecodable file name included, is escaped as JSON
escapes it, and no byte of an adapter reaches a terminal or a log unescaped.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from adapter_format._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from adapter_format.findings import Finding, Report
    from adapter_format.outcomes import Outcome
    from adapter_format.selection import Judged

SCHEMA_ID = "https://adapter-format.github.io/schemas/1.0/report.schema.json"
SPEC_VERSION = "1.0"
TOOL = {"name": "adapter-format", "version": __version__}
RULE_PAGE = "https://github.com/adapter-format/adapter-format/blob/main/spec/rules/{}.md"
FURTHER_PLACES = 5
"""How many places of a folded finding are listed behind the first."""


def render_json(judged: Iterable[Judged], *, fold: bool = True) -> Iterator[str]:
    """Yield the text of one JSON document, piece by piece as reports finish.

    Args:
        judged: the adapters, each with the number of findings that the caller ignores.
        fold: whether to list only the first places of a finding; its count tells of all.
    """
    head = {
        "schema": SCHEMA_ID,
        "tool": TOOL,
        "spec_version": SPEC_VERSION,
    }
    yield dump(head)[: -len("\n}")] + ',\n  "adapters": ['
    mark = "\n"
    for report, ignored in judged:
        text = dump(report_to_dict(report, fold=fold, ignored=ignored)).replace("\n", "\n    ")
        yield f"{mark}    {text}"
        mark = ",\n"
    yield "\n  ]\n}\n" if mark != "\n" else "]\n}\n"


def render_jsonl(judged: Iterable[Judged], *, fold: bool = True) -> Iterator[str]:
    """Yield one line of JSON an adapter, as reports finish; arguments as for `render_json`."""
    for report, ignored in judged:
        entry = report_to_dict(report, fold=fold, ignored=ignored)
        yield json.dumps(entry, separators=(",", ":"), allow_nan=False) + "\n"


def dump(value: object) -> str:
    """Write a value as this project writes JSON for people: ASCII, two spaces, in the given order."""
    return json.dumps(value, indent=2, allow_nan=False)


def report_to_dict(report: Report, *, fold: bool = True, ignored: int = 0) -> dict[str, Any]:
    """Return one adapter's entry of the report.

    Args:
        report: the verdict.
        fold: whether to list only the first places of a finding.
        ignored: number of findings that were made but are left out.
    """
    summary = report.summary
    return {
        "path": report.path,
        "ok": report.ok,
        "peft_type": report.peft_type,
        "level": report.level,
        "summary": {
            "errors": report.number("error"),
            "warnings": report.number("warning"),
            "infos": report.number("info"),
            "ignored": ignored,
            "tensors": summary.tensors,
            "parameters": summary.parameters,
            "bytes": summary.bytes,
            "expected_bytes": summary.expected_bytes,
            "ranks": list(summary.ranks),
            "dtypes": list(summary.dtypes),
            "modules": summary.modules,
            "fingerprint": summary.fingerprint,
        },
        "consumers": [_outcome(outcome) for outcome in report.consumers],
        "findings": [_finding(finding, fold=fold) for finding in report.findings],
        "unchecked": [item._asdict() for item in report.unchecked],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.name,
        "version": outcome.version,
        "outcome": outcome.outcome,
        "reasons": [
            {
                "outcome": reason.outcome,
                "kind": reason.kind,
                "message": reason.message,
                "mend": reason.mend or None,
                "location": reason.location._asdict(),
            }
            for reason in outcome.reasons
        ],
    }


def _finding(finding: Finding, *, fold: bool) -> dict[str, Any]:
    further = finding.places[1 : 1 + FURTHER_PLACES] if fold else finding.places[1:]
    return {
        "rule": finding.rule,
        "name": finding.name,
        "severity": finding.severity,
        "message": finding.message,
        "mend": finding.mend,
        "location": finding.location._asdict(),
        "places": [place._asdict() for place in further],
        "count": finding.occurrences,
        "fixable": finding.fixable,
        "peft": finding.peft,
        "help": RULE_PAGE.format(finding.rule),
    }
