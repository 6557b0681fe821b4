"""Rules for people and as JSON: the list of all, and one explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.report.json import RULE_PAGE, SPEC_VERSION, TOOL
from adapter_format.report.page import BLANK, Line, Span, line, table, wrap
from adapter_format.rules.edit_text import describe_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from adapter_format.rules.edit_pair import Pair
    from adapter_format.rules.rule import Rule

_LABEL = 10

BEHAVIOUR = {
    "raises": "raises: the adapter is not loaded",
    "warns": "warns, and loads",
    "silent-wrong": "loads without a message, and computes something else than without the defect",
    "silent-ok": "loads without a message, and computes what was saved",
    "unknown": "not measured",
}


class Explanation(NamedTuple):
    """A rule with its example.

    Attributes:
        rule: the rule.
        pairs: what the edits of its first mutation change, one pair an edit.
    """

    rule: Rule
    pairs: tuple[Pair, ...]


def explanation_lines(explanation: Explanation, width: int) -> Iterator[Line]:
    """Set one rule: what is wrong, for whom, what to do, and an example."""
    rule, pairs = explanation
    data = "; needs --data" if rule.level == "data" else ""
    severity = Span(rule.severity, rule.severity)
    head: list[Span | str] = [Span(rule.id, "strong"), f" {rule.slug} (", severity, f", {rule.clause}{data})"]
    yield from wrap(head, width)
    yield from wrap([f"{rule.title}."], width)
    yield BLANK
    yield from _entry("why", rule.why, width)
    yield from _entry("mend", rule.mend, width)
    yield from _entry("PEFT", BEHAVIOUR[rule.peft], width)
    for index, quote in enumerate(rule.quotes):
        yield from _entry("" if index else "prints", f'"{quote}"', width)
    if rule.note:
        yield from _entry("note", rule.note, width)
    if rule.mutations:
        first = rule.mutations[0]
        yield from _entry("example", f"Take the valid example `{first.example}` and {describe_all(first)}.", width)
        for good, bad in pairs:
            yield from _side("good", good, width)
            yield from _side("bad", bad, width)
    if rule.pains:
        yield from _entry("pains", ", ".join(rule.pains), width)
    yield from _entry("page", RULE_PAGE.format(rule.id), width)


def _entry(label: str, text: str, width: int) -> Iterator[Line]:
    return wrap([text], width, indent=_LABEL, label=Span(label.ljust(_LABEL), "dim") if label else "")


def _side(label: str, texts: Iterable[str], width: int) -> Iterator[Line]:
    for text in texts:
        yield from wrap([Span(text, label)], width, indent=_LABEL + 6, label=Span(label.ljust(6), label))


def rule_table(rules: Iterable[Rule], width: int) -> Iterator[Line]:
    """Set all rules as a table."""
    header = ("id", "name", "severity", "level", "PEFT", "title")
    rows = [
        (Span(rule.id, "strong"), rule.slug, Span(rule.severity, rule.severity), rule.level, rule.peft, rule.title)
        for rule in rules
    ]
    yield from table(header, rows, width)
    yield line(Span(f"{len(rows)} rules", "dim"))


def explanation_to_dict(explanation: Explanation) -> dict[str, Any]:
    """Return an explained rule as JSON values."""
    rule, pairs = explanation
    entry = rule_to_dict(rule)
    if rule.mutations:
        entry["example"] = {
            "valid": rule.mutations[0].example,
            "edit": describe_all(rule.mutations[0]),
            "good": [text for pair in pairs for text in pair.good],
            "bad": [text for pair in pairs for text in pair.bad],
        }
    return entry


def rule_to_dict(rule: Rule) -> dict[str, Any]:
    """Return one rule as JSON values."""
    return {
        "id": rule.id,
        "name": rule.slug,
        "severity": rule.severity,
        "level": rule.level,
        "clause": rule.clause,
        "title": rule.title,
        "why": rule.why,
        "mend": rule.mend,
        "peft": rule.peft,
        "quotes": list(rule.quotes),
        "note": rule.note,
        "pains": list(rule.pains),
        "fixable": rule.fixable,
        "help": RULE_PAGE.format(rule.id),
    }


def rules_to_dict(rules: Iterable[Rule]) -> dict[str, Any]:
    """Return all rules as JSON values."""
    return {"tool": TOOL, "spec_version": SPEC_VERSION, "rules": [rule_to_dict(rule) for rule in rules]}
