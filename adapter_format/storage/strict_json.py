"""JSON read strictly: the value, and everything that is wrong with its place in the file.

Python's own reader is lax (NaN, doubled keys, halves of surrogate pairs) and names one place at best. Here it
still does the reading, because it is fast; only when something is unusual does a slower scanner look for what
and where.
The verdict is that of RFC 8259 with the bounds given: a document without defects is one that `json.loads` and
serde_json read alike.
"""

from __future__ import annotations

import json
import re
from itertools import chain
from math import inf, isinf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from adapter_format.storage.json_scanner import Fault

__all__ = ["JsonDefect", "JsonDocument", "Place", "locate", "locate_all", "read_json"]

_BOM: Final = b"\xef\xbb\xbf"
_MOST_DIGITS: Final = 640  # what Python converts under every setting of its own limit

# Numbers stay text: nothing is to be gained from converting them, and long ones would take long.
_READ: Final = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode

_Wanted = dict[str, "_Wanted"]
_Span = tuple[int | None, int, int]

_HALF_ESCAPE: Final = r"\\u[dD][89a-fA-F]"


class JsonDefect(NamedTuple):
    """One thing that is wrong in a document.

    Attributes:
        kind: "not-utf8", "bom", "syntax", "duplicate-key", "not-finite", "number-range", "lone-surrogate",
            "too-deep" or "too-long".
        message: a sentence without its full stop, the fact first.
        offset: where, in bytes from the start of the document.
        line: line, counted from 1; lines end with a line feed.
        column: character in the line, counted from 1.
        pointer: JSON pointer (RFC 6901) of the value or member meant; "" for the whole document.
    """

    kind: str
    message: str
    offset: int
    line: int
    column: int
    pointer: str


class JsonDocument(NamedTuple):
    """What was read.

    Attributes:
        value: the value as `json.loads` gives it (of doubled keys the last wins); None when nothing was read.
        defects: in the order of their places.
        complete: whether the document was read to its end, so that `value` means something.
        dropped: how many more defects there are, beyond those listed.
    """

    value: Any
    defects: tuple[JsonDefect, ...]
    complete: bool
    dropped: int = 0


class Place(NamedTuple):
    """Where a value stands.

    Attributes:
        offset: of the value, in bytes from the start of the document.
        line: line of the value, counted from 1.
        column: character in the line, counted from 1.
        length: of the value, in bytes.
        key_offset: where the key of a member begins, in bytes; None for an element or the document.
    """

    offset: int
    line: int
    column: int
    length: int
    key_offset: int | None


def read_json(
    data: bytes,
    *,
    max_depth: int = 64,
    max_digits: int = _MOST_DIGITS,
    max_bytes: int = 100_000_000,
    max_defects: int = 1000,
    negative_zero: bool = False,
) -> JsonDocument:
    """Read a JSON document; never raises, whatever the bytes.

    Args:
        data: the document, which must be UTF-8 without a byte order mark.
        max_depth: deepest nesting of objects and arrays; a scalar has depth 0. serde_json allows 127.
        max_digits: longest integer, in digits, at most 640; 308 is where the range of serde_json ends. A
            longer one is read as an infinity.
        max_bytes: longest document that is looked at.
        max_defects: how many defects are listed; the rest is counted.
        negative_zero: read the integer `-0` as the float -0.0, as serde_json does, and not as 0.
    """
    if len(data) > max_bytes:
        message = f"the document has {len(data)} bytes, more than the limit of {max_bytes}"
        return JsonDocument(None, (JsonDefect("too-long", message, 0, 1, 1, ""),), complete=False)
    bom = data.startswith(_BOM)
    try:
        text = data.decode("utf-8")[bom:]
    except UnicodeDecodeError as error:
        return JsonDocument(None, (_not_utf8(data, error),), complete=False)
    max_digits = min(max_digits, _MOST_DIGITS)
    usual, value = _read_usual(text, data, max_depth, max_digits)
    if usual and not bom:
        if negative_zero and "-" in text and "-0" in text:
            value = json.loads(text, parse_int=lambda digits: _integer(digits, max_digits, negative_zero))
        return JsonDocument(value, (), complete=True)
    return _read_unusual(text, bom, max_depth, max_digits, max_defects, negative_zero)


