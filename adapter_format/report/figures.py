"""Figures in words: counts with their noun, sizes in decimal units, ranges of ranks and scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter_format.findings import Summary

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


def count(number: int, noun: str) -> str:
    """Say `1 tensor` or `1,234 tensors`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def exact_size(nbytes: int) -> str:
    """Say a number of bytes, and from a thousand on its size in units as well."""
    return f"{nbytes:,} ({size(nbytes)})" if nbytes >= 1000 else f"{nbytes:,}"


def size(nbytes: int) -> str:
    """Say a size in decimal units with one place, rounded: 33,554,432 bytes are `33.6 MB`."""
    if nbytes < 1000:
        return count(nbytes, "byte")
    for step in range(len(_UNITS)):
        unit = 1000 ** (step + 1)
        tenths = (nbytes * 20 + unit) // (2 * unit)
        if tenths < 10_000:  # else rounding has made it one of the next unit
            break
    return f"{tenths // 10:,}.{tenths % 10} {_UNITS[step]}"


def number(value: float) -> str:
    """Say a number such as a scale without needless places: 2.0 is `2`, 0.353553390593 is `0.353553`."""
    return f"{value:.6g}"


def span_of(values: Sequence[float]) -> str:
    """Say ascending numbers: all of up to four, otherwise the smallest and the largest."""
    texts = [number(value) for value in values]
    return ", ".join(texts) if len(texts) <= 4 else f"{texts[0]} to {texts[-1]} ({len(texts)} different)"


def figures(peft_type: str | None, summary: Summary) -> str:
    """Say in one line what an adapter holds, as far as it is known."""
    parts = [peft_type[:40]] if peft_type else []
    if summary.ranks:
        parts.append(f"{'rank' if len(summary.ranks) == 1 else 'ranks'} {span_of(summary.ranks)}")
    if summary.modules:
        parts.append(count(summary.modules, "module"))
    if summary.tensors is not None:
        parts.append(count(summary.tensors, "tensor"))
    if summary.parameters is not None:
        parts.append(count(summary.parameters, "parameter"))
    if summary.bytes is not None:
        parts.append(" ".join([size(summary.bytes), "/".join(summary.dtypes[:4])]).rstrip())
    return ", ".join(parts)
