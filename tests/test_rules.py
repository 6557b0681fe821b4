"""Every rule against its own mutations: each is a minimal pair, one edit apart from a valid adapter."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import adapter_format as af
from adapter_format.rules.edits import DenyReading, Mutation
from adapter_format.rules.registry import all_rules, find_rule
from adapter_format.rules.rule import Rule
from adapter_format.testing.drafts import write_example, write_mutation
from adapter_format.testing.examples import examples

PAIRS = [(rule, mutation) for rule in all_rules() for mutation in rule.mutations]
WITHOUT_MUTATION = {
    "AF125": "a limit of this tool; tested with a smaller limit",
    "AF326": "bounded by step counts; tested with a crafted expression",
    "AF610": "a FIFO can't be an edit of files; tested in tests/hostile",
    "AF613": "a limit of this tool; tested with a smaller limit",
}


def _fired(path: Path, mutation: Mutation, *, data: bool) -> set[str]:
    return {finding.rule for finding in af.validate(path, data=data, consumers=mutation.consumers).findings}


@contextlib.contextmanager
def _as_somebody(folder: Path, *, really: bool) -> Iterator[None]:
    """Run as another user where the tests run as the superuser, who may read everything."""
    if not really or os.name != "posix" or os.geteuid() != 0:
        yield
        return
    modes = {parent: parent.stat().st_mode for parent in (folder, *folder.parents) if not parent.stat().st_mode & 0o001}
    for parent in modes:
        parent.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for parent, mode in modes.items():
            parent.chmod(mode)


@pytest.mark.parametrize("name", list(examples()))
def test_an_example_is_clean(name: str, tmp_path: Path) -> None:
    write_example(name, tmp_path / "adapter")

    report = af.validate(tmp_path / "adapter", data=True)

    assert [finding for finding in report.findings if finding.severity != "info"] == []


@pytest.mark.parametrize(("rule", "mutation"), PAIRS, ids=[f"{r.id}-{m.name or 'first'}" for r, m in PAIRS])
def test_a_mutation_breaks_its_own_rule_and_no_other(rule: Rule, mutation: Mutation, tmp_path: Path) -> None:
    write_example(mutation.example, tmp_path / "valid")
    write_mutation(mutation, tmp_path / "broken")

    before = _fired(tmp_path / "valid", mutation, data=rule.level == "data")
    with _as_somebody(tmp_path, really=any(isinstance(edit, DenyReading) for edit in mutation.edits)):
        after = _fired(tmp_path / "broken", mutation, data=rule.level == "data")

    assert after - before == {rule.id}


def test_every_rule_has_a_mutation_or_a_reason() -> None:
    without = {rule.id for rule in all_rules() if not rule.mutations}

    assert without == set(WITHOUT_MUTATION)


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.id)
def test_a_rule_is_documented(rule: Rule) -> None:
    assert rule.title[0].isupper() or rule.title[0] in "`"
    assert not rule.title.endswith(".")
    assert len(rule.why) > 20
    assert rule.mend.endswith((".", ")", "`."))
    assert find_rule(rule.slug) is find_rule(rule.id) is rule


def test_ids_and_slugs_are_unique() -> None:
    rules = all_rules()

    assert len({rule.id for rule in rules}) == len({rule.slug for rule in rules}) == len(rules)
