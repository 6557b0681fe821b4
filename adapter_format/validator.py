"""The verdict: every rule over one adapter, or over many."""

from __future__ import annotations

import hashlib
import os
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from adapter_format.config import LEGACY_WEIGHTS_NAME, WEIGHTS_NAME
from adapter_format.consumers.held import held_in
from adapter_format.consumers.requests import read_requests
from adapter_format.dtypes import BITS
from adapter_format.errors import UnreadableAdapterError
from adapter_format.findings import SEVERITIES, Finding, Location, Report, Summary, Unchecked
from adapter_format.limits import DEFAULT_LIMITS, Limits
from adapter_format.places import with_offsets
from adapter_format.reading import adapter_directory, checkpoint_in_memory, is_adapter, read_checkpoint
from adapter_format.rules.consumers import consumer_findings, with_defects, without_consequences
from adapter_format.rules.registry import DATA_CHECK, HEADER_CHECKS, find_rule
from adapter_format.storage.safetensors_header import UNKNOWN
from adapter_format.targets import UNDECIDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from adapter_format.anatomy import Anatomy
    from adapter_format.checkpoint import Checkpoint
    from adapter_format.consumers.requests import Request
    from adapter_format.outcomes import Outcome
    from adapter_format.storage.safetensors_header import Header
    from adapter_format.tensors import TensorInfo

    Progress = Callable[[int, int], None]


def validate(
    path: str | os.PathLike[str],
    *,
    data: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    consumers: Sequence[str] = (),
) -> Report:
    """Judge one adapter.

    Args:
        path: the adapter's directory, or one of its two files.
        data: also read every tensor value.
        limits: bounds on what is read.
        progress: called with bytes done and bytes in all while values are read.
        consumers: programs to judge it for, such as `peft==0.13.2`; what they refuse or read wrong is an error.

    Raises:
        UsageError: the path does not exist or is no adapter, or a consumer is not known; damage of an adapter is a
            finding, not an error.
    """
    directory = adapter_directory(path)
    requests = read_requests(consumers)
    checkpoint = read_checkpoint(directory, limits)
    findings = without_consequences([finding for check in HEADER_CHECKS for finding in check(checkpoint)], checkpoint)
    if data:
        findings += _scan_values(directory, checkpoint, progress)
    outcomes = outcomes_for(requests, checkpoint)
    told = with_defects(outcomes, findings)
    findings += consumer_findings(outcomes)
    return _report(os.fspath(path), checkpoint, findings, data=data)._replace(consumers=told)


def outcomes_for(requests: Sequence[Request], checkpoint: Checkpoint) -> tuple[Outcome, ...]:
    """Tell what consumers do with an adapter; nothing if its config can't be read."""
    held = held_in(checkpoint)
    return tuple(request.judge(held) for request in requests) if held is not None else ()


