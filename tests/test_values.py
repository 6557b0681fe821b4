from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from adapter_format.errors import UnreadableAdapterError
from adapter_format.storage.safetensors_file import read_header
from adapter_format.values import TensorBytes, scan_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_tensors(path: Path, sizes: Sequence[int]) -> list[bytes]:
    contents = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
    entries, position = {}, 0
    for index, size in enumerate(sizes):
        entries[f"t{index}"] = {"dtype": "U8", "shape": [size], "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(contents))
    return contents


@pytest.mark.parametrize("sizes", [(5,), (3, 0, 4), (100_000, 7, 200_000, 65_536, 1), (0,)])
@pytest.mark.parametrize("step", [1, -1])
def test_the_bytes_of_a_tensor_are_its_own_in_any_order(tmp_path: Path, sizes: tuple[int, ...], step: int) -> None:
    contents = write_tensors(tmp_path / "weights", sizes)
    header = read_header(tmp_path / "weights")

    with TensorBytes(tmp_path / "weights", header) as source:
        found = {name: bytes(source.of(info)) for name, info in list(header.tensors.items())[::step]}

    assert found == {f"t{index}": content for index, content in enumerate(contents)}


@pytest.mark.parametrize("left", [0, 1, 70_000])
def test_a_file_that_is_cut_while_it_is_read_is_an_error_of_one_sentence(tmp_path: Path, left: int) -> None:
    write_tensors(tmp_path / "weights", (60_000, 60_000, 60_000))
    header = read_header(tmp_path / "weights")

    with TensorBytes(tmp_path / "weights", header) as source, (tmp_path / "weights").open("r+b") as file:
        file.truncate(header.data_start + left)
        with pytest.raises(UnreadableAdapterError, match=r"^The weights end inside 't[01]': the file was cut"):
            scan_all(source, header)


def test_tensors_are_compared_by_all_their_bytes(tmp_path: Path) -> None:
    write_tensors(tmp_path / "weights", (70_000, 70_000))
    header = read_header(tmp_path / "weights")
    first, second = header.tensors.values()

    with TensorBytes(tmp_path / "weights", header) as source:
        assert source.identical(first, first)
        assert not source.identical(first, second)
