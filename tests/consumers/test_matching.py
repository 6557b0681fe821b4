"""Patterns and layer numbers as older releases found them, against the expressions in PEFT's sources."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_format.consumers.matching import Patterns, Sizes, layer_number, sizes
from adapter_format.patterns import PatternError, PatternTooCostly

NAMES = st.text("ab.1", max_size=6)


@given(st.lists(NAMES, max_size=3, unique=True), st.lists(NAMES, max_size=3, unique=True), NAMES)
def test_one_pattern_for_both_as_in_0_13(ranks: list[str], alphas: list[str], path: str) -> None:
    patterns = Patterns(1, 2, {key: f"r{key}" for key in ranks}, {key: f"a{key}" for key in alphas})

    found = sizes(patterns, [path], "one", "dotted")

    key = next((key for key in [*ranks, *alphas] if re.match(rf".*\.{key}$", path)), path)
    assert found == {path: Sizes(patterns.ranks.get(key, 1), patterns.alphas.get(key, 2))}


@given(st.lists(NAMES, max_size=3, unique=True), NAMES)
def test_patterns_apart_as_since_0_15(keys: list[str], path: str) -> None:
    patterns = Patterns(1, 2, {key: f"r{key}" for key in keys}, {})

    found = sizes(patterns, [path], "each", "regex")

    key = next((key for key in keys if re.match(rf"(.*\.)?({key})$", path)), path)
    assert found == {path: Sizes(patterns.ranks.get(key, 1), 2)}


def test_expressions_are_matched_as_such() -> None:
    patterns = Patterns(1, 2, {"^m.*q$": 3, "((": 9, "m.q": 4}, {})
    assert sizes(patterns, ["m.q"], "each", "regex") == {"m.q": Sizes(3, 2)}
    assert sizes(patterns, ["m.q"], "each", "dotted") == {"m.q": Sizes(4, 2)}
    assert sizes(patterns, ["m.q"], "none", "dotted") == {"m.q": Sizes(1, 2)}


def test_what_takes_too_long_is_left_open() -> None:
    patterns = Patterns(1, 2, {f"(a+)+b{number}$": 1 for number in range(200)}, {})
    paths = ["x." + "a" * 2000 + str(number) for number in range(200)]
    assert sizes(patterns, paths, "each", "regex") is None


PATHS = st.lists(st.sampled_from(["layers", "h", "blocks", "xlayers", "0", "1", "12", "q", ""]), max_size=6).map(
    ".".join
)


@given(PATHS, st.sampled_from([(), ("layers",), ("h", "layers")]))
def test_the_last_number_as_in_0_8(path: str, names: tuple[str, ...]) -> None:
    expressions = [rf".*\.{name}\.(\d+)\." for name in names] or [r".*\.[^.]*\.(\d+)\."]
    matches = (re.match(expression, path) for expression in expressions)
    expected = next((int(match[1]) for match in matches if match), None)

    assert layer_number(path, names, "last") == expected


@given(PATHS, st.sampled_from([(), ("layers",), ("h", "layers")]))
def test_the_number_behind_a_name_as_in_0_7(path: str, names: tuple[str, ...]) -> None:
    searched = names or ("layers", "h", "block", "blocks", "layer")
    matches = (re.match(rf".*.{name}\.(\d+)\.*", path) for name in searched)
    expected = next((int(match[1]) for match in matches if match), None)

    assert layer_number(path, names, "named") == expected


@given(PATHS)
def test_the_first_number_as_since_0_20(path: str) -> None:
    match = re.match(r".*?\.[^.]*\.(?P<idx>\d+)\.", path)
    assert layer_number(path, (), "first") == (int(match["idx"]) if match else None)


def test_names_that_are_expressions_are_not_followed_in_older_releases() -> None:
    with pytest.raises(PatternTooCostly):
        layer_number("m.layers.0.q", ("layer.*",), "last")
    with pytest.raises((PatternError, PatternTooCostly)):
        layer_number("m.layers.0.q", ("((",), "first")
