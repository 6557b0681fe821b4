"""Write `schemas/peft_releases.json` and `schemas/adapter_config.schema.json` from the released wheels of PEFT.

    python spec/config_schema/generate.py            # download what is missing with pip, and write
    python spec/config_schema/generate.py --check    # only compare; exit with 1 if a file is stale
    python spec/config_schema/generate.py --words    # take the history that is stored: after a change of the notes

The wheels go to a temporary folder, or to `--wheels FOLDER`, which may hold them already.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import classes
import wheels
from history import history
from json_text import json_text
from schema import assemble

HERE = Path(__file__).resolve().parent
SCHEMAS = HERE.parent.parent / "schemas"
HISTORY = SCHEMAS / "peft_releases.json"
SCHEMA = SCHEMAS / "adapter_config.schema.json"


def main(arguments: list[str] | None = None) -> int:
    """Write or compare the two files; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is stale")
    parser.add_argument("--words", action="store_true", help="take the stored history instead of the wheels")
    parser.add_argument("--wheels", metavar="FOLDER", type=Path, help="where the wheels are kept")
    options = parser.parse_args(arguments)
    found = json.loads(HISTORY.read_text(encoding="utf-8")) if options.words else read_wheels(options.wheels)
    wanted = {HISTORY: json_text(found), SCHEMA: json_text(assemble(found, notes(), refuses()))}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(SCHEMAS.parent)} is stale" if options.check else f"{path.name}: written")
        if not options.check:
            path.write_text(wanted[path], encoding="utf-8")
    return 1 if stale and options.check else 0


def read_wheels(folder: Path | None) -> dict[str, Any]:
    """Return the history as the wheels in a folder, or in a temporary one, tell it."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="peft-wheels-") as temporary:
            return read_wheels(Path(temporary))
    wheels.fetch(folder)
    return history(
        {release: classes.read_release(wheels.sources(wheels.wheel(folder, release))) for release in wheels.RELEASES}
    )


def notes() -> dict[str, Any]:
    """Return the hand-written words and bounds of all files; a method may take over those of another."""
    found: dict[str, Any] = {"methods": {}, "options": {}}
    for path in sorted(HERE.glob("notes*.json")):
        for part, words in json.loads(path.read_text(encoding="utf-8")).items():
            found[part] = {**found.get(part, {}), **words}
    for words in found["methods"].values():
        if "like" in words:
            words["like"] = found["methods"][words["like"]]["fields"]
    return found


def refuses() -> dict[str, Any]:
    """Return what the newest PEFT was measured to refuse."""
    measured: dict[str, Any] = json.loads((HERE / "refuses.json").read_text(encoding="utf-8"))
    return measured


if __name__ == "__main__":
    sys.exit(main())