def _read_usual(text: str, data: bytes, max_depth: int, max_digits: int) -> tuple[bool, Any]:
    """Whether it is certain that nothing is wrong, and the value then."""
    unusual: list[str] = []

    def finite(digits: str) -> float:
        number = float(digits)
        if isinf(number):
            unusual.append(digits)
        return number

    def once(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            unusual.append("")

    if _has_long_digits(data, max_digits) or ("\\" in text and re.search(_HALF_ESCAPE, text)):
        return False, None
    try:
        value = json.loads(text, parse_float=finite, parse_constant=unusual.append)
        deepest, members = _measure(value, text)
        # Each member has its colon. Doubled keys leave too many colons; but so do colons in strings.
        if not unusual and members != text.count(":"):
            json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return False, None
    return not unusual and deepest <= max_depth, value


def _measure(value: Any, text: str) -> tuple[int, int]:
    """How deeply a value, read from `text`, is nested, and how many members its objects have."""
    dicts = [value] if isinstance(value, dict) else []
    lists = [value] if isinstance(value, list) else []
    # Each object and array has its bracket, so when these run out there is nothing more to look for. Brackets
    # in strings only make the search longer.
    unseen_dicts = text.count("{") - len(dicts)
    unseen_lists = text.count("[") - len(lists)
    depth = members = 0
    while dicts or lists:
        depth += 1
        members += sum(map(len, dicts))
        if not (unseen_dicts or unseen_lists):
            break
        items = list(chain.from_iterable(map(dict.values, dicts)))
        items.extend(chain.from_iterable(lists))
        dicts = [item for item in items if type(item) is dict] if unseen_dicts else []
        lists = [item for item in items if type(item) is list] if unseen_lists else []
        unseen_dicts -= len(dicts)
        unseen_lists -= len(lists)
    return depth, members


def _has_long_digits(data: bytes, max_digits: int) -> bool:
    """Whether there may be more than `max_digits` digits in a row: they would fill one of these pieces."""
    piece = max_digits // 2 + 1
    return any(data[start : start + piece].isdigit() for start in range(0, len(data), piece))


def _read_unusual(
    text: str, bom: bool, max_depth: int, max_digits: int, max_defects: int, negative_zero: bool
) -> JsonDocument:
    from adapter_format.storage.json_scanner import BrokenError, Faults, scan

    faults = Faults(max_defects)
    if bom:
        faults.add("bom", "the document begins with a byte order mark, which JSON does not allow", -1, [])
    complete = True
    path: list[str | int] = []
    try:
        scan(text, path, faults, max_depth, max_digits)
    except BrokenError as error:
        complete = False
        faults.last(error.kind, error.message, error.position, path)
    value = None
    if complete:
        try:
            value = json.loads(text, parse_int=lambda digits: _integer(digits, max_digits, negative_zero))
        except RecursionError:
            complete = False
            faults.last("too-deep", "objects and arrays are nested too deeply to be read", 0, [])
        except json.JSONDecodeError as error:
            complete = False
            faults.last("syntax", error.msg, error.pos, [])
    return JsonDocument(value, tuple(_placed(text, faults.listed, bom)), complete, faults.dropped)


def _integer(digits: str, max_digits: int, negative_zero: bool) -> int | float:
    if len(digits.lstrip("-")) > max_digits:
        return -inf if digits[0] == "-" else inf
    return -0.0 if negative_zero and digits == "-0" else int(digits)


def _not_utf8(data: bytes, error: UnicodeDecodeError) -> JsonDefect:
    message = f"byte 0x{data[error.start]:02X} is not UTF-8"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        message = "the document is not UTF-8 but UTF-16 or UTF-32, by its byte order mark"
    before = data[: error.start].decode("utf-8")
    line = before.count("\n") + 1
    return JsonDefect("not-utf8", message, error.start, line, len(before) - before.rfind("\n"), "")


def _placed(text: str, faults: list[Fault], bom: bool) -> list[JsonDefect]:
    """Turn places in characters into bytes, lines and columns, in one pass."""
    wanted = {fault.position for fault in faults} | {fault.earlier for fault in faults}
    places = _places(text, sorted(position for position in wanted if position >= 0), bom)
    places[-1] = (0, 1, 1)
    defects = []
    for fault in sorted(faults, key=lambda fault: fault.position):
        message = fault.message
        if fault.earlier >= 0:
            message += f" (first given on line {places[fault.earlier][1]})"
        defects.append(JsonDefect(fault.kind, message, *places[fault.position], fault.pointer))
    return defects


def _places(text: str, positions: list[int], bom: bool) -> dict[int, tuple[int, int, int]]:
    """Byte offset, line and column of places in characters, which must be sorted."""
    ascii_only = text.isascii()
    places = {}
    past = 0
    offset = len(_BOM) if bom else 0
    line = 1
    newline = -1
    for position in positions:
        offset += position - past if ascii_only else len(text[past:position].encode("utf-8"))
        line += text.count("\n", past, position)
        newline = max(newline, text.rfind("\n", past, position))
        places[position] = (offset, line, position - newline)
        past = position
    return places


def locate(data: bytes, pointer: str) -> Place | None:
    """Where the value at a JSON pointer (RFC 6901) stands in a document.

    Of doubled keys the last is meant. None when there is no such value, or the document can't be read. Takes
    some four times as long as `json.loads`.
    """
    return locate_all(data, [pointer]).get(pointer)


def locate_all(data: bytes, pointers: Iterable[str]) -> dict[str, Place]:
    """Where the values at many JSON pointers stand, as fast as one is found; those that are not there are left out."""
    bom = data.startswith(_BOM)
    tree: _Wanted = {}
    wanted: dict[str, _Wanted] = {}
    for pointer in pointers:
        if not pointer or pointer.startswith("/"):
            node = tree
            for part in pointer.split("/")[1:]:
                node = node.setdefault(part.replace("~1", "/").replace("~0", "~"), {})
            wanted[pointer] = node
    try:
        text = data.decode("utf-8")[bom:]
        spans = _spans(text, tree)
    except (ValueError, RecursionError):
        return {}
    found = {pointer: spans[id(node)] for pointer, node in wanted.items() if id(node) in spans}
    positions = {position for span in found.values() for position in span if position is not None}
    places = _places(text, sorted(positions), bom)
    located = {}
    for pointer, (key, start, end) in found.items():
        offset, line, column = places[start]
        located[pointer] = Place(offset, line, column, places[end][0] - offset, None if key is None else places[key][0])
    return located


def _spans(text: str, tree: _Wanted) -> dict[int, _Span]:
    """Start of key, start and end of value, by the identity of the node; raises ValueError, RecursionError."""
    from adapter_format.storage.json_scanner import skip_blank

    start = skip_blank(text, 0)
    end = _READ(text, start)[1]
    if skip_blank(text, end) != len(text):
        return {}
    spans: dict[int, _Span] = {}
    nodes: list[tuple[_Wanted, _Span]] = [(tree, (None, start, end))]
    while nodes:
        node, span = nodes.pop()
        spans[id(node)] = span
        if node and text[span[1]] in "{[":
            nodes += [(node[name], member) for name, member in _members(text, span[1], node).items()]
    return spans


def _members(text: str, start: int, names: Container[str]) -> dict[str, _Span]:
    """The spans of the members or elements of the value at `start` that bear one of the names."""
    from adapter_format.storage.json_scanner import skip_blank

    found: dict[str, _Span] = {}
    place = skip_blank(text, start + 1)
    number = 0
    while text[place] not in "]}":
        key = None
        name = str(number)
        if text[start] == "{":
            key = place
            name, place = _READ(text, place)
            place = skip_blank(text, skip_blank(text, place) + 1)
        after = _READ(text, place)[1]
        if name in names:
            found[name] = (key, place, after)
        number += 1
        place = skip_blank(text, after)
        if text[place] == ",":
            place = skip_blank(text, place + 1)
    return found
