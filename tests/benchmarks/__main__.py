"""Measure everything: `python -m tests.benchmarks` from a checkout with the package installed.

Every figure is a ratio to a yardstick that is measured in the same run, so that figures of different machines can be
compared. Takes under a minute, and 240 MB in the folder for temporary files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.benchmarks import bench_data_scan, bench_header, bench_methods, bench_save_load, bench_start
from tests.benchmarks.figures import SLACK, Figure, as_json, as_markdown, as_text


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print JSON")
    shown.add_argument("--markdown", action="store_true", help="print the table of the README")
    check_help = f"exit with 1 if a figure misses its bar by more than {SLACK} times, or a count at all"
    parser.add_argument("--check", action="store_true", help=check_help)
    parser.add_argument("--peft", action="store_true", help="compare with PEFT, which must be installed")
    chosen = parser.parse_args()
    figures = _measure(with_peft=chosen.peft)
    render = as_json if chosen.json else as_markdown if chosen.markdown else as_text
    sys.stdout.write(render(figures) + "\n")
    return int(chosen.check and not all(figure.reaches(SLACK) for figure in figures))


def _measure(*, with_peft: bool) -> list[Figure]:
    suites = [bench_header, bench_methods, bench_start, bench_data_scan, bench_save_load]
    if with_peft:
        from tests.benchmarks import bench_peft

        suites.append(bench_peft)
    figures: list[Figure] = []
    for suite in suites:
        with tempfile.TemporaryDirectory(prefix="adapter-format-") as folder:
            figures += suite.figures(Path(folder))
    return figures


if __name__ == "__main__":
    sys.exit(main())
