"""Hostile text: nothing that moves a cursor, starts a line or turns the direction of reading gets through."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_format.report.escape import elide, escape

ANY_TEXT = st.text(st.characters(), max_size=60)  # surrogates included


@given(ANY_TEXT)
def test_nothing_but_visible_characters_and_the_space_is_left(text: str) -> None:
    left = {unicodedata.category(character) for character in escape(text) if character != " "}

    assert not left & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}


@given(ANY_TEXT)
def test_escaping_twice_changes_nothing(text: str) -> None:
    assert escape(escape(text)) == escape(text)


@given(ANY_TEXT)
def test_escaped_text_can_be_encoded(text: str) -> None:
    assert escape(text).encode("utf-8").decode("utf-8") == escape(text)


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x9b31m", r"\x9b31m"),
        ("\x7f", r"\x7f"),
        ("\u202egnp", r"\u202egnp"),
        ("\u2066", r"\u2066"),
        ("\u2028", r"\u2028"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
        ("\x00", r"\x00"),
    ],
)
def test_each_kind_of_hostile_character_is_named(hostile: str, shown: str) -> None:
    assert escape(hostile) == shown


@pytest.mark.parametrize(
    "harmless", ["model.layers.0.q_proj", "Größe", "模型/適配器", "C:\\adapters\\x", "[bold]x[/]", ""]
)
def test_harmless_text_stays(harmless: str) -> None:
    assert escape(harmless) == harmless


@given(ANY_TEXT, st.integers(8, 40))
def test_an_elided_text_keeps_its_ends_and_the_limit(text: str, limit: int) -> None:
    short = elide(text, limit)

    assert len(short) <= limit
    assert short == text or (short[:2] == text[:2] and short[-2:] == text[-2:] and "..." in short)
