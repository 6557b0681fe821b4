"""A scanner of JSON text that says what is wrong, where, and at which JSON pointer.

It builds no values; `strict_json` runs it on documents that are known to be unusual.
"""

from __future__ import annotations

import json
import re
from math import isinf
from typing import Final, NamedTuple

__all__ = ["BrokenError", "Fault", "Faults", "scan", "skip_blank"]

_MOST_POINTERS: Final = 1_000_000  # characters in all pointers of a document together

_blank = re.compile(r"[ \t\n\r]*").match
_plain = re.compile(r'[^"\\\x00-\x1f]*').match
_escape = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})').match
_high = re.compile(r"\\u[dD][89abAB]").match
_low = re.compile(r"\\u[dD][c-fC-F]").match
_number = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?").match
_numberlike = re.compile(r"[-+]?[0-9.][-+0-9.eE]*").match
_literal = re.compile(r"true|false|null").match
_constant = re.compile(r"NaN|-?Infinity").match
_word = re.compile(r"[^\W\d]\w*").match
_MEANT: Final = {
    "True": "true",
    "False": "false",
    "None": "null",
    "undefined": "null",
    "nan": "null",
    "inf": "null",
}


class Fault(NamedTuple):
    """A defect whose places are counted in characters; `earlier` is where the same key stood first, or -1."""

    kind: str
    message: str
    position: int
    pointer: str
    earlier: int = -1


class BrokenError(Exception):
    """The scan can't go on."""

    def __init__(self, message: str, position: int, kind: str = "syntax") -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.kind = kind


class Faults:
    """Collects faults up to a number, and up to a size of their pointers."""

    __slots__ = ("_room", "_space", "dropped", "listed")

    def __init__(self, most: int) -> None:
        self.listed: list[Fault] = []
        self.dropped = 0
        self._room = most
        self._space = _MOST_POINTERS

    def add(self, kind: str, message: str, position: int, path: list[str | int], earlier: int = -1) -> None:
        """Add a fault at the place to which `path` leads, or only count it."""
        if self._room <= 0 or self._space <= 0:
            self.dropped += 1
        else:
            self._room -= 1
            self.last(kind, message, position, path, earlier)

    def last(self, kind: str, message: str, position: int, path: list[str | int], earlier: int = -1) -> None:
        """Add what ends the scan, for which there is always room."""
        pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
        self._space -= len(pointer)
        self.listed.append(Fault(kind, message, position, pointer, earlier))


def scan(text: str, path: list[str | int], faults: Faults, max_depth: int, max_digits: int) -> None:
    """Go through the document, with `path` always at the place that is looked at; raises BrokenError."""
    keys: list[dict[str, int] | None] = []  # for each open object its keys, for each open array None
    position = skip_blank(text, 0)
    while True:
        start = text[position : position + 1]
        if start == "{" or start == "[":
            if len(keys) == max_depth:
                message = f"objects and arrays are nested more than {max_depth} deep"
                raise BrokenError(message, position, "too-deep")
            inside = skip_blank(text, position + 1)
            if start == "[":
                if text[inside : inside + 1] != "]":
                    keys.append(None)
                    path.append(0)
                    position = inside
                    continue
                position = inside + 1
            elif text[inside : inside + 1] != "}":
                seen: dict[str, int] = {}
                keys.append(seen)
                position = _member(text, inside, path, seen, faults, "a key in double quotes or '}'")
                continue
            else:
                position = inside + 1
        else:
            position = _scalar(text, position, start, path, faults, max_digits)
        # A value has ended; so may what holds it.
        while True:
            position = skip_blank(text, position)
            if not keys:
                if position < len(text):
                    raise BrokenError(f"expected the end of the document but found {_found(text, position)}", position)
                return
            owner = keys[-1]
            close = "]" if owner is None else "}"
            start = text[position : position + 1]
            if start == close:
                keys.pop()
                path.pop()
                position += 1
                continue
            if start != ",":
                raise BrokenError(f"expected ',' or '{close}' but found {_found(text, position)}", position)
            inside = skip_blank(text, position + 1)
            if text[inside : inside + 1] == close:
                raise BrokenError(f"found ',' before '{close}', where JSON allows no comma", position)
            if owner is None:
                last = path[-1]
                path[-1] = last + 1 if isinstance(last, int) else 0
                position = inside
            else:
                path.pop()
                position = _member(text, inside, path, owner, faults, "a key in double quotes")
            break


