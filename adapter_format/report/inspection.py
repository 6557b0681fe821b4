"""What is inside an adapter, for people and as JSON."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from adapter_format.consumers.history import span_words
from adapter_format.report.escape import elide
from adapter_format.report.figures import count, number, size, span_of
from adapter_format.report.json import SPEC_VERSION, TOOL, report_to_dict
from adapter_format.report.page import BLANK, Line, Span, line, table, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from adapter_format.findings import Report
    from adapter_format.inspection import Inspection, ModuleGroup

_LABEL = 13
_LONGEST_VALUE = 160
_SHOWN_GROUPS = 200


def inspection_lines(inspection: Inspection, width: int) -> Iterator[Line]:
    """Set what is inside an adapter."""
    yield line(Span(elide(inspection.report.path, 200), "strong"))
    for label, text in _facts(inspection):
        yield from wrap([text], width, indent=2 + _LABEL, label=Span(f"  {label}".ljust(2 + _LABEL), "dim"))
    if inspection.groups:
        yield BLANK
        yield from _module_table(inspection.groups, width)
    if inspection.companions:
        yield BLANK
        rows = [
            (f"{group.tensors:,}", f"{group.parameters:,}", f"{group.bytes:,}", group.what)
            for group in inspection.companions
        ]
        yield from table(("tensors", "parameters", "bytes", "beside the modules"), rows, width, numeric="rrr")
    verdict = _verdict(inspection.report)
    if verdict:
        yield BLANK
        yield from wrap(verdict, width)


def _facts(inspection: Inspection) -> Iterator[tuple[str, str]]:
    report, summary = inspection.report, inspection.report.summary
    if report.peft_type is None:
        yield "method", "the config does not say"
    else:
        yield "method", f"{report.peft_type[:80]} ({inspection.title or 'no layout is known for it'})"
    base = inspection.base or "the config names none"
    revision = f", revision {elide(inspection.revision, 80)}" if inspection.revision else ""
    yield "base", elide(base, _LONGEST_VALUE) + revision
    if inspection.task:
        yield "task", elide(inspection.task, 80)
    if summary.ranks:
        yield "rank", span_of(summary.ranks)
    if inspection.groups and inspection.divisor is not None:
        yield "alpha", _known(sorted({group.alpha for group in inspection.groups if group.alpha is not None}))
        formula = _formula(inspection, " / ")
        scales = sorted({group.scale for group in inspection.groups if group.scale is not None})
        yield "scale", f"{_known(scales)} = {formula}" if scales else _known(scales)
    if summary.modules:
        yield "modules", f"{summary.modules:,}"
    if summary.tensors is not None:
        yield "tensors", f"{summary.tensors:,}"
    if summary.parameters is not None:
        yield "parameters", f"{summary.parameters:,}"
    if summary.bytes is not None:
        yield "bytes", _bytes(inspection, summary.bytes)
    if summary.dtypes:
        yield "dtype", ", ".join(summary.dtypes)
    if inspection.settings:
        yield "settings", ", ".join(f"{name} {_value(value)}" for name, value in inspection.settings.items())
    yield "loads right", _releases(inspection)
    if summary.fingerprint:
        yield "fingerprint", f"{summary.fingerprint} (of config and header, not of the values)"


def _releases(inspection: Inspection) -> str:
    ranges = inspection.loads_right
    if ranges is None:
        return "not known in which releases"
    return f"in PEFT {span_words(ranges)}" if ranges else "in no release of PEFT that is known here"


def _known(values: list[float]) -> str:
    return span_of(values) if values else "not known"


def _value(value: object) -> str:
    return elide(json.dumps(value), _LONGEST_VALUE)


def _bytes(inspection: Inspection, stored: int) -> str:
    text = f"{stored:,} ({size(stored)})" if stored >= 1_000_000 else f"{stored:,}"
    if inspection.size is None:
        return text
    parts = [f"{inspection.size.formula_bytes:,} by the formula"]
    parts += [f"{nbytes:,} {what}" for what, nbytes in inspection.size.companions.items()]
    if inspection.size.unexplained:
        parts.append(f"{inspection.size.unexplained:+,} in shapes that do not fit")
    return (
        f"{text}, as the formula gives" if parts == [f"{stored:,} by the formula"] else f"{text} = {' + '.join(parts)}"
    )


def _module_table(groups: tuple[ModuleGroup, ...], width: int) -> Iterator[Line]:
    shown = groups[:_SHOWN_GROUPS]
    columns = [column for column in _columns(groups, shown) if column is not None]
    header = [name for name, _, _ in columns] + ["path"]
    rows = list(zip(*(values for _, _, values in columns), strict=True))
    paths = [elide(group.path, 200) for group in shown]
    taken = sum(max(map(len, column)) + 2 for column in zip(header, *rows, strict=False))
    stem = _common_stem(paths) if taken + max(map(len, paths)) > width else ""
    if stem:
        yield from wrap([Span(f"Below {stem}:", "dim")], width)
    cells: list[tuple[Span | str, ...]] = [
        (*row, Span(path[len(stem) + bool(stem) :], "" if group.fits else "error"))
        for row, path, group in zip(rows, paths, shown, strict=True)
    ]
    yield from table(header, cells, width, numeric="".join(alignment for _, alignment, _ in columns))
    if len(groups) > len(shown):
        yield line(Span(f"and {len(groups) - len(shown):,} more rows, which the JSON output lists", "dim"))


def _columns(
    groups: tuple[ModuleGroup, ...], shown: tuple[ModuleGroup, ...]
) -> Iterator[tuple[str, str, list[str]] | None]:
    """Yield name, alignment and cells of every column but the path; None for one that would say nothing."""
    symbols = _telling_symbols(groups)
    alike = len({tuple(group.symbols) for group in groups}) == 1
    yield "modules", "r", [f"{group.modules:,}" for group in shown]
    kinds = [group.kind for group in shown]
    yield ("kind", "l", kinds) if len({group.kind for group in groups}) > 1 else None
    has_rank = any(group.rank is not None for group in groups)
    yield ("rank", "r", [str(group.rank) if group.rank is not None else "?" for group in shown]) if has_rank else None
    sizes = [[(name, value) for name, value in group.symbols.items() if name in symbols] for group in shown]
    if symbols and alike:
        yield " x ".join(symbols), "r", [" x ".join(f"{value:,}" for _, value in found) for found in sizes]
    elif symbols:
        yield "sizes", "r", [", ".join(f"{name} {value:,}" for name, value in found) for found in sizes]
    scales = [number(group.scale) if group.scale is not None else "?" for group in shown]
    yield ("scale", "r", scales) if any(group.scale is not None for group in groups) else None
    yield "dtype", "l", ["/".join(group.dtypes) for group in shown]
    yield "parameters", "r", [f"{group.parameters:,}" for group in shown]


def _formula(inspection: Inspection, slash: str, rank: str = "rank") -> str | None:
    """Say how the scale is computed; None for a method without one."""
    divisor = inspection.divisor
    if divisor is None:
        return None
    text = rank if divisor == "r" else divisor if divisor.isidentifier() else f"({divisor})"
    if inspection.square_root:
        text = f"sqrt({text})"
    return "alpha" if divisor == "1" else f"alpha{slash}{text}"


def _telling_symbols(groups: tuple[ModuleGroup, ...]) -> tuple[str, ...]:
    """Return the sizes worth a column: not those that are 1 everywhere, such as the groups of plain convolutions."""
    names = dict.fromkeys(name for group in groups for name in group.symbols)
    return tuple(name for name in names if any(group.symbols.get(name, 1) != 1 for group in groups))


def _common_stem(paths: list[str]) -> str:
    """Return the leading parts that all paths share, short of the last part of any."""
    parts = [path.split(".") for path in paths]
    stem: list[str] = []
    for level in zip(*(path[:-1] for path in parts), strict=False):
        if len(set(level)) > 1:
            break
        stem.append(level[0])
    return ".".join(stem)


def _verdict(report: Report) -> list[Span | str]:
    if not report.findings:
        return []
    severity = report.findings[0].severity
    numbers = [(report.number(name), name) for name in ("error", "warning", "info") if report.number(name)]
    found = ", ".join(count(found, name) for found, name in numbers)
    return [Span(found, severity), "; `adapter-format validate` says which."]


def inspection_to_dict(inspection: Inspection) -> dict[str, Any]:
    """Return what is inside an adapter as JSON values."""
    entry = report_to_dict(inspection.report)
    return {
        "tool": TOOL,
        "spec_version": SPEC_VERSION,
        "path": entry["path"],
        "ok": entry["ok"],
        "peft_type": entry["peft_type"],
        "summary": entry["summary"],
        "base_model": inspection.base,
        "revision": inspection.revision,
        "task_type": inspection.task,
        "scale_formula": _formula(inspection, "/", rank="r"),
        "settings": {name: _finite(value) for name, value in inspection.settings.items()},
        "modules": [_group_to_dict(group) for group in inspection.groups],
        "companions": [group._asdict() for group in inspection.companions],
        "size": _size_to_dict(inspection),
        "loads_right": None if inspection.loads_right is None else [span._asdict() for span in inspection.loads_right],
    }


def _group_to_dict(group: ModuleGroup) -> dict[str, Any]:
    entry: Mapping[str, Any] = group._asdict()
    return {"path": group.path, "count": group.modules, **{name: entry[name] for name in group._fields[2:]}}


def _size_to_dict(inspection: Inspection) -> dict[str, Any] | None:
    if inspection.size is None:
        return None
    return {
        "stored_bytes": inspection.size.stored_bytes,
        "formula_bytes": inspection.size.formula_bytes,
        "role_bytes": dict(inspection.size.role_bytes),
        "companion_bytes": dict(inspection.size.companions),
        "unexplained_bytes": inspection.size.unexplained,
    }


def _finite(value: Any) -> Any:
    """Replace what JSON has no word for, infinities and NaN, by their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
