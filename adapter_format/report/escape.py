"""Hostile text made harmless: names and messages that come from an adapter, in every report."""

from __future__ import annotations

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape(text: str) -> str:
    r"""Replace every character that does not print by its backslash escape, such as `\x1b` or `\u202e`.

    These are the control characters (C0, C1, DEL), line and paragraph separators, every space but the common one, the
    format characters (bidirectional controls among them), lone surrogates, and code points that stand for nothing.
    Backslashes stay single, so that paths stay legible; escaped text is not changed by escaping it again.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _name(character) for character in text)


def _name(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return _SHORT.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def elide(text: str, limit: int) -> str:
    """Shorten a text to `limit` characters by leaving out its middle."""
    if len(text) <= limit:
        return text
    head = (limit - 3) // 2
    return f"{text[:head]}...{text[len(text) - (limit - 3 - head) :]}"
