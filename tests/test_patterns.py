"""Patterns of an untrusted file: the verdict of `re`, in bounded time."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapter_format import patterns
from adapter_format.automaton import Automaton
from adapter_format.patterns import (
    Budget,
    Pattern,
    PatternError,
    PatternKeys,
    PatternTooCostly,
    compile_pattern,
    fullmatch,
    layer_index,
    pattern_key_matches,
    saved_module_matches,
)
from adapter_format.regex_parser import parser

if TYPE_CHECKING:
    from collections.abc import Callable

UNSLOTH = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?"
    r"(?:k_proj|v_proj|q_proj|out_proj|fc1|fc2).*?)|(?:\bmodel\.layers\.[\d]{1,}\."
    r"(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\."
    r"(?:(?:k_proj|v_proj|q_proj|out_proj|fc1|fc2)))"
)
REAL = [
    r".*\.(q_proj|v_proj)$",
    r"^(?!.*visual).*(?:q_proj|k_proj).*",
    UNSLOTH,
    r".*\.layers\.(?:[0-9]|1[0-9]|2[0-3])\.self_attn\.(q|k|v|o)_proj",
    r"^(?!.*(?:vision|visual))(?=.*language).*?(?:layers).*?(?:self|mlp).*?(?:q_proj|k_proj|up_proj).*?",
    r"(?i).*Q_PROJ",
    r"model\.layers\.\d+\.[a-z_]+\.(q_proj|up_proj)",
    r".*(?<!visual\.blocks\.0\.)attn\.q_proj",
]
PATHS = [
    f"{stem}.{number}.{leaf}"
    for stem in (
        "model.layers",
        "model.language_model.layers",
        "model.visual.blocks",
        "text_model.encoder.layers",
    )
    for number in (0, 1, 23, 24)
    for leaf in ("self_attn.q_proj", "self_attn.k_proj", "attn.q_proj", "mlp.up_proj", "mlp.fc1")
]
NAME = "base_model.model.model.layers.11.self_attn.q_proj"

pieces = st.sampled_from(
    [
        *"abAB_.1\n",
        ".",
        r"\.",
        r"\d",
        r"\w",
        r"\W",
        r"\s",
        r"\b",
        r"\B",
        "^",
        "$",
        r"\A",
        r"\Z",
        "[ab]",
        "[^a.]",
        "[a-b1]",
        "é",
    ]
)
regexes = st.recursive(
    pieces,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda ways: f"(?:{'|'.join(ways)})"),
        inner.map(lambda item: f"({item})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}", "{,3}?"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        inner.map(lambda item: f"(?={item})"),
        inner.map(lambda item: f"(?!{item})"),
        inner.map(lambda item: f"(?<={item})"),
        inner.map(lambda item: f"(?<!{item})"),
        inner.map(lambda item: f"(?i:{item})"),
        inner.map(lambda item: f"(?ms:{item})"),
        inner.map(lambda item: f"(?a:{item})"),
    ),
    max_leaves=8,
).filter(lambda regex: len(re.findall(r"\)[*+?{]", regex)) <= 3)  # with more, `re` itself may hang
texts = st.text(alphabet="abAB_.1 \né", max_size=6)
short_paths = st.lists(st.sampled_from(["a", "b", "ab", "1", ""]), max_size=3).map(".".join)
paths = st.lists(st.sampled_from(["a", "b", "ab", "1", "12", "layers", "h", "", "x\n", "٣"]), max_size=6).map(".".join)
dotted = st.text(alphabet="ab.1\n", max_size=6)


def reference(pattern: str, text: str, how: str) -> bool | None:
    """What `re` says, or None when it refuses the pattern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compiled = re.compile(pattern)
        except (re.error, OverflowError, RecursionError):
            return None
    return getattr(compiled, how)(text) is not None


def ours(run: Callable[..., object], *arguments: str) -> bool | None:
    try:
        return bool(run(*arguments))
    except PatternError:
        return None


# The same verdict as `re`.


@settings(max_examples=250, deadline=None)
@given(regexes, texts)
@example(r"(?:a|)*b", "ab")
@example(r"(?:|a){2}", "aa")
@example(r"a$", "a\n")
@example(r"\B", "")
@example(r"(?<=a)b", "ab")
@example(r"(?:a*)*", "\n")
@example("(", "")
@example("(?<=a*)b", "b")
@example("a{5000000000}", "")
def test_the_verdict_is_that_of_re(regex: str, text: str) -> None:
    assert ours(fullmatch, regex, text) == reference(regex, text, "fullmatch")


@settings(max_examples=250, deadline=None)
@given(regexes, texts)
@example(r"\b", "")
@example(r"(?m:^)a", "a")
@example(r"a(?m:$)\n", "a\nb")
def test_the_automaton_agrees_with_re(regex: str, text: str) -> None:
    expected = reference(regex, text, "fullmatch")
    if expected is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        automaton = Automaton(parser.parse(regex, 0))
    assert automaton.fullmatch(text, Budget(10**6)) == expected
    assert automaton.match(text, Budget(10**6)) == reference(regex, text, "match")


