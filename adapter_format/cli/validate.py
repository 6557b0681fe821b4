"""`adapter-format validate`."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adapter_format.cli.destination import open_output
from adapter_format.cli.status import FINDINGS, FINE, NOTHING_FOUND, say
from adapter_format.consumers.requests import read_requests
from adapter_format.errors import UsageError
from adapter_format.reading import adapter_directory, shorten
from adapter_format.report.progress import Bar, progress_bar
from adapter_format.report.terminal import is_terminal, paper_for
from adapter_format.report.text import NOTHING_YET, Totals, adapter_lines, add, closing_lines
from adapter_format.selection import Judged, apply_selection, read_selection
from adapter_format.validator import find_adapters, validate, validate_many

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Executor
    from typing import TextIO

    from adapter_format.findings import Report

_MOST_JOBS = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("paths", metavar="PATH", nargs="+", help="an adapter, a tree to search, or a weights file")
    parser.add_argument("--format", choices=("text", "json", "jsonl"), default="text", help="default: text")
    parser.add_argument("--output", metavar="FILE", help="write the report to FILE, complete or not at all")
    parser.add_argument("--data", action="store_true", help="read the values of the tensors as well")
    parser.add_argument(
        "--consumer",
        metavar="NAME[==VERSION]",
        action="append",
        default=[],
        dest="consumers",
        help="judge for this program as well, such as peft==0.13.2; may be given several times",
    )
    rules = "ids, slugs or prefixes such as AF3, parted by commas"
    parser.add_argument("--select", metavar="IDS", action="append", default=[], help=f"only these rules: {rules}")
    parser.add_argument("--ignore", metavar="IDS", action="append", default=[], help="all but these rules")
    parser.add_argument(
        "--severity", metavar="ID=LEVEL", action="append", default=[], help="take a rule as error, warning or info"
    )
    parser.add_argument("--strict", action="store_true", help="warnings fail too")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="judge with N processes (default: 1)")
    parser.add_argument("--exit-zero", action="store_true", help="exit with 0 in spite of findings")
    parser.add_argument("--no-fold", dest="fold", action="store_false", help="list every place of a finding")


def run(arguments: argparse.Namespace) -> int:
    """Judge every adapter found, write the report and return the exit status."""
    selection = read_selection(arguments.select, arguments.ignore, arguments.severity)
    if not 1 <= arguments.jobs <= _MOST_JOBS:
        raise UsageError(f"--jobs takes a number from 1 to {_MOST_JOBS}, found {arguments.jobs}.")
    read_requests(arguments.consumers)
    for path in arguments.paths:
        adapter_directory(path)
    barren: list[str] = []
    with open_output(arguments.output) as stream, progress_bar() as bar:
        reports = _judge(arguments, _find(arguments.paths, barren), bar)
        judged = (apply_selection(selection, report) for report in reports)
        totals = _write(arguments, judged, stream, bar)
    if not totals.adapters:
        say(f"No adapter was found under {', '.join(map(shorten, arguments.paths[:3]))}.")
        return NOTHING_FOUND
    for path in barren[:10]:
        say(f"No adapter was found under {shorten(path)}.")
    return FINDINGS if totals.failed and not arguments.exit_zero else FINE


def _find(paths: Iterable[str], barren: list[str]) -> Iterator[str]:
    """Yield every adapter once, however often the paths name it; note in `barren` the paths that hold none."""
    seen: set[str] = set()
    for path in paths:
        empty = True
        for adapter in find_adapters(path):
            empty = False
            real = os.path.realpath(adapter)
            if real not in seen:
                seen.add(real)
                yield adapter
        if empty:
            barren.append(path)


def _judge(arguments: argparse.Namespace, found: Iterable[str], bar: Bar) -> Iterator[Report]:
    if arguments.jobs == 1:
        for path in found:
            yield validate(
                path,
                data=arguments.data,
                progress=lambda done, total: bar.update(done, total, of_bytes=True),
                consumers=arguments.consumers,
            )
        return
    with _processes(arguments.jobs) as executor:
        yield from validate_many(found, data=arguments.data, executor=executor, consumers=arguments.consumers)


@contextmanager
def _processes(jobs: int) -> Iterator[Executor]:
    """Yield a pool of processes that die of Ctrl-C without a word; this process says one for all."""
    import signal
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    executor = ProcessPoolExecutor(jobs, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_DFL))
    try:
        yield executor
    except BrokenProcessPool as error:
        raise UsageError("A process that judged an adapter was ended from outside; try fewer --jobs.") from error
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _write(arguments: argparse.Namespace, judged: Iterable[Judged], stream: TextIO, bar: Bar) -> Totals:
    totals = NOTHING_YET

    def counted() -> Iterator[Judged]:
        nonlocal totals
        for item in judged:
            totals = add(totals, item, strict=arguments.strict)
            yield item
            bar.update(totals.adapters, None)

    if arguments.format == "text":
        paper = paper_for(stream)
        for report, _ in counted():
            _make_room(stream, bar)
            paper.write(adapter_lines(report, paper.width, fold=arguments.fold, strict=arguments.strict))
        _make_room(stream, bar)
        paper.write(closing_lines(totals, paper.width))
        return totals
    from adapter_format.report.json import render_json, render_jsonl

    render = render_json if arguments.format == "json" else render_jsonl
    for text in render(counted(), fold=arguments.fold):
        _make_room(stream, bar)
        stream.write(text)
        if arguments.format == "jsonl":
            stream.flush()
    return totals


def _make_room(stream: TextIO, bar: Bar) -> None:
    """Take the bar away before something is written to the terminal that it is on."""
    if is_terminal(stream):
        bar.hide()
