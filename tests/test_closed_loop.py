"""The closed loop: specification, rules, layouts, lock file and examples say the same, each read on its own here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import adapter_format as af
from adapter_format.layouts import layout_names, layout_of
from adapter_format.rules.registry import all_rules

if TYPE_CHECKING:
    from adapter_format.rules.rule import Rule

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "spec"
RULES = {rule.id: rule for rule in all_rules()}

_WORDS = {"error": re.compile(r"\bMUST\b"), "warning": re.compile(r"\b(MUST|SHOULD)\b")}
_KEYWORD = re.compile(r"\b(MUST|SHALL|SHOULD|MAY|REQUIRED|RECOMMENDED|OPTIONAL)\b")
_LINKED_RULE = re.compile(r"\[(AF\d{3})\]\(rules/(AF\d{3})\.md\) ([a-z0-9-]+)")


def main_text() -> str:
    return (SPEC / "adapter-format.md").read_text(encoding="utf-8")


def sections() -> list[tuple[str, str]]:
    """Return heading and body of every section, in order."""
    parts = re.split(r"(?m)^(#{1,6} .*)$", re.sub(r"(?s)```.*?```", "", main_text()))
    return list(zip(parts[1::2], parts[2::2], strict=True))


def clauses() -> dict[str, str]:
    """Return the text of every clause by its id."""
    found = {}
    for heading, body in sections():
        clause = re.match(r"#### ([A-Z]+-\d+) \S", heading)
        if clause:
            assert clause[1] not in found, f"{clause[1]} stands twice"
            found[clause[1]] = body
    return found


def rules_named_in(clause_text: str) -> set[str]:
    checked = re.search(r"(?m)^Checked by: .*$", clause_text)
    return {rule for rule, _, _ in _LINKED_RULE.findall(checked[0])} if checked else set()


def test_every_clause_is_checked_or_says_why_not() -> None:
    found = clauses()
    reasons = {
        clause: reason[1]
        for clause, text in found.items()
        if (reason := re.search(r"(?s)\(not checkable: (.+?)\)", text))
    }
    for clause, text in found.items():
        if not rules_named_in(text):
            shared = re.match(r"as ([A-Z]+-\d+)\b", reasons[clause])
            assert len(reasons[shared[1]] if shared else reasons[clause]) > 30, clause


def test_a_clause_without_rules_has_no_empty_list() -> None:
    empty = [clause for clause, text in clauses().items() if "Checked by:" in text and not rules_named_in(text)]
    assert empty == []


def test_every_rule_names_a_clause_that_exists() -> None:
    assert {rule.clause for rule in RULES.values()} <= clauses().keys()


def test_the_lists_in_the_text_are_those_of_the_rules() -> None:
    listed = {clause: rules_named_in(text) for clause, text in clauses().items()}
    declared: dict[str, set[str]] = {clause: set() for clause in listed}
    for rule in RULES.values():
        declared[rule.clause].add(rule.id)
    assert listed == declared


def test_links_in_the_text_agree_with_the_rules() -> None:
    for shown, target, slug in _LINKED_RULE.findall(main_text()):
        assert (shown, slug) == (target, RULES[target].slug)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_the_words_of_a_clause_carry_the_severity_of_its_rule(rule: Rule) -> None:
    word = _WORDS.get(rule.severity)
    assert word is None or word.search(clauses()[rule.clause])


def test_normative_words_stand_in_clauses_only() -> None:
    loose = [
        heading
        for heading, body in sections()
        if not re.match(r"#### [A-Z]+-\d+ ", heading)
        and not heading.startswith("## 1 ")
        and _KEYWORD.search(re.sub(r"no MUST of|all SHOULD of", "", body))
    ]
    assert loose == []


def test_clause_numbers_have_no_holes() -> None:
    numbers: dict[str, list[int]] = {}
    for clause in clauses():
        family, _, number = clause.partition("-")
        numbers.setdefault(family, []).append(int(number))
    assert {family: list(range(1, len(found) + 1)) for family, found in numbers.items()} == numbers


def test_references_to_clauses_lead_somewhere() -> None:
    families = "|".join(sorted({clause.partition("-")[0] for clause in clauses()}))
    texts = [path.read_text(encoding="utf-8") for path in [*SPEC.glob("*.md"), *SPEC.glob("rules/*.md")]]
    named = {clause for text in texts for clause in re.findall(rf"\b((?:{families})-\d+)\b", text)}
    assert named <= clauses().keys()


def test_every_role_stands_in_the_tables() -> None:
    layout = layout_of("LORA")
    assert layout is not None
    text = main_text()
    grammar = re.search(r"(?s)role-suffix = .*?```", text)
    assert grammar is not None
    for role in layout.roles.values():
        assert f"| `{role.name}` | `{role.suffix}`" in text
        assert all(f'%s"{suffix}" ' in grammar[0] for suffix in (role.suffix, *role.also_read))


def test_every_shape_stands_in_the_tables() -> None:
    layout = layout_of("LORA")
    assert layout is not None
    rows = set(re.findall(r"(?m)^\| `([\w-]+)` \| `([\w.]+)` \| `\[", main_text()))
    assert rows == {(kind.name, layout.roles[role].suffix) for kind in layout.kinds for role in kind.shapes}


def chapters() -> dict[str, str]:
    """Return the chapter of every method by its `peft_type`."""
    text = (SPEC / "methods.md").read_text(encoding="utf-8")
    parts = re.split(r"(?m)^### ([A-Z0-9_]+)$", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_method_has_a_chapter() -> None:
    assert chapters().keys() == set(layout_names())


@pytest.mark.parametrize("method", layout_names())
def test_every_tensor_of_a_method_stands_in_its_chapter(method: str) -> None:
    data = json.loads((ROOT / "schemas" / "layouts" / f"{method.lower()}.json").read_text(encoding="utf-8"))
    rows = [line for line in chapters()[method].splitlines() if line.startswith("|")]
    for role, declared in data["roles"].items():
        assert any(f"`{role}`" in row and declared["suffix"] in row for row in rows), role
    for kind in data["kinds"]:
        row = next(row for row in rows if row.startswith(f"| `{kind['name']}` |"))
        for role in kind["shapes"]:
            assert data["roles"][role]["suffix"] in row, (kind["name"], role)


def test_generated_parts_are_current() -> None:
    command = [sys.executable, str(SPEC / "generate.py"), "--check"]
    environment = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), "run spec/generate.py"


def test_every_rule_has_its_page() -> None:
    assert {path.stem for path in (SPEC / "rules").glob("AF*.md")} == RULES.keys()


def locked() -> list[tuple[str, str]]:
    lines = (SPEC / "rules.lock").read_text(encoding="utf-8").splitlines()
    pairs = [line.split() for line in lines if not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs)
    return [(pair[0], pair[1]) for pair in pairs]


def test_no_id_vanished_or_changed_its_name() -> None:
    assert [pair for pair in locked() if pair[0] not in RULES or RULES[pair[0]].slug != pair[1]] == []


def test_every_id_is_locked_once() -> None:
    assert sorted(rule for rule, _ in locked()) == sorted(RULES)


def test_pains_are_all_listed_with_rules_or_a_reason() -> None:
    rows = re.findall(r"(?m)^\| (P\d\d) \|.*\| ([^|]*) \| ([^|]*) \|$", (SPEC / "pains.md").read_text(encoding="utf-8"))
    assert [pain for pain, _, _ in rows] == [f"P{number:02}" for number in range(1, 31)]
    for pain, rules, remark in rows:
        expected = {rule.id for rule in RULES.values() if pain in rule.pains}
        assert set(re.findall(r"\[(AF\d{3})\]", rules)) == expected
        assert expected or len(remark) > 40


def test_rules_name_known_pains_only() -> None:
    known = {f"P{number:02}" for number in range(1, 31)}
    assert {pain for rule in RULES.values() for pain in rule.pains} <= known


def example_folders(sort: str) -> list[Path]:
    return sorted(path for path in (SPEC / "examples" / sort).iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", example_folders("good"), ids=lambda folder: folder.name)
def test_good_examples_are_clean(folder: Path) -> None:
    assert af.validate(folder, data=True).findings == ()


@pytest.mark.parametrize("folder", example_folders("good"), ids=lambda folder: folder.name)
def test_good_examples_are_golden_adapters(folder: Path) -> None:
    name = "adapter_model.safetensors"
    goldens = (path.read_bytes() for path in (ROOT / "tests/golden/lora").glob(f"*/{name}"))
    assert (folder / name).read_bytes() in goldens


@pytest.mark.parametrize("folder", example_folders("bad"), ids=lambda folder: folder.name)
def test_bad_examples_break_the_rule_that_they_are_called_by(folder: Path) -> None:
    assert [finding.name for finding in af.validate(folder, data=True).findings] == [folder.name]


def test_bad_examples_are_what_their_script_makes(tmp_path: Path) -> None:
    script = SPEC / "examples" / "make_bad.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, timeout=60)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    bad = SPEC / "examples" / "bad"
    assert made == {path.relative_to(bad): path.read_bytes() for path in bad.rglob("*") if path.is_file()}


def test_the_worked_example_of_the_size_formula() -> None:
    text = main_text()
    assert 4 * 32 * 16 * (4096 + 4096) == 16_777_216
    assert "16,777,216" in text
    assert f"{16_777_216 * 2:,}" in text
