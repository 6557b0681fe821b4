"""Clocks and processes: how the figures are taken."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[2]

_PEAK = """
def peak():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except OSError:
        import resource, sys
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""
# On Linux `ru_maxrss` of a child begins with what its parent had when it was started, `VmHWM` does not.


def seconds(work: Callable[[], object]) -> float:
    """Measure one call; the garbage collector stays on."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best_of_both(work: Callable[[], object], yardstick: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Run both in turn and return the shortest time of each, in seconds: what noise there is only adds."""
    times = [(seconds(work), seconds(yardstick)) for _ in range(rounds)]
    return min(time for time, _ in times), min(time for _, time in times)


def run_python(arguments: Sequence[str], cache: Path) -> str:
    """Run this interpreter in the checkout and return what it wrote to standard error.

    Args:
        arguments: what follows `python`.
        cache: folder for compiled modules, of this package and of the yardstick alike.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(cache)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"python {' '.join(arguments)[:200]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stderr


def peak_bytes(code: str, cache: Path) -> int:
    """Run code in a new interpreter and return the most memory that was resident, in bytes."""
    report = "import sys\nsys.stderr.write(f'\\n{peak()}')"
    return int(run_python(["-c", f"{_PEAK}\n{code}\n{report}"], cache).split()[-1])