@settings(max_examples=250, deadline=None)
@given(st.one_of(regexes, dotted, st.text(alphabet="ab|.()\\1", max_size=6)), st.one_of(texts, short_paths))
@example("a)(b", "ab")
@example("a|b", "x.b")
@example("a", "x\n.a")
@example("a", "x.a\n")
@example("", "x.")
@example(r"(a)\2", "aa")
def test_a_pattern_key_matches_as_in_peft(key: str, path: str) -> None:
    expected = reference(rf"(.*\.)?({key})$", path, "match")
    try:
        assert ours(pattern_key_matches, key, path) == expected
    except PatternTooCostly:
        assert "\\" in key


@settings(max_examples=250, deadline=None)
@given(st.one_of(regexes, dotted), st.one_of(texts, short_paths))
@example("a", "a\n")
@example("a", "b.a\n.c")
@example("a|b", "axx")
def test_a_saved_module_matches_as_in_peft(name: str, path: str) -> None:
    assert ours(saved_module_matches, name, path) == reference(rf"(^|.*\.){name}($|\..*)", path, "match")


@settings(max_examples=250, deadline=None)
@given(st.one_of(texts, paths))
@example("a.b.٣.c")
@example("a.x\n.1.c")
@example("a\n.x.1.c")
@example("1.2.3.4")
def test_the_layer_without_a_pattern_is_that_of_peft(path: str) -> None:
    found = re.match(r".*?\.[^.]*\.(?P<idx>\d+)\.", path)
    assert layer_index(path, None) == layer_index(path, "") == (None if found is None else int(found["idx"]))


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(["layers", "h", "a|b", "a.b", "(?:h|layers)", "[^.]*", "(", r"\w+", "a*?"]), paths)
@example("h|layers", "h.x")
def test_the_layer_of_a_pattern_is_that_of_peft(pattern: str, path: str) -> None:
    try:
        found = re.match(rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\.", path)
        expected = None if found is None else int(found["idx"])
    except (re.error, TypeError):
        with pytest.raises(PatternError):
            layer_index(path, pattern)
    else:
        assert layer_index(path, pattern) == expected


@given(st.lists(st.one_of(dotted, regexes), max_size=6), st.lists(paths, max_size=4))
@example(["a.b", "aXb", "b"], ["x.aXb", "aXb", "a.b", "x.b"])
@settings(max_examples=200, deadline=None)
def test_keys_looked_up_together_match_as_one_by_one(keys: list[str], some: list[str]) -> None:
    try:
        together = PatternKeys(keys)
    except PatternError:
        assert any(reference(rf"(.*\.)?({key})$", "", "match") is None for key in keys)
        return
    for path in some:
        one_by_one = next((key for key in keys if pattern_key_matches(key, path)), None)
        assert together.first(path) == one_by_one


# Real patterns.


@pytest.mark.parametrize("regex", REAL)
def test_real_patterns_are_never_refused(regex: str) -> None:
    assert [fullmatch(regex, path) for path in PATHS] == [re.fullmatch(regex, path) is not None for path in PATHS]


@pytest.mark.parametrize("regex", REAL)
def test_real_patterns_hit_some_paths_and_not_all(regex: str) -> None:
    assert 0 < sum(fullmatch(regex, path) for path in PATHS) < len(PATHS)


@pytest.mark.parametrize("regex", REAL)
def test_real_patterns_take_less_than_a_thousandth_of_a_second_for_each_path(regex: str) -> None:
    budget = Budget(len(PATHS) * 5000)
    for path in PATHS:
        compile_pattern(regex).fullmatch(path, budget)
    assert budget.left > 0


def test_many_full_paths_as_alternatives_are_matched() -> None:
    regex = "|".join(map(re.escape, PATHS))
    assert all(fullmatch(regex, path) for path in PATHS)
    assert not fullmatch(regex, PATHS[0][:-1])


def test_many_keys_are_found_without_trying_each() -> None:
    names = [f"model.layers.{number}.self_attn.q_proj" for number in range(2000)]
    keys = PatternKeys(names)
    budget = Budget(2000 * 10)
    assert [keys.first(f"base.{name}", budget) for name in names] == names


# Catastrophic patterns: the cost is counted, not timed.

CATASTROPHIC = [
    r"(\w+\.?)*!",
    r"(a+)+$",
    r"(a|a)*b",
    r"(.*)*x",
    r".*.*.*.*.*.*x",
    r"(x{0,9999}){0,9999}",
    r"(?:a|b)*a(?:a|b){200}",
    r"(?:a?){30}a{30}",
    r"(?:.*?a)?" * 500,
    r"(?:|a){100000000}",
    r"(?:){1000000000}",
    r"((((.{99}){99}){99}){99})",
    r"(?:(?=.*.*.*.*.*x)a)*.*.*.*b",
    r"(?=.*a)" * 1000,
    "a|" * 4000 + "b",
    "|".join(f"layer{number}" for number in range(900)),
    "a" * 1_000_000,
    "(a+)+" * 200_000,
    "(" * 4000 + ")" * 4000,
    "[\u0100-\uffff]" * 1000,
    r"(a*)*\1",
]


@pytest.mark.parametrize("regex", CATASTROPHIC, ids=lambda regex: regex[:20].replace("\uffff", "."))
@pytest.mark.parametrize("text", [NAME, "a" * 60, "a" * 1000, "x" * 1000, "model.layers." * 70])
def test_a_catastrophic_pattern_costs_bounded_work(regex: str, text: str) -> None:
    budget = Budget(10**9)
    with suppress(PatternTooCostly):
        fullmatch(regex, text, budget)
    assert 10**9 - budget.left <= patterns.MAX_STEPS


@pytest.mark.parametrize(
    ("regex", "text", "expected"),
    [
        (r"(\w+\.?)*!", NAME, False),
        (r"(\w+\.?)*!", NAME + "!", True),
        (r"(a+)+$", "a" * 60, True),
        (r"(a+)+$", "a" * 60 + "b", False),
        (r"(a|a)*b", "a" * 60, False),
        (r"(.*)*x", NAME, False),
        (r".*.*.*.*.*.*x", "y" * 500 + "x", True),
        (r"(x{0,9999}){0,9999}", "x" * 1000, True),
    ],
)
def test_a_catastrophic_pattern_still_has_its_verdict(regex: str, text: str, expected: bool) -> None:
    assert fullmatch(regex, text) is expected


def test_re_is_not_given_a_pattern_that_may_backtrack_exponentially(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    original = Pattern._fits_re

    def watched(self: Pattern, text: str, budget: Budget | None) -> bool:
        fits = original(self, text, budget)
        if fits:
            used.append(self.text)
        return fits

    monkeypatch.setattr(Pattern, "_fits_re", watched)
    for regex in (r"(\w+\.?)*!", r"(a+)+$", r"(a|a)*b", r"(.*)*x", r".*.*.*.*.*.*x", r"(?:a?){30}a{30}"):
        fullmatch(regex, "a" * 40)
    assert used == []


@pytest.mark.parametrize("regex", [r"(a*)\1", r"(a)?(?(1)b|c)", r"(.)(.)*.*\2", "a" * 9000, "(" * 4000 + ")" * 4000])
def test_what_cannot_be_bounded_is_refused(regex: str) -> None:
    with pytest.raises(PatternTooCostly):
        fullmatch(regex, "aaaa")


def test_a_very_long_name_is_refused_where_a_pattern_is_needed() -> None:
    with pytest.raises(PatternTooCostly, match="2000 characters"):
        fullmatch(".*x", "y" * 2000)


def test_a_layer_number_behind_a_costly_pattern_is_refused() -> None:
    with pytest.raises(PatternTooCostly, match="group"):
        layer_index(NAME, "(a+)+")


def test_a_budget_is_used_up_by_many_matches_and_then_refuses() -> None:
    budget = Budget(10_000)
    with suppress(PatternTooCostly):
        for _ in range(2000):
            fullmatch(UNSLOTH, NAME, budget)
    assert budget.left == 0
    with pytest.raises(PatternTooCostly):
        fullmatch(r".*\.q_proj", NAME, budget)


def test_a_match_costs_the_same_when_it_is_remembered() -> None:
    costs = []
    for _ in range(3):
        budget = Budget(10**6)
        fullmatch(UNSLOTH + "|never", NAME, budget)
        costs.append(budget.left)
    assert len(set(costs)) == 1


def test_too_many_keys_that_are_expressions_are_refused() -> None:
    with pytest.raises(PatternTooCostly, match="2000 keys"):
        PatternKeys(f"x{number}+" for number in range(2001))


# Errors.


@pytest.mark.parametrize(
    "regex", ["(", "*", "[a", "a{3,1}", "(?P<1>a)", "(?<=a+)b", "a**", "(?z)", r"\q", "a{5000000000}"]
)
def test_what_re_refuses_is_an_error(regex: str) -> None:
    with pytest.raises(PatternError, match="is not a regular expression"):
        compile_pattern(regex)
    assert reference(regex, "", "match") is None


def test_an_error_names_the_pattern_and_the_place_in_it() -> None:
    with pytest.raises(PatternError, match=r"^'q_proj\(' is not a regular expression: .* at position 6$"):
        pattern_key_matches("q_proj(", "q_proj")


def test_a_refusal_stays_short() -> None:
    with pytest.raises(PatternTooCostly) as caught:
        compile_pattern("(a+)+" * 200_000)
    assert len(str(caught.value)) < 250


def test_an_error_stays_short() -> None:
    with pytest.raises(PatternError) as caught:
        compile_pattern("(" + "a" * 5000)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("regex", ["[[a]", "[a--b]", "[a&&b]", "[a||b]", "[a~~b]", "a(?i)b", "(a)(?(1)b)"])
def test_no_warning_of_re_escapes(regex: str) -> None:
    patterns._outcome.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verdict = ours(compile_pattern, regex)
    expected = reference(regex, "", "match")
    assert (verdict is None) == (expected is None)