def _member(
    text: str, position: int, path: list[str | int], seen: dict[str, int], faults: Faults, expected: str
) -> int:
    """Take a key and its colon, put it on `path`, and return where the value begins."""
    if text[position : position + 1] != '"':
        hint = "; JSON quotes keys with double quotes" if text[position : position + 1] == "'" else ""
        raise BrokenError(f"expected {expected} but found {_found(text, position)}{hint}", position)
    end, escaped, halves = _string(text, position)
    key = json.loads(text[position:end]) if escaped else text[position + 1 : end - 1]
    path.append(key)
    for half in halves:
        _add_half(text, half, path, faults)
    if key in seen:
        message = f"the key {_short(key)} is given again, and readers take the last value"
        faults.add("duplicate-key", message, position, path, seen[key])
    else:
        seen[key] = position
    colon = skip_blank(text, end)
    if text[colon : colon + 1] != ":":
        raise BrokenError(f"expected ':' after the key {_short(key)} but found {_found(text, colon)}", colon)
    return skip_blank(text, colon + 1)


def _scalar(text: str, position: int, start: str, path: list[str | int], faults: Faults, max_digits: int) -> int:
    """Take a value that is neither object nor array, and return where it ends."""
    if start == '"':
        end, _, halves = _string(text, position)
        for half in halves:
            _add_half(text, half, path, faults)
        return end
    found = _literal(text, position)
    if found is not None:
        return found.end()
    found = _constant(text, position)
    if found is not None:
        faults.add("not-finite", f"{found[0]} is not JSON, which has no such number", position, path)
        return found.end()
    found = _number(text, position)
    if found is None or text[found.end() : found.end() + 1] in tuple("0123456789.eE"):
        raise _no_value(text, position)
    if found[2] is None and found[3] is None:
        if len(found[1]) > max_digits:
            message = f"an integer of {len(found[1])} digits is out of range; the limit is {max_digits} digits"
            faults.add("number-range", message, position, path)
    elif isinf(float(found[0])):
        faults.add("not-finite", f"the number {_clip(found[0])} is too large for a float", position, path)
    return found.end()


def _string(text: str, position: int) -> tuple[int, bool, list[int]]:
    """The end of the string at `position`, whether it has escapes, and the places of lone surrogates."""
    halves: list[int] = []
    escaped = False
    place = position + 1
    while True:
        found = _plain(text, place)
        place = found.end() if found else place
        character = text[place : place + 1]
        if character == '"':
            return place + 1, escaped, halves
        if not character:
            raise BrokenError("a string is not closed before the end of the document", position)
        if character != "\\":
            raise BrokenError(f"a string holds the raw control character {_found(text, place)}", place)
        found = _escape(text, place)
        if found is None:
            raise BrokenError(f"'\\' is followed by {_found(text, place + 1)}, which makes no escape of JSON", place)
        escaped = True
        if _high(text, place) is not None and _low(text, found.end()) and (pair := _escape(text, found.end())):
            found = pair
        elif _high(text, place) is not None or _low(text, place) is not None:
            halves.append(place)
        place = found.end()


def _add_half(text: str, position: int, path: list[str | int], faults: Faults) -> None:
    message = f"{text[position : position + 6]} is one half of a surrogate pair without the other"
    faults.add("lone-surrogate", message, position, path)


def _no_value(text: str, position: int) -> BrokenError:
    word = _word(text, position)
    if word is not None:
        hint = f"; JSON writes {_MEANT[word[0]]}" if word[0] in _MEANT else ""
        return BrokenError(f"expected a value but found {_clip(word[0])}{hint}", position)
    number = _numberlike(text, position)
    if number is not None:
        return BrokenError(f"{_clip(number[0])} is not a number of JSON", position)
    hint = ""
    if text[position : position + 1] == "'":
        hint = "; JSON quotes strings with double quotes"
    elif text[position : position + 1] in ("/", "#"):
        hint = "; JSON has no comments"
    return BrokenError(f"expected a value but found {_found(text, position)}{hint}", position)


def skip_blank(text: str, position: int) -> int:
    """The place of the next character that is not blank."""
    found = _blank(text, position)
    return found.end() if found else position


def _found(text: str, position: int) -> str:
    character = text[position : position + 1]
    if not character:
        return "the end of the document"
    return repr(character) if character.isprintable() else f"U+{ord(character):04X}"


def _short(key: str) -> str:
    return repr(key) if len(key) <= 80 else f"{key[:60]!r}... ({len(key)} characters)"


def _clip(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:30]}... ({len(text)} characters)"
