"""The whole command in a new process, against the import of a library that it does without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.adapters import shapes, write
from tests.benchmarks.figures import Figure
from tests.benchmarks.measuring import best_of_both, run_python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_TIMES_IMPORT = 1.8
ROUNDS = 15
HEAVY = ("numpy", "jsonschema", "torch", "rich", "safetensors")


def figures(folder: Path) -> Iterator[Figure]:
    """Measure; files are made in the folder."""
    written = write(folder / "cold", shapes())
    cache = folder / "cache"
    command = ["-m", "adapter_format", "validate", str(written.path)]
    yardstick = ["-c", "import jsonschema"]
    for arguments in (command, yardstick):
        run_python(arguments, cache)  # compiles the modules
    ours, theirs = best_of_both(lambda: run_python(command, cache), lambda: run_python(yardstick, cache), ROUNDS)
    detail = f"{ours * 1e3:.0f} ms against {theirs * 1e3:.0f} ms"
    name = '`python -m adapter_format validate`, cold, against `python -c "import jsonschema"`'
    yield Figure(name, ours / theirs, "times", MOST_TIMES_IMPORT, detail=detail)
    code = (
        "import sys\nfrom adapter_format.cli import main\n"
        f"assert main(['validate', {str(written.path)!r}]) == 0\n"
        f"sys.stderr.write(' '.join(name for name in {HEAVY} if name in sys.modules))"
    )
    imported = run_python(["-c", code], cache).split()
    detail = ", ".join(imported) or "none"
    yield Figure(f"Heavy packages that it imports, of {', '.join(HEAVY)}", len(imported), "", 0, detail=detail)
