"""Setting of text: widths hold, words stay whole, tables line up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapter_format.report.page import LONGEST_WORD, Span, columns, line, plain, table, wrap

WORDS = st.lists(st.text("abcdefghij.", min_size=1, max_size=30), max_size=40)


@given(WORDS, st.integers(20, 120), st.integers(0, 10))
def test_a_paragraph_keeps_its_words_and_its_width(words: list[str], width: int, indent: int) -> None:
    lines = plain(wrap([" ".join(words)], width, indent)).splitlines()

    assert " ".join(lines).split() == words
    assert all(len(text) <= width or len(text.split()) == 1 for text in lines)
    assert all(text.startswith(" " * indent) for text in lines)


def test_a_label_stands_in_the_indent_of_the_first_line() -> None:
    text = plain(wrap(["one two three"], width=12, indent=6, label="mend:"))

    assert text == " mend:one\n      two\n      three\n"


def test_spans_without_a_space_between_them_stay_together() -> None:
    assert plain(wrap([Span("aaaa", "strong"), ": bbbb"], width=5)) == "aaaa:\nbbbb\n"


def test_wide_characters_take_two_columns_and_combining_ones_none() -> None:
    assert (columns("abc"), columns("模型"), columns("e\u0301")) == (3, 4, 1)


def test_a_line_breaks_no_other_lines() -> None:
    assert plain([line("a\nb", Span("\x1b[31m", "error"))]) == "a\\nb\\x1b[31m\n"


def test_a_word_of_a_million_characters_is_shortened() -> None:
    assert len(plain(wrap([f"before {'x' * 1_000_000} after"], 80))) < LONGEST_WORD + 40


def test_a_table_sets_numbers_to_the_right_and_wraps_its_last_column() -> None:
    rows = [("1", "first"), ("1,000", "second one")]

    assert plain(table(("n", "title"), rows, 80, numeric="r")) == "    n  title\n    1  first\n1,000  second one\n"


def test_a_table_without_room_puts_the_last_column_below() -> None:
    rows = [("1,000", "model.layers.*.self_attn.q_proj")]

    assert plain(table(("count", "path"), rows, 30)) == "count\n1,000\n    model.layers.*.self_attn.q_proj\n"


def test_a_long_title_continues_under_itself() -> None:
    text = plain(table(("id", "title"), [("AF1", "word " * 12)], 48))

    assert text.splitlines()[2].startswith("     word")


@given(st.text(st.characters(), max_size=40), st.sampled_from(["", "error", "dim"]))
def test_every_way_into_a_line_escapes(text: str, style: str) -> None:
    lines = [line(text), *wrap([Span(text, style)], 40, 4, label=text), *table(("a", "b"), [(text, text)], 60)]

    assert all(span.text.isprintable() for spans in lines for span in spans)
