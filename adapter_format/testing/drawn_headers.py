"""Headers of safetensors files, sound and damaged, as bytes; made by other code than the product's own writer."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

from adapter_format.dtypes import BITS

if TYPE_CHECKING:
    from collections.abc import Callable

    Members = list[tuple[str, str]]
    Step = Callable[[st.DrawFn, "_Text"], None]

LENGTH_BYTES = 8


class GeneratedHeader(NamedTuple):
    """The start of a safetensors file.

    Attributes:
        data: the length bytes and the JSON, padding included; all there is if the file is shorter.
        file_size: size of the whole file in bytes.
        damages: what was done to a sound header, in order; empty for a sound one.
    """

    data: bytes
    file_size: int
    damages: tuple[str, ...] = ()

    def file(self) -> bytes:
        """Return a whole file that starts so; its data section is zeros."""
        return self.data[: self.file_size] + bytes(max(0, self.file_size - len(self.data)))


class _Text:
    """A header while it is damaged: members as JSON text, so that any text can stand in their place."""

    def __init__(self, entries: list[tuple[str, Members]], metadata: str | None, data_size: int) -> None:
        self.entries = entries
        self.metadata = metadata
        self.data_size = data_size
        self.before = b""
        self.behind: bytes | None = None
        self.length_error = 0
        self.escaped = False
        self.patches: list[Callable[[bytes], bytes]] = []

    def assemble(self, damages: tuple[str, ...]) -> GeneratedHeader:
        members = [f'"__metadata__":{self.metadata}'] if self.metadata is not None else []
        for name, entry in self.entries:
            inside = ",".join(f"{json.dumps(field)}:{value}" for field, value in entry)
            members.append(f"{json.dumps(name, ensure_ascii=self.escaped)}:{{{inside}}}")
        text = self.before + ("{" + ",".join(members) + "}").encode("utf-8", "surrogatepass")
        text += b" " * (-len(text) % 8) if self.behind is None else self.behind
        for patch in self.patches:
            text = patch(text)
        length = max(0, len(text) + self.length_error)
        data = min(length, 2**64 - 1).to_bytes(LENGTH_BYTES, "little") + text
        return GeneratedHeader(data, max(0, len(data) + self.data_size), damages)


_NAMES = st.text(st.characters(codec="utf-8"), max_size=6)
_ODD_NUMBERS = ["-1", "-0", "1.5", "1.0", "1e2", "NaN", "01", str(2**63), str(2**64)]
_ODD_VALUES = st.sampled_from([*_ODD_NUMBERS, "null", "true", '"8"', "[]", "{}", "[[1]]", ""])
_ODD_METADATA = ["null", "[]", '""', '{"a":1}', '{"a":null}', '{"a":"b","a":"c"}', '{"\\ud800":""}']


@st.composite
def draw_sound(draw: st.DrawFn) -> GeneratedHeader:
    """Draw a header that every reader takes."""
    return _draw_text(draw).assemble(())


@st.composite
def draw_unsound(draw: st.DrawFn) -> GeneratedHeader:
    """Draw a header with one to three damages; some of them may cancel each other out."""
    return _damage(draw, _draw_text(draw))


@st.composite
def draw_damaged_file(draw: st.DrawFn, data: bytes) -> GeneratedHeader:
    """Damage the header of an existing, sound file.

    Args:
        draw: given by Hypothesis.
        data: the whole file.
    """
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    document = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length])
    metadata = document.pop("__metadata__", None)
    entries = [
        (name, [(field, json.dumps(value, separators=(",", ":"))) for field, value in entry.items()])
        for name, entry in document.items()
    ]
    size = len(data) - LENGTH_BYTES - length
    return _damage(draw, _Text(entries, None if metadata is None else json.dumps(metadata), size))


def _draw_text(draw: st.DrawFn) -> _Text:
    names = draw(st.lists(_NAMES.filter(lambda name: name != "__metadata__"), max_size=4, unique=True))
    stored: list[tuple[int, str, str, list[int]]] = []
    for name in names:
        dtype = draw(st.sampled_from(sorted(BITS, key=lambda name: name != "F32")))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        if math.prod(shape) * BITS[dtype] % 8:
            shape.append(4)  # packed types must fill whole bytes
        stored.append((BITS[dtype], name, dtype, shape))
    entries: list[tuple[str, Members]] = []
    position = 0
    for bits, name, dtype, shape in sorted(stored, key=lambda entry: -entry[0]):
        end = position + math.prod(shape) * bits // 8
        entries.append((name, _members(dtype, shape, position, end)))
        position = end
    metadata = draw(st.none() | st.dictionaries(_NAMES, _NAMES, max_size=2).map(json.dumps))
    return _Text(draw(st.permutations(entries)), metadata, position)


def _members(dtype: str, shape: list[int], start: int, end: int) -> Members:
    return [("dtype", json.dumps(dtype)), ("shape", json.dumps(shape)), ("data_offsets", json.dumps([start, end]))]


def _damage(draw: st.DrawFn, text: _Text) -> GeneratedHeader:
    names = draw(st.lists(st.sampled_from(sorted(_STEPS)), min_size=1, max_size=3))
    for name in names:
        if text.entries or name not in _OF_ENTRIES:
            (_OF_ENTRIES.get(name) or _OF_FILE[name])(draw, text)
    return text.assemble(tuple(names))


def _entry(draw: st.DrawFn, text: _Text) -> Members:
    return draw(st.sampled_from(text.entries))[1]


def _drop_member(draw: st.DrawFn, text: _Text) -> None:
    entry = _entry(draw, text)
    if entry:
        del entry[draw(st.integers(0, len(entry) - 1))]


def _double_member(draw: st.DrawFn, text: _Text) -> None:
    entry = _entry(draw, text)
    if entry:
        entry.append(draw(st.sampled_from(entry)))


def _add_member(draw: st.DrawFn, text: _Text) -> None:
    deep = "[" * 200 + "]" * 200
    _entry(draw, text).append((draw(_NAMES), draw(st.sampled_from(["1", "null", '"x"', "NaN", deep, "1e999"]))))


def _replace_member(draw: st.DrawFn, text: _Text) -> None:
    entry = _entry(draw, text)
    if entry:
        index = draw(st.integers(0, len(entry) - 1))
        entry[index] = (entry[index][0], draw(_ODD_VALUES))


def _change_number(draw: st.DrawFn, text: _Text) -> None:
    entry = _entry(draw, text)
    for index, (field, value) in enumerate(entry):
        if field == draw(st.sampled_from(["shape", "data_offsets"])) and value.startswith("["):
            entry[index] = (field, _changed(draw, value))


def _changed(draw: st.DrawFn, value: str) -> str:
    items = value[1:-1].split(",") if len(value) > 2 else []
    place = draw(st.integers(0, len(items)))
    if place == len(items) or not items[place].strip().isdigit():
        return "[" + ",".join([*items, draw(_ODD_VALUES)]) + "]"
    delta = draw(st.sampled_from([1, -1, 2, 4, 8, -8, 2**31, 2**62, 2**64]))
    items[place] = draw(st.one_of(st.just(str(int(items[place]) + delta)), _ODD_VALUES))
    return "[" + ",".join(items) + "]"


def _change_dtype(draw: st.DrawFn, text: _Text) -> None:
    entry = _entry(draw, text)
    dtype = draw(st.sampled_from([*BITS, "f32", "", "F128", "BF16 "]))
    entry[:] = [(field, json.dumps(dtype) if field == "dtype" else value) for field, value in entry]


def _swap(draw: st.DrawFn, text: _Text) -> None:
    one, other = _entry(draw, text), _entry(draw, text)
    field = draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
    found, with_other = dict(one).get(field, "0"), dict(other).get(field, "0")
    one[:] = [(name, with_other if name == field else value) for name, value in one]
    other[:] = [(name, found if name == field else value) for name, value in other]


def _rename(draw: st.DrawFn, text: _Text) -> None:
    index = draw(st.integers(0, len(text.entries) - 1))
    names = [name for name, _ in text.entries]
    new = draw(st.sampled_from([*names, "__metadata__", "", "\ud800", "\x00", "a/b~c", "__proto__"]))
    text.entries[index] = (new, text.entries[index][1])
    text.escaped = draw(st.booleans())


def _drop_entry(draw: st.DrawFn, text: _Text) -> None:
    del text.entries[draw(st.integers(0, len(text.entries) - 1))]


def _change_metadata(draw: st.DrawFn, text: _Text) -> None:
    text.metadata = draw(st.sampled_from(_ODD_METADATA))


def _pad(draw: st.DrawFn, text: _Text) -> None:
    text.behind = draw(st.sampled_from([b"", b" ", b"\n" * 8, b"\t", b"\x00" * 8, b"  x", b" " * 64, b"{}"]))


def _lead(draw: st.DrawFn, text: _Text) -> None:
    text.before = draw(st.sampled_from([b" ", b"\n", b"\xef\xbb\xbf", b"\x00", b"[", b"x"]))


def _lie_about_length(draw: st.DrawFn, text: _Text) -> None:
    text.length_error = draw(st.sampled_from([1, -1, 8, -8, -(2**20), 100_000_000, 2**63, 2**64]))


def _change_size(draw: st.DrawFn, text: _Text) -> None:
    text.data_size += draw(st.sampled_from([1, -1, 4, -4, 64, -64, -(2**20)]))


def _change_byte(draw: st.DrawFn, text: _Text) -> None:
    place, byte = draw(st.integers(0, 400)), bytes([draw(st.integers(0, 255))])
    removed, inserted = draw(st.sampled_from([(1, byte), (0, byte), (1, b"")]))

    def patch(data: bytes) -> bytes:
        at = place % (len(data) + 1)
        return data[:at] + inserted + data[at + removed :]

    text.patches.append(patch)


_OF_ENTRIES: dict[str, Step] = {
    "add member": _add_member,
    "change dtype": _change_dtype,
    "change number": _change_number,
    "double member": _double_member,
    "drop entry": _drop_entry,
    "drop member": _drop_member,
    "rename": _rename,
    "replace member": _replace_member,
    "swap": _swap,
}
_OF_FILE: dict[str, Step] = {
    "change byte": _change_byte,
    "change metadata": _change_metadata,
    "change size": _change_size,
    "lead": _lead,
    "lie about length": _lie_about_length,
    "pad": _pad,
}
_STEPS = (*_OF_ENTRIES, *_OF_FILE)
