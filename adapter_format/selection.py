"""Which findings count: rules that a caller selects, ignores or gives another severity."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adapter_format.errors import UsageError
from adapter_format.findings import SEVERITIES, Report, Severity, Unchecked
from adapter_format.rules.registry import all_rules, find_rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Selection(NamedTuple):
    """What a caller wants to hear.

    Attributes:
        selected: ids of the rules that count; None for all.
        ignored: ids of rules that do not count, even if they are selected.
        severities: severity by id, in place of the rule's own.
    """

    selected: frozenset[str] | None = None
    ignored: frozenset[str] = frozenset()
    severities: Mapping[str, Severity] = {}


class Judged(NamedTuple):
    """A report after a selection.

    Attributes:
        report: with the findings that count.
        ignored: number of findings that were left out.
    """

    report: Report
    ignored: int


def read_selection(select: Iterable[str] = (), ignore: Iterable[str] = (), severities: Iterable[str] = ()) -> Selection:
    """Read a selection from texts.

    Args:
        select: ids, slugs or first characters of ids (`AF3`), several in one text parted by commas; none for all.
        ignore: the same.
        severities: `RULE=LEVEL` each, RULE as above, LEVEL one of `error`, `warning` and `info`; the last one wins.

    Raises:
        UsageError: a text names no rule or no severity.
    """
    chosen = _rules_of(select)
    return Selection(chosen or None, _rules_of(ignore), _read_severities(severities))


def apply_selection(selection: Selection, report: Report) -> Judged:
    """Leave out and re-rank the findings of a report."""
    selected, ignored, severities = selection
    if selected is None and not ignored and not severities:
        return Judged(report, 0)
    kept = [
        finding._replace(severity=severities.get(finding.rule, finding.severity))
        for finding in report.findings
        if finding.rule not in ignored and (selected is None or finding.rule in selected)
    ]
    kept.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    left_out = len(report.findings) - len(kept)
    unchecked = report.unchecked
    if selected is not None or ignored:
        rules = ", ".join(sorted(selected or ignored)[:6])
        why = (
            f"only {rules}{' and more' if len(selected) > 6 else ''} are selected"
            if selected
            else f"{rules} are ignored"
        )
        unchecked = (*unchecked, Unchecked("some of the rules", why))
    return Judged(report._replace(findings=tuple(kept), unchecked=unchecked), left_out)


def _rules_of(texts: Iterable[str]) -> frozenset[str]:
    names = (name.strip() for text in texts for name in text.split(","))
    return frozenset(rule for name in names if name for rule in _rules_named(name))


def _rules_named(name: str) -> list[str]:
    prefix = name.upper()
    if prefix.startswith("AF") and len(prefix) < len("AF000"):
        found = [rule.id for rule in all_rules() if rule.id.startswith(prefix)]
        if found:
            return found
        families = ", ".join(sorted({rule.id[:3] for rule in all_rules()}))
        raise UsageError(f"No rule's id begins with {name[:80]!r}; there are {families}.")
    return [find_rule(name).id]


def _read_severities(texts: Iterable[str]) -> dict[str, Severity]:
    severities: dict[str, Severity] = {}
    for text in texts:
        name, _, level = text.partition("=")
        severity = next((known for known in SEVERITIES if known == level.strip().lower()), None)
        if severity is None:
            raise UsageError(f"The severity {text[:80]!r} is not RULE=LEVEL with a LEVEL of {', '.join(SEVERITIES)}.")
        for rule in _rules_of([name]):
            severities[rule] = severity
    return severities
