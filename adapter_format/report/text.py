"""The report for people: a headline an adapter, its findings below, and at the end what was not looked at."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from adapter_format.outcomes import RIGHT
from adapter_format.report.escape import elide
from adapter_format.report.figures import count, figures
from adapter_format.report.page import BLANK, Line, Span, line, wrap
from adapter_format.rules.consumers import CONSUMER_RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter_format.findings import Finding, Location, Report
    from adapter_format.outcomes import Outcome
    from adapter_format.selection import Judged

_VERDICT = 6
_BODY = 10
_SHOWN_PLACES = 3
_SHOWN_UNCHECKED = 5
_LONGEST_NAME = 200

_PEFT = {
    "raises": "PEFT raises",
    "warns": "PEFT only warns",
    "silent-wrong": "PEFT loads it wrong, in silence",
    "silent-ok": "PEFT loads it",
    "unknown": "",
}


class Totals(NamedTuple):
    """What a run has found so far.

    Attributes:
        adapters: number of adapters judged.
        failed: number of those that do not pass.
        findings: number of findings by severity; those that the caller ignores under `ignored`.
        unchecked: how many adapters each thing was not looked at in.
        spaced: whether the last adapter's lines ended with a blank one.
    """

    adapters: int
    failed: int
    findings: Counter[str]
    unchecked: Counter[tuple[str, str]]
    spaced: bool


NOTHING_YET = Totals(0, 0, Counter(), Counter(), spaced=True)


def fails(report: Report, *, strict: bool = False) -> bool:
    """Whether an adapter does not pass: because of an error, or if the caller is strict of a warning."""
    return not report.ok or (strict and report.number("warning") > 0)


def add(totals: Totals, judged: Judged, *, strict: bool = False) -> Totals:
    """Count one more adapter."""
    report, ignored = judged
    findings = Counter[str](finding.severity for finding in report.findings)
    return Totals(
        totals.adapters + 1,
        totals.failed + fails(report, strict=strict),
        totals.findings + findings + Counter(ignored=ignored),
        totals.unchecked + Counter((item.what, item.why) for item in report.unchecked),
        spaced=bool(report.findings),
    )


def adapter_lines(report: Report, width: int, *, fold: bool = True, strict: bool = False) -> Iterator[Line]:
    """Set one adapter: two lines if it is clean, its findings below if not.

    Args:
        report: the verdict.
        width: columns of the page.
        fold: whether to show only the first places of a finding.
        strict: whether a warning is enough to fail.
    """
    verdict = Span("FAIL", "error") if fails(report, strict=strict) else Span("ok", "ok")
    found = _found({severity: report.number(severity) for severity in ("error", "warning", "info")})
    path = Span(elide(report.path, _LONGEST_NAME), "strong")
    yield line(verdict, " " * (_VERDICT - len(verdict.text)), path, f" ({found})" if found else "")
    yield from wrap([Span(figures(report.peft_type, report.summary), "dim")], width, indent=_VERDICT)
    for outcome in report.consumers:
        yield from _outcome_lines(outcome, width)
    for finding in report.findings:
        yield BLANK
        yield from _finding_lines(finding, width, fold=fold)
    if report.findings:
        yield BLANK


def _finding_lines(finding: Finding, width: int, *, fold: bool) -> Iterator[Line]:
    told = finding.severity == "error" and finding.rule not in CONSUMER_RULES
    peft = _PEFT[finding.peft] if told else ""
    yield line(
        "  ",
        Span(finding.severity, finding.severity),
        " " * (_BODY - 2 - len(finding.severity)),
        Span(finding.rule, "strong"),
        f" {finding.name}",
        Span(f"  {peft}", "dim"),
    )
    yield from wrap([finding.message], width, indent=_BODY)
    shown = finding.places[:_SHOWN_PLACES] if fold else finding.places
    texts = [text for text in map(_place, shown) if text]
    rest = finding.occurrences - len(shown)
    if rest > 0 and texts:
        texts.append(f"and {rest:,} more")
    for number, text in enumerate(texts):
        yield from wrap([Span(text, "dim")], width, indent=_BODY + 6, label=_label("at") if number == 0 else "")
    yield from wrap([finding.mend], width, indent=_BODY + 6, label=_label("mend:"))


def _outcome_lines(outcome: Outcome, width: int) -> Iterator[Line]:
    """Set what a consumer does; what it refuses or reads wrong stands among the findings."""
    style = "ok" if outcome.outcome in RIGHT else "warning" if outcome.outcome == "unknown" else "error"
    said: list[Span | str] = [f"{outcome.name} {outcome.version}: ", Span(outcome.outcome, style)]
    open_reasons = [reason for reason in outcome.reasons if reason.outcome not in ("wrong", "rejects")]
    if outcome.outcome in RIGHT | {"unknown"} and open_reasons:
        more = f"; and {len(open_reasons) - 1:,} more" if len(open_reasons) > 1 else ""
        said.append(Span(f" ({elide(open_reasons[0].message, 2 * _LONGEST_NAME).rstrip('.')}{more})", "dim"))
    yield from wrap(said, width, indent=_VERDICT)


def _label(text: str) -> Span:
    return Span(text.ljust(6), "dim")


def _place(place: Location) -> str:
    """Say where a finding is; a tensor's name tells its file."""
    if place.tensor is not None:
        return elide(place.tensor, _LONGEST_NAME)
    if place.file is None:
        return ""
    where = [elide(place.file, _LONGEST_NAME)]
    if place.line is not None:
        where.append(f"line {place.line:,}")
    elif place.offset is not None:
        where.append(f"byte {place.offset:,}")
    if place.pointer:
        where.append(elide(place.pointer, _LONGEST_NAME))
    return ", ".join(where)


def closing_lines(totals: Totals, width: int) -> Iterator[Line]:
    """Set the end of a report: what was not looked at, and the totals."""
    if not totals.adapters:
        return
    if not totals.spaced:
        yield BLANK
    items = [
        f"{elide(what, _LONGEST_NAME)} ({why}{'' if number == totals.adapters else '; in ' + count(number, 'adapter')})"
        for (what, why), number in totals.unchecked.most_common(_SHOWN_UNCHECKED)
    ]
    if len(totals.unchecked) > _SHOWN_UNCHECKED:
        items.append(f"and {len(totals.unchecked) - _SHOWN_UNCHECKED:,} more, which the JSON report lists")
    if items:
        yield from wrap([Span(f"Not checked: {'; '.join(items)}.", "dim")], width)
    passed = totals.adapters - totals.failed
    verdict: list[Span | str] = [Span(f"{passed:,} ok", "ok")] if passed else []
    if totals.failed:
        verdict += [", "] if verdict else []
        verdict.append(Span(f"{totals.failed:,} failed", "error"))
    found = _found(totals.findings)
    yield from wrap(
        [Span(count(totals.adapters, "adapter"), "strong"), ": ", *verdict, f"; {found}." if found else "."], width
    )


def _found(numbers: Counter[str] | dict[str, int]) -> str:
    parts = [count(numbers[severity], severity) for severity in ("error", "warning", "info") if numbers[severity]]
    if numbers.get("ignored"):
        parts.append(f"{numbers['ignored']:,} ignored")
    return ", ".join(parts)
