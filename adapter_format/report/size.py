"""A predicted size for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.report.figures import count, exact_size
from adapter_format.report.json import SPEC_VERSION, TOOL
from adapter_format.report.page import BLANK, Line, Span, line, table, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

_LABEL = 12


class Row(NamedTuple):
    """Modules of one size.

    Attributes:
        name: what the caller calls them.
        modules: how many they are.
        d_in: input features.
        d_out: output features.
        parameters: stored elements of one of them.
    """

    name: str
    modules: int
    d_in: int
    d_out: int
    parameters: int


class Forecast(NamedTuple):
    """What an adapter will be like.

    Attributes:
        peft_type: the method.
        rank: rank of its factors, None for a method without one.
        dtype: element type.
        rows: the modules by size.
        shared: elements that all modules share.
        parameters: stored elements of all.
        bytes: bytes of tensor data.
        base_parameters: parameters of the base model to compare with.
        base_bytes: its bytes.
    """

    peft_type: str
    rank: int | None
    dtype: str
    rows: tuple[Row, ...]
    shared: int
    parameters: int
    bytes: int
    base_parameters: int | None
    base_bytes: int | None


def forecast_lines(forecast: Forecast, width: int) -> Iterator[Line]:
    """Set a predicted size."""
    modules = sum(row.modules for row in forecast.rows)
    rank = f", rank {forecast.rank}" if forecast.rank is not None else ""
    many = f", {count(modules, 'module')}" if forecast.rows else ""
    yield line(Span(f"{forecast.peft_type}{rank}{many}, {forecast.dtype}", "strong"))
    yield BLANK
    rows = [
        (
            f"{row.modules:,}",
            f"{row.d_in:,} x {row.d_out:,}",
            f"{row.parameters:,}",
            f"{row.modules * row.parameters:,}",
            row.name,
        )
        for row in forecast.rows
    ]
    if rows:
        yield from table(("modules", "d_in x d_out", "each", "parameters", "name"), rows, width, numeric="rrrr")
        yield BLANK
    shared = f", of which {forecast.shared:,} are shared by all modules" if forecast.shared and rows else ""
    yield from _entry("parameters", f"{forecast.parameters:,}{shared}", width)
    yield from _entry("bytes", exact_size(forecast.bytes), width)
    if forecast.base_parameters is not None and forecast.base_bytes is not None:
        times = forecast.base_bytes / forecast.bytes
        text = f"{forecast.base_parameters:,} parameters, {forecast.base_bytes:,} bytes: {times:,.0f} times the adapter"
        yield from _entry("base", text, width)


def _entry(label: str, text: str, width: int) -> Iterator[Line]:
    return wrap([text], width, indent=_LABEL, label=Span(label.ljust(_LABEL), "dim"))


def forecast_to_dict(forecast: Forecast) -> dict[str, Any]:
    """Return a predicted size as JSON values."""
    base_bytes = forecast.base_bytes
    return {
        "tool": TOOL,
        "spec_version": SPEC_VERSION,
        "peft_type": forecast.peft_type,
        "rank": forecast.rank,
        "dtype": forecast.dtype,
        "modules": [row._asdict() for row in forecast.rows],
        "shared_parameters": forecast.shared,
        "parameters": forecast.parameters,
        "bytes": forecast.bytes,
        "base_parameters": forecast.base_parameters,
        "base_bytes": base_bytes,
        "times_smaller": None if base_bytes is None else round(base_bytes / forecast.bytes, 1),
    }