def judge(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> tuple[Finding, ...]:
    """Judge a config and tensors that are not on disk, by every rule that needs neither file nor values."""
    checkpoint = checkpoint_in_memory(config, tensors)
    findings = without_consequences([finding for check in HEADER_CHECKS for finding in check(checkpoint)], checkpoint)
    return tuple(sorted(findings, key=_importance))


def validate_many(
    paths: Iterable[str | os.PathLike[str]],
    *,
    data: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    executor: Executor | None = None,
    consumers: Sequence[str] = (),
) -> Iterator[Report]:
    """Judge many adapters, one report each, in the order of the paths.

    Args:
        paths: adapter directories.
        data: also read every tensor value.
        limits: bounds on what is read of each.
        executor: any `concurrent.futures.Executor`; None judges in this thread as reports are asked for.
        consumers: programs to judge each for, as in `validate`.
    """
    if executor is None:
        for path in paths:
            yield validate(path, data=data, limits=limits, consumers=consumers)
        return
    from collections import deque
    from functools import partial

    pending: deque[Any] = deque()
    task = partial(validate, data=data, limits=limits, consumers=consumers)
    for path in paths:
        pending.append(executor.submit(task, path))
        if len(pending) >= 64:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def find_adapters(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield every adapter directory at or below a path, in the order of their names; links are not followed.

    Raises:
        UsageError: the path does not exist or is a file that is no part of an adapter.
    """
    root = adapter_directory(path)
    if not os.access(root, os.R_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        # It can't be searched; the verdict on the directory itself says so.
        yield root
        return
    closed: list[str] = []
    for folder, folders, _ in os.walk(root, onerror=lambda error: closed.append(str(error.filename))):
        # A folder that may not be searched could hold anything: the verdict on it says so.
        yield from closed
        closed.clear()
        folders[:] = sorted(name for name in folders if not os.path.islink(os.path.join(folder, name)))
        if is_adapter(folder):
            yield folder
    yield from closed


def _scan_values(directory: str, checkpoint: Checkpoint, progress: Progress | None) -> list[Finding]:
    header = checkpoint.header
    if header is None or not header.readable or not header.tensors:
        return []
    from adapter_format.values import TensorBytes, scan_all

    try:
        with TensorBytes(os.path.join(directory, checkpoint.weights_file), header) as source:
            statistics = scan_all(source, header, progress)
            return list(DATA_CHECK(checkpoint, statistics, source.identical))
    except UnreadableAdapterError as error:
        return [find_rule("weights-unreadable").finding(str(error), [Location(checkpoint.weights_file)])]


def _report(path: str, checkpoint: Checkpoint, findings: list[Finding], *, data: bool) -> Report:
    located = with_offsets(findings, checkpoint)
    return Report(
        path,
        _peft_type(checkpoint),
        "data" if data else "header",
        tuple(sorted(located, key=_importance)),
        (*_unchecked(checkpoint, data=data), *_undecided(findings)),
        _summarise(checkpoint),
    )


_SILENT = {"silent-wrong": 0, "warns": 1, "unknown": 2, "raises": 3, "silent-ok": 4}


def _importance(finding: Finding) -> tuple[int, int, str]:
    """Order findings: errors before warnings, and among them what a loader does not tell before what it does."""
    return SEVERITIES.index(finding.severity), _SILENT[finding.peft], finding.rule


def _peft_type(checkpoint: Checkpoint) -> str | None:
    method = checkpoint.config.get("peft_type") if checkpoint.config is not None else None
    return method if isinstance(method, str) else None


def _unchecked(checkpoint: Checkpoint, *, data: bool) -> Iterator[Unchecked]:
    header, config, anatomy = checkpoint.header, checkpoint.config, checkpoint.anatomy
    if not data and header is not None:
        yield Unchecked("tensor values", "header level; pass --data")
    if data and header is not None and not header.readable:
        yield Unchecked("tensor values", "the container is damaged")
    if header is None and checkpoint.legacy is None:
        yield Unchecked("keys, shapes and values", "the weights could not be read")
    if config is None:
        yield Unchecked("fields, targets and patterns", "the config could not be read")
    if header is None and checkpoint.legacy is not None:
        yield Unchecked("keys, shapes and values", f"{LEGACY_WEIGHTS_NAME} is a pickle; convert it to {WEIGHTS_NAME}")
    if config is not None and checkpoint.layout is None and isinstance(config.get("peft_type"), str):
        yield Unchecked("keys and shapes", f"no layout is known for the method {config['peft_type'][:40]!r}")
    if anatomy is None or config is None:
        return
    yield Unchecked("module paths, features and vocabulary of the base model", "they need the base model")
    targets = anatomy.targets
    undecided = _undecided_modules(anatomy)
    if undecided:
        yield Unchecked(f"the targeting of {undecided} modules", "a pattern is no regex or too costly to match")
    if targets is not None and not targets.names and targets.pattern is None and not targets.parameters:
        yield Unchecked(
            "which modules are targeted", "`target_modules` is null: PEFT fills it by the base's model type"
        )
    if any(_is_square(group[0].symbols) for group in anatomy.alike):
        yield Unchecked("whether factors are transposed or exchanged", "rank and features are equal in some modules")


def _undecided_modules(anatomy: Anatomy) -> int:
    """Count the modules of which can't be said whether they are targeted."""
    targets = anatomy.targets
    if targets is None:
        return 0
    if targets.by_number:
        return sum(targets.covers(path) == UNDECIDED for path in anatomy.modules)
    return sum(len(paths) for paths in anatomy.series.values() if targets.covers(paths[0]) == UNDECIDED)


def _undecided(findings: list[Finding]) -> Iterator[Unchecked]:
    """Name what the folder alone could not decide about the findings."""
    for name in dict.fromkeys(finding.rule for finding in findings):
        question = find_rule(name).undecided
        if question:
            yield Unchecked(question, f"{name}: the folder alone can't tell")


def _is_square(symbols: Mapping[str, int]) -> bool:
    return symbols.get("r") == symbols.get("d_in") == symbols.get("d_out") is not None


_DTYPE_OF = itemgetter(1)
"""Element type of a `TensorInfo`."""


def _summarise(checkpoint: Checkpoint) -> Summary:
    header, anatomy = checkpoint.header, checkpoint.anatomy
    if header is None or not header.tensors:
        return Summary(fingerprint=fingerprint(checkpoint))
    weights = _bytes_by_dtype(header)
    parameters = sum(nbytes * 8 // BITS[dtype] for dtype, nbytes in weights.items())
    ranks: tuple[int, ...] = ()
    expected = None
    size = checkpoint.size
    if anatomy is not None and size is not None:
        ranks = tuple(sorted({group[0].symbols["r"] for group in anatomy.alike if "r" in group[0].symbols}))
        expected = size.formula_bytes + sum(size.companions.values())
    return Summary(
        len(header.tensors),
        parameters,
        sum(weights.values()),
        expected,
        ranks,
        tuple(sorted(weights, key=lambda name: (-weights[name], name))),
        len(anatomy.modules) if anatomy is not None else None,
        fingerprint(checkpoint),
    )


def _bytes_by_dtype(header: Header) -> dict[str, int]:
    dtypes = set(map(_DTYPE_OF, header.tensors.values()))
    if len(dtypes) == 1 and not header.defects:
        # The tensors cover the data section exactly once.
        return {dtypes.pop(): header.file_size - header.data_start}
    weights: dict[str, int] = {}
    for _, dtype, _, start, end in header.tensors.values():
        weights[dtype] = weights.get(dtype, 0) + end - start
    weights.pop(UNKNOWN, None)
    return weights


def fingerprint(checkpoint: Checkpoint) -> str | None:
    """Identify config and header: `sha256:` over the config's bytes and every tensor's name, dtype, shape and place."""
    header = checkpoint.header
    if header is None and checkpoint.config_data is None:
        return None
    digest = hashlib.sha256(checkpoint.config_data or b"")
    if header is not None:
        digest.update(header.digest)
    return f"sha256:{digest.hexdigest()}"
