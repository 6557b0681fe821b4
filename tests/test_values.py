from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

import adapter_format as af
from adapter_format.errors import UnreadableAdapterError
from adapter_format.storage.safetensors_file import read_header
from adapter_format.testing.drafts import write_example
from adapter_format.values import TensorBytes, scan_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from adapter_format.storage.safetensors_header import Header


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


@pytest.mark.parametrize("largest_read", [64, 96, 1000])
@pytest.mark.parametrize("shape", [(40, 8), (320,), (3, 200), (1, 640), (7, 3, 5)])
def test_a_tensor_scanned_in_parts_has_the_statistics_of_the_whole(
    tmp_path: Path, shape: tuple[int, ...], largest_read: int
) -> None:
    values = np.arange(np.prod(shape), dtype="<f4").reshape(shape) + 1
    if len(shape) > 1:
        values[1 if shape[0] > 1 else 0] = 0
    values.reshape(-1)[-2:] = [np.nan, np.inf]
    text = json.dumps({"t": {"dtype": "F32", "shape": list(shape), "data_offsets": [0, values.nbytes]}}).encode()
    text += b" " * (-len(text) % 8)
    (tmp_path / "weights").write_bytes(len(text).to_bytes(8, "little") + text + values.tobytes())
    header = read_header(tmp_path / "weights")

    with TensorBytes(tmp_path / "weights", header) as source:
        whole = scan_all(source, header)["t"]
    with TensorBytes(tmp_path / "weights", header, largest_read=largest_read) as source:
        parts = scan_all(source, header)["t"]
        same = source.identical(header.tensors["t"], header.tensors["t"])

    rows_fit = values.nbytes // shape[0] <= largest_read
    assert same
    assert parts._replace(checksum=0, zero_rows=0, first_zero_row=None) == whole._replace(
        checksum=0, zero_rows=0, first_zero_row=None
    )
    assert not rows_fit or (parts.zero_rows, parts.first_zero_row) == (whole.zero_rows, whole.first_zero_row)


def test_a_file_that_is_cut_while_it_is_scanned_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_example("plain", tmp_path / "adapter")

    def cut(source: TensorBytes, header: Header, progress: object) -> None:
        raise UnreadableAdapterError("The weights end inside 'a': the file was cut while it was read.")

    monkeypatch.setattr("adapter_format.values.scan_all", cut)

    report = af.validate(tmp_path / "adapter", data=True)

    assert [finding.rule for finding in report.findings] == ["AF136"]
