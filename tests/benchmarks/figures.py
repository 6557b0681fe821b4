"""A measured figure, its bar, and the tables in which figures are shown."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adapter_format import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

SLACK = 2.0
"""How far `--check` lets a ratio miss its bar: machines of a CI are shared and noisy. Counts must be met exactly."""


class Figure(NamedTuple):
    """One figure.

    Attributes:
        name: what was measured, and against what.
        value: the figure.
        unit: what follows the value.
        bar: what it must reach, None for a figure that is only shown.
        at_least: whether the bar is a lower bound; otherwise it is an upper one.
        detail: the absolute figures behind it.
    """

    name: str
    value: float
    unit: str
    bar: float | None = None
    at_least: bool = False
    detail: str = ""

    def reaches(self, slack: float = 1.0) -> bool:
        """Whether the bar is reached, or missed by no more than the factor given."""
        if self.bar is None:
            return True
        return self.value * slack >= self.bar if self.at_least else self.value <= self.bar * slack

    @property
    def verdict(self) -> str:
        return "" if self.bar is None else "pass" if self.reaches() else "MISS"

    @property
    def bound(self) -> str:
        return "" if self.bar is None else f"{'≥' if self.at_least else '≤'} {_short(self.bar)}"

    @property
    def shown(self) -> str:
        return f"{_short(self.value)} {self.unit}".rstrip()


def machine() -> dict[str, str]:
    """Name the machine that the figures are of."""
    return {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "adapter_format": __version__,
    }


def as_text(figures: Sequence[Figure]) -> str:
    """Lay the figures out for a terminal."""
    rows = [("", "figure", "bar", "", ""), *((f.name, f.shown, f.bound, f.verdict, f.detail) for f in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    padded = ([cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)] for row in rows)
    return "\n".join([*("  ".join(row).rstrip() for row in padded), "", _machine_line()])


def as_markdown(figures: Sequence[Figure]) -> str:
    """Write the table of the README between its markers."""
    lines = ["<!-- generated: benchmarks -->", "", "| | figure | bar | |", "| --- | --- | --- | --- |"]
    lines += [f"| {f.name} | {f.shown} | {f.bound} | {f.detail} |" for f in figures]
    return "\n".join([*lines, "", _machine_line(), "", "<!-- end -->"])


def as_json(figures: Sequence[Figure]) -> str:
    """Write machine and figures for programs."""
    rows = [{**figure._asdict(), "passed": figure.reaches()} for figure in figures]
    return json.dumps({"machine": machine(), "figures": rows}, indent=2, ensure_ascii=False)


def _machine_line() -> str:
    of = machine()
    return (
        f"Measured on {of['cores']} cores of {of['cpu']} ({of['system']}) with Python {of['python']}, "
        f"NumPy {of['numpy']} and Adapter Format {of['adapter_format']}."
    )


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _short(value: float) -> str:
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
