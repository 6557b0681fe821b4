"""Write the generated parts of the specification from the data that the code uses; `--check` only compares.

Generated are: what stands between `<!-- generated: NAME -->` and `<!-- end -->` in the texts, the pages of the
rules and their index, the table of pains, and the lines that the lock file lacks. Needs `adapter_format` installed:

    python spec/generate.py
    python spec/generate.py --check
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import method_tables
import rule_pages
import tables

from adapter_format.rules.registry import all_rules

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MAIN = HERE / "adapter-format.md"
TEXTS = (MAIN, HERE / "config-tables.md", ROOT / "README.md", HERE / "methods.md")
LOCK = HERE / "rules.lock"

_MARKED = re.compile(r"(?s)(<!-- generated: ([^>]+?) -->)(.*?)(<!-- end -->)")
_CLAUSE_HEADING = re.compile(r"(?m)^#+ (([A-Z]+-\d+)\b.*)$")

PARTS: dict[str, Callable[[], str]] = {
    "dtypes": tables.dtypes,
    "role-suffixes": tables.role_suffixes,
    "symbols": tables.symbols,
    "roles": tables.roles,
    "kinds": tables.kinds,
    "shapes": tables.shapes,
    "fields": tables.fields,
    "method-fields": tables.method_fields,
    "option-objects": tables.option_objects,
    "constraints": tables.constraints,
    "methods": tables.methods,
    "method-overview": method_tables.overview,
    "method-chapters": method_tables.chapters,
    "wrapper-parts": tables.wrapper_parts,
    "size-table": tables.size_table,
    "size-example": tables.size_example,
    "rule-families": lambda: rule_pages.families("spec/rules/"),
    "real-run": lambda: run("validate", "spec/examples/good/llama", "spec/examples/bad/key-prefix-missing"),
}
_INLINE = frozenset({"wrapper-parts"})
_ELSEWHERE = frozenset({"benchmarks"})
"""Parts of the README that other scripts write."""


def main(arguments: list[str] | None = None) -> int:
    """Write or compare every generated file; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if anything is stale")
    options = parser.parse_args(arguments)
    wanted = outputs()
    stale = [path for path, text in wanted.items() if read(path) != text]
    surplus = [path for path in sorted((HERE / "rules").glob("AF*.md")) if path not in wanted]
    if options.check:
        for path in stale:
            print(summary(path, wanted[path]))
        for path in surplus:
            print(f"{path.relative_to(ROOT)}: no rule has this page")
        return 1 if stale or surplus else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    for path in surplus:
        path.unlink()
    print(f"{len(wanted)} files, {len(stale)} written, {len(surplus)} removed")
    return 0


def outputs() -> dict[Path, str]:
    """Compute the content of every file that is generated or has generated parts."""
    wanted = {path: fill(read(path)) for path in TEXTS if path.exists()}
    anchor = anchors(wanted[MAIN])
    for rule in all_rules():
        wanted[HERE / "rules" / f"{rule.id}.md"] = rule_pages.page(rule, anchor)
    wanted[HERE / "rules" / "README.md"] = rule_pages.index(anchor)
    wanted[HERE / "pains.md"] = rule_pages.pains(HERE / "pains.json")
    wanted[LOCK] = lock(read(LOCK))
    return wanted


def read(path: Path) -> str:
    """Return the text of a file, "" if there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def fill(text: str) -> str:
    """Replace what stands between the markers; LookupError if a name is not known."""

    def filled(found: re.Match[str]) -> str:
        opening, name, _, closing = found.groups()
        return found[0] if name in _ELSEWHERE else f"{opening}{part(name)}{closing}"

    return _MARKED.sub(filled, text)


def part(name: str) -> str:
    """Compute one generated part; a list of rules and other inline parts stay on the line of their markers."""
    kind, _, clause = name.partition(" ")
    if kind == "rules":
        return tables.rules_of(clause)
    if name not in PARTS:
        raise LookupError(f"no generated part is called {name!r}")
    text = PARTS[name]()
    return text if name in _INLINE else f"\n\n{text}\n\n"


def run(*arguments: str) -> str:
    """Run the command in the repository and show what a person sees of it, in 80 columns."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "adapter_format", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return f"```console\n$ adapter-format {' '.join(arguments)}\n{done.stdout.rstrip()}\n```"


def anchors(text: str) -> Callable[[str], str]:
    """Return a function from a clause to the anchor of its heading; KeyError for a clause that is not there."""
    found = {clause: slug(heading) for heading, clause in _CLAUSE_HEADING.findall(text)}
    return found.__getitem__


def slug(heading: str) -> str:
    """Spell the anchor that Markdown renderers give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def lock(text: str) -> str:
    """Append the rules that the lock does not hold yet; lines that are there stay as they are."""
    lines = text.splitlines()
    held = {line.split()[0] for line in lines if line.startswith("AF")}
    new = [f"{rule.id} {rule.slug}" for rule in all_rules() if rule.id not in held]
    return "\n".join([*(lines or [_LOCK_HEAD]), *new]) + "\n"


_LOCK_HEAD = "# Every rule id that was ever given, with its name. Append only: a line is never changed or removed."


def summary(path: Path, wanted: str) -> str:
    """Say in a few lines how a file differs from what it should be."""
    difference = difflib.unified_diff(
        read(path).splitlines(), wanted.splitlines(), "stored", "computed", n=0, lineterm=""
    )
    lines = [line[:160] for line in difference if not line.startswith(("---", "+++", "@@"))]
    more = f"\n  ... and {len(lines) - 6} more lines" if len(lines) > 6 else ""
    return f"{path.relative_to(ROOT)} is stale:\n  " + "\n  ".join(lines[:6]) + more


if __name__ == "__main__":
    sys.exit(main())
