"""The strict JSON reader: the same values as `json.loads`, every defect, and its place."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapter_format.storage.strict_json import JsonDocument, locate, locate_all, read_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
MARKS = list('{}[],:"\\ \n\t')
STRINGS = ['"a"', '"b"', '"é😀"', r'"\u0061"', r'"\ud83d\ude00"', r'"\ud800"', r'"\n"', '":"', '"[{"']
NUMBERS = ["1", "-0", "0", "01", "1.5", "1.", "1e5", "1e999", "-1e999", "-", "+1", "٣", "9" * 700]
WORDS = ["NaN", "Infinity", "-Infinity", "true", "false", "null", "tru", "nul", "\x00", "'", "//", "\ufeff"]
PIECES = ['"a":', '{"a":1}', "[]", "{}", '"a":1,', '{"a":', '"b":[']
tokens = st.sampled_from([*MARKS, *STRINGS, *NUMBERS, *WORDS, *PIECES])
documents = st.lists(tokens, max_size=12).map("".join)


def kinds(data: bytes) -> list[str]:
    return [defect.kind for defect in read_json(data).defects]


def refused(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return True
    return False


def same(one: object, other: object) -> bool:
    return json.dumps(one) == json.dumps(other)


# Against `json.loads`.


@settings(max_examples=300)
@given(values, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_what_python_writes_is_read_without_a_defect(value: object, indent: int | str | None, ascii_only: bool) -> None:
    data = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert read_json(data, max_digits=640) == JsonDocument(json.loads(data), (), complete=True)


@settings(max_examples=300)
@given(documents | st.text(max_size=20))
@example('{"a":{"b":1,"b":2}}')
@example('{"a":[],"a":{}}')
@example('[{"a:":1,"a:":1}]')
@example('{"\\u003a":1,"x":":","x":2}')
@example('"\\ud83d\\u0041"')
@example("[1,]")
def test_the_verdict_is_that_of_python_or_stricter(text: str) -> None:
    document = read_json(text.encode())
    assert all(defect.message for defect in document.defects)
    if refused(text):
        assert document.defects
    elif document.complete:
        assert same(document.value, json.loads(text)) or "number-range" in kinds(text.encode())
    if not document.complete:
        assert document.value is None
        assert refused(text)


@settings(max_examples=300)
@given(documents)
def test_each_laxness_of_python_is_a_defect(text: str) -> None:
    if refused(text):
        return
    odd: set[str] = set()

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            odd.add("duplicate-key")
        for key, _ in pairs:
            whole(key)
        return dict(pairs)

    def whole(string: str) -> None:
        try:
            string.encode()
        except UnicodeEncodeError:
            odd.add("lone-surrogate")

    value = json.loads(text, object_pairs_hook=once)
    for leaf in leaves(value):
        if isinstance(leaf, float) and not math.isfinite(leaf):
            odd.add("not-finite")
        elif isinstance(leaf, str):
            whole(leaf)
    found = set(kinds(text.encode()))
    # A value that a doubled key drops may hold more defects than the value that is left.
    assert odd <= found
    assert "duplicate-key" in odd or odd == found - {"number-range"}


def leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


@settings(max_examples=300)
@given(st.binary(max_size=30))
@example(b"\xff\xfe{\x00}\x00")
@example(b"\xed\xa0\x80")
@example(b"{\x00")
def test_any_bytes_give_a_document(data: bytes) -> None:
    document = read_json(data)
    assert document.complete or document.defects


@given(documents, st.integers(0, 3))
def test_every_place_lies_in_the_document(text: str, limit: int) -> None:
    data = text.encode()
    document = read_json(data, max_defects=limit)
    for defect in document.defects:
        assert 0 <= defect.offset <= len(data)
        before = data[: defect.offset].decode().removeprefix("\ufeff")
        assert (defect.line, defect.column) == (before.count("\n") + 1, len(before) - before.rfind("\n"))
    assert len(document.defects) + document.dropped == len(read_json(data).defects)


# Each kind of defect, with its place.


@pytest.mark.parametrize(
    ("text", "kind", "meant", "pointer"),
    [
        ('{"a": NaN}', "not-finite", "NaN", "/a"),
        ('{"é😀": [1, -Infinity]}', "not-finite", "-Infinity", "/é😀/1"),
        ('{"a": {"b/~c": 1e999}}', "not-finite", "1e999", "/a/b~1~0c"),
        ('{"é": 1,\n "a": 2,\n "é": 3}', "duplicate-key", '"é": 3', "/é"),
        ('{"a": 1, "b": [{"c": 1, "\\u0063": 2}]}', "duplicate-key", '"\\u0063"', "/b/0/c"),
        ('["é", "x\\ud800y"]', "lone-surrogate", "\\ud800", "/1"),
        ('{"\\udc00": 1}', "lone-surrogate", "\\udc00", "/\udc00"),
        ("[1, " + "7" * 641 + "]", "number-range", "7" * 641, "/1"),
        ("\n" + "[" * 64 + '{"a":1}' + "]" * 64, "too-deep", '{"a"', "/0" * 64),
        ('{"é": 1 x}', "syntax", "x", "/é"),
        ('{"é": 1, }', "syntax", ", }", "/é"),
        ("['é']", "syntax", "'", "/0"),
        ('{"a": [1, 01]}', "syntax", "01", "/a/1"),
        ('{"a": [1 2]}', "syntax", "2", "/a/0"),
        ('{"a": "x\ty"}', "syntax", "\ty", "/a"),
        ('{"a": "x\\qy"}', "syntax", "\\q", "/a"),
        ('{"a": True}', "syntax", "True", "/a"),
        ('{"a": 1} {', "syntax", "{", ""),
        ('{"é": "', "syntax", '"', "/é"),
    ],
)
def test_a_defect_has_its_place_and_its_pointer(text: str, kind: str, meant: str, pointer: str) -> None:
    data = text.encode()
    (defect,) = read_json(data).defects
    assert (defect.kind, defect.pointer) == (kind, pointer)
    assert data[defect.offset :].startswith(meant.encode())
    before = data[: defect.offset].decode()
    assert (defect.line, defect.column) == (before.count("\n") + 1, len(before.split("\n")[-1]) + 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1 x', "expected ',' or '}' but found 'x'"),
        ('{"a" 1}', "expected ':' after the key 'a' but found '1'"),
        ("[1,]", "found ',' before ']', where JSON allows no comma"),
        (
            "{'a': 1}",
            """expected a key in double quotes or '}' but found "'"; JSON quotes keys with double quotes""",
        ),
        ("[None]", "expected a value but found None; JSON writes null"),
        ("[1, // one\n2]", "expected a value but found '/'; JSON has no comments"),
        ("[.5]", ".5 is not a number of JSON"),
        ('["a', "a string is not closed before the end of the document"),
        ("", "expected a value but found the end of the document"),
        ('"\x07"', "a string holds the raw control character U+0007"),
        ('"\\x"', "'\\' is followed by 'x', which makes no escape of JSON"),
        ("{} {}", "expected the end of the document but found '{'"),
        (
            '{"r": 1,\n"r": 2}',
            "the key 'r' is given again, and readers take the last value (first given on line 1)",
        ),
    ],
)
def test_a_message_says_what_was_found_and_what_was_expected(text: str, message: str) -> None:
    (defect,) = read_json(text.encode()).defects
    assert defect.message == message


def test_all_defects_are_told_in_one_run() -> None:
    data = b'{"a": NaN, "a": 1e999,\n"b": ["\\ud800", Infinity], "a": 3}'
    assert kinds(data) == [
        "not-finite",
        "duplicate-key",
        "not-finite",
        "lone-surrogate",
        "not-finite",
        "duplicate-key",
    ]
    assert read_json(data).value["a"] == 3


def test_a_syntax_error_ends_the_scan_after_what_came_before() -> None:
    assert kinds(b'{"a": NaN, "b": ], "c": NaN}') == ["not-finite", "syntax"]


def test_of_doubled_keys_the_last_wins() -> None:
    document = read_json(b'{"r": 8, "r": 16}')
    assert document.value == {"r": 16}
    assert document.complete


def test_a_pair_of_surrogate_escapes_is_no_defect() -> None:
    assert read_json(b'"\\ud83d\\ude00"') == JsonDocument("\U0001f600", (), complete=True)


def test_a_byte_order_mark_is_told_and_skipped() -> None:
    document = read_json(b'\xef\xbb\xbf{"a":\nNaN}')
    assert [(defect.kind, defect.offset, defect.line) for defect in document.defects] == [
        ("bom", 0, 1),
        ("not-finite", 9, 2),
    ]
    assert document.complete


def test_bytes_that_are_not_utf8_are_told_with_their_place() -> None:
    (defect,) = read_json(b'{"\xc3\xa9":\n "\xff"}').defects
    assert (defect.kind, defect.offset, defect.line, defect.column) == ("not-utf8", 9, 2, 3)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_encodings_are_named(encoding: str) -> None:
    (defect,) = read_json('{"a": 1}'.encode(encoding)).defects
    assert "UTF-16 or UTF-32" in defect.message


def test_negative_zero_is_a_float_on_request() -> None:
    assert math.copysign(1, read_json(b"[-0]", negative_zero=True).value[0]) == -1
    assert isinstance(read_json(b"[-0, 5]", negative_zero=True).value[1], int)
    assert isinstance(read_json(b"[-0]").value[0], int)


def test_the_depth_is_allowed_up_to_its_limit() -> None:
    assert kinds(b"[" * 64 + b"]" * 64) == []
    assert kinds(b"[" * 65 + b"]" * 65) == ["too-deep"]
    assert kinds(b'{"a":' * 127 + b"1" + b"}" * 127) == ["too-deep"]
    assert read_json(b'{"a":' * 127 + b"1" + b"}" * 127, max_depth=127).complete


def test_depth_is_found_in_a_value_that_a_doubled_key_drops() -> None:
    assert kinds(b'{"a":' + b"[" * 70 + b"]" * 70 + b',"a":1}') == ["too-deep"]


def test_brackets_and_colons_in_strings_mean_nothing() -> None:
    data = json.dumps({"a:[{": ["]}:", {"b": ":"}], "c": "[" * 100}).encode()
    assert read_json(data) == JsonDocument(json.loads(data), (), complete=True)


# Hostile documents.


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b"9" * 5000,
        b"-" + b"9" * 1_000_000,
        b"[1." + b"3" * 100_000 + b"]",
        b'"' + b"\\ud800" * 10_000 + b'"',
        b"[" + b"NaN," * 10_000 + b"1]",
        b"{" + b'"a":1,' * 10_000 + b'"b":1}',
        b'{"' + b"k" * 1_000_000 + b'":[' + b"NaN," * 1000 + b"1]}",
        b'"' + b"\\n" * 100_000,
        b"\x00" * 100_000,
    ],
    ids=lambda data: repr(data[:8]),
)
def test_a_hostile_document_is_read_within_bounds(data: bytes) -> None:
    document = read_json(data)
    assert len(document.defects) <= 1001
    assert sum(len(defect.pointer) + len(defect.message) for defect in document.defects) < 3_000_000


def test_an_integer_of_many_digits_is_told_and_read_as_an_infinity() -> None:
    document = read_json(b"[" + b"9" * 5000 + b",-" + b"9" * 641 + b"," + b"1" * 640 + b"]")
    assert [defect.kind for defect in document.defects] == ["number-range", "number-range"]
    assert document.value == [math.inf, -math.inf, int("1" * 640)]


def test_defects_beyond_the_limit_are_counted() -> None:
    document = read_json(b"[" + b"NaN," * 5000 + b"1]")
    assert (len(document.defects), document.dropped) == (1000, 4000)


def test_a_long_document_is_not_looked_at() -> None:
    assert kinds(b"[1]") == []
    assert [defect.kind for defect in read_json(b"[1]", max_bytes=2).defects] == ["too-long"]


# Places of values.


def pointers(value: object, pointer: str = "") -> list[tuple[str, object]]:
    found = [(pointer, value)]
    if isinstance(value, dict):
        for key, item in value.items():
            found += pointers(item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            found += pointers(item, f"{pointer}/{number}")
    return found


@settings(max_examples=300)
@given(values, st.sampled_from([None, 2]), st.booleans())
def test_a_located_value_is_the_value_at_the_pointer(value: object, indent: int | None, ascii_only: bool) -> None:
    data = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    for pointer, item in pointers(value):
        place = locate(data, pointer)
        assert place is not None
        assert same(json.loads(data[place.offset : place.offset + place.length]), item)
        before = data[: place.offset].decode()
        assert (place.line, place.column) == (before.count("\n") + 1, len(before) - before.rfind("\n"))
        if place.key_offset is not None:
            key = pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
            assert data[place.key_offset : place.offset].decode().rstrip().endswith(":")
            assert json.JSONDecoder().raw_decode(data[place.key_offset :].decode())[0] == key


def test_many_values_are_located_as_one_by_one() -> None:
    data = '\ufeff{"a": [1, {"b": "é"}],\n "a/b": {"": 2}, "é": null}'.encode()
    pointers = ["", "/a", "/a/1/b", "/a/1/b/c", "/a/01", "/a~1b/", "/é", "/x", "é"]
    together = locate_all(data, pointers)
    assert [together.get(pointer) for pointer in pointers] == [locate(data, pointer) for pointer in pointers]
    assert list(together) == ["", "/a", "/a/1/b", "/a~1b/", "/é"]
    assert together["/é"].line == 2


def test_of_doubled_keys_the_last_is_located() -> None:
    data = b'{"a": {"x": 1}, "a": {"y": 2, "y": 3}}'
    place = locate(data, "/a/y")
    assert place is not None
    assert (place.offset, place.length, place.key_offset) == (35, 1, 30)
    assert locate(data, "/a/x") is None


def test_places_count_bytes_and_columns_count_characters() -> None:
    place = locate(b'\xef\xbb\xbf{"\xc3\xa9":\n"\xf0\x9f\x98\x80", "b": 1}', "/b")
    assert place is not None
    assert (place.offset, place.line, place.column, place.key_offset) == (23, 2, 11, 18)


@pytest.mark.parametrize("pointer", ["/b", "/a/2", "/a/-1", "/a/00", "/a/0/x", "a", "/a/", "/"])
def test_what_is_not_there_has_no_place(pointer: str) -> None:
    assert locate(b'{"a": [1, 2]}', pointer) is None


@pytest.mark.parametrize("data", [b"", b"{", b'{"a": 1', b'{"a": 1}x', b"\xff", b"[" * 100_000, b'{"a":1,}'])
def test_nothing_has_a_place_in_a_broken_document(data: bytes) -> None:
    assert locate(data, "/a") is None


@given(documents, st.sampled_from(["", "/a", "/a/b", "/0", "/0/a", "/a/0"]))
def test_locating_never_raises(text: str, pointer: str) -> None:
    place = locate(text.encode(), pointer)
    assert place is None or not refused(text) or "9" * 700 in text
