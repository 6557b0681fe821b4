"""A progress bar on standard error, for work of more than a second, on a terminal only."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adapter_format.report.terminal import is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress

_PATIENCE = 1.0
_INTERVAL = 0.1


class Bar:
    """The bar; it costs next to nothing until it is due. Made by `progress_bar`."""

    __slots__ = ("_due", "_make", "_shown")

    def __init__(self, make: Callable[[], Progress]) -> None:
        self._make = make
        self._due = time.monotonic() + _PATIENCE
        self._shown: Progress | None = None

    def update(self, done: int, total: int | None, *, of_bytes: bool = False) -> None:
        """Show how far the work is.

        Args:
            done: adapters or bytes done.
            total: the same in all, None if it is not known.
            of_bytes: whether these are bytes.
        """
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _INTERVAL
        amount = f"{done / 1e6:,.0f} MB" if of_bytes else f"{done:,} adapters"
        if total:
            amount += f" of {total / 1e6:,.0f} MB" if of_bytes else f" of {total:,}"
        if self._shown is None:
            self._shown = self._make()
            self._shown.add_task(amount, completed=done, total=total)
            self._shown.start()
        self._shown.update(self._shown.task_ids[0], completed=done, total=total, description=amount)
        self._shown.refresh()

    def hide(self) -> None:
        """Take the bar away, so that other lines can be written; the next update brings it back."""
        if self._shown is not None:
            self._shown.stop()
            self._shown = None


class NoBar(Bar):
    """The bar where there is no terminal."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_rich_bar)

    def update(self, done: int, total: int | None, *, of_bytes: bool = False) -> None:
        """Show nothing."""


@contextmanager
def progress_bar() -> Iterator[Bar]:
    """Yield a bar on standard error; it is gone at the end, however the work ends."""
    bar = Bar(_rich_bar) if is_terminal(sys.stderr) else NoBar()
    try:
        yield bar
    finally:
        bar.hide()


def _rich_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
