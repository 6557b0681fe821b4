"""Which findings count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_format.errors import UsageError
from adapter_format.findings import SEVERITIES, Finding, Location, Report
from adapter_format.rules.registry import all_rules
from adapter_format.selection import apply_selection, read_selection

RULES = [rule.id for rule in all_rules()]


def _report(*rules: str) -> Report:
    return Report(
        "p",
        None,
        "header",
        tuple(Finding(rule, "n", "warning", "m", "d", (Location(),), 1, "unknown") for rule in rules),
    )


@given(
    st.lists(st.sampled_from(RULES), unique=True, max_size=9),
    st.lists(st.sampled_from(RULES), max_size=5),
    st.lists(st.sampled_from(RULES), max_size=5),
)
def test_selecting_and_ignoring_are_set_operations(found: list[str], select: list[str], ignore: list[str]) -> None:
    report, ignored = apply_selection(read_selection(select, ignore), _report(*found))

    kept = {rule for rule in found if (not select or rule in select) and rule not in ignore}
    assert {finding.rule for finding in report.findings} == kept
    assert ignored == len(found) - len(kept)


@given(
    st.lists(st.sampled_from(RULES), unique=True, max_size=9),
    st.dictionaries(st.sampled_from(RULES), st.sampled_from(SEVERITIES)),
)
def test_severities_are_those_asked_for_and_errors_come_first(found: list[str], wanted: dict[str, str]) -> None:
    selection = read_selection(severities=[f"{rule}={level}" for rule, level in wanted.items()])

    report, _ = apply_selection(selection, _report(*found))

    severities = [finding.severity for finding in report.findings]
    assert all(finding.severity == wanted.get(finding.rule, "warning") for finding in report.findings)
    assert severities == sorted(severities, key=SEVERITIES.index)


def test_ids_slugs_and_prefixes_name_rules_in_any_case() -> None:
    family = {rule for rule in RULES if rule.startswith("AF30")}

    assert read_selection(["af30"]).selected == family
    assert read_selection(["AF301, Key-Prefix-Doubled", "AF101"]).selected == {"AF301", "AF302", "AF101"}
    assert read_selection(["AF"]).selected == set(RULES)
    assert read_selection([]).selected is None


@pytest.mark.parametrize("name", ["AF9", "AF999", "nope", "AFX", "*", "AF301;AF302"])
def test_a_name_that_names_nothing_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        read_selection([name])
