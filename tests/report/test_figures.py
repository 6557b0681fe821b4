"""Figures in words."""

from __future__ import annotations

import pytest

from adapter_format.findings import Summary
from adapter_format.report.figures import count, figures, number, size, span_of


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (65_664, "65.7 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (33_554_432, "33.6 MB"),
        (13_476_831_232, "13.5 GB"),
        (10**12, "1.0 TB"),
        (10**30, "1,000,000,000,000.0 EB"),
    ],
)
def test_a_size_is_decimal_and_rounded(nbytes: int, text: str) -> None:
    assert size(nbytes) == text


def test_one_thing_is_no_plural() -> None:
    assert (count(1, "tensor"), count(1234, "tensor"), count(0, "info")) == ("1 tensor", "1,234 tensors", "0 infos")


def test_scales_carry_no_needless_places() -> None:
    assert (number(2.0), number(16 / 8**0.5), number(0.25)) == ("2", "5.65685", "0.25")


def test_many_values_are_a_range() -> None:
    assert span_of([1, 2, 3, 4]) == "1, 2, 3, 4"
    assert span_of([1, 2, 3, 4, 64]) == "1 to 64 (5 different)"


def test_figures_leave_out_what_is_not_known() -> None:
    assert figures("LORA", Summary()) == "LORA"
    assert figures(None, Summary(tensors=2, parameters=8, bytes=32, dtypes=("F32",))) == (
        "2 tensors, 8 parameters, 32 bytes F32"
    )
