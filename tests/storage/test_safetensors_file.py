"""Headers are read from regular files alone, within bounds, and without NumPy."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.numpy

from adapter_format.errors import UnreadableAdapterError
from adapter_format.limits import Limits
from adapter_format.storage import regular_file
from adapter_format.storage.regular_file import open_file, read_at
from adapter_format.storage.safetensors_file import read_header
from adapter_format.tensors import TensorInfo

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "adapter_model.safetensors"
    tensors = {"a": np.zeros((2, 3), np.float32), "b": np.ones(5, np.float16)}
    path.write_bytes(safetensors.numpy.save(tensors, {"format": "pt"}))
    return path


def test_header_of_an_official_file_is_read(weights: Path) -> None:
    header = read_header(weights)
    assert header.defects == ()
    assert header.readable
    assert header.tensors == {
        "a": TensorInfo("a", "F32", (2, 3), 0, 24),
        "b": TensorInfo("b", "F16", (5,), 24, 34),
    }
    assert header.file_size == weights.stat().st_size == header.data_start + 34


def test_header_is_read_without_numpy(weights: Path) -> None:
    code = (
        "import sys; from adapter_format.storage.safetensors_file import read_header;"
        f"assert len(read_header({str(weights)!r}).tensors) == 2; assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_byte_beyond_the_header_is_read(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = weights.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    read: list[range] = []

    def recorded(descriptor: int, count: int, offset: int) -> bytes:
        read.append(range(offset, offset + count))
        return os.pread(descriptor, count, offset)

    monkeypatch.setattr(regular_file, "_pread", recorded)
    read_header(weights)
    assert max(span.stop for span in read) == 8 + length
    assert sum(len(span) for span in read) == 8 + length


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "file-too-short"),
        (b"1234567", "file-too-short"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64, "lfs-pointer"),
        (b"<!DOCTYPE html><html>not found</html>", "not-safetensors"),
        (struct.pack("<Q", 2**63), "header-length"),
        (struct.pack("<Q", 40) + b'{"a":', "file-truncated"),
    ],
)
def test_damage_is_a_defect_and_no_exception(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "weights"
    path.write_bytes(content)
    header = read_header(path)
    assert [defect.kind for defect in header.defects] == [kind]
    assert not header.readable


def test_no_more_than_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_bytes(struct.pack("<Q", 5000) + b"{" + b" " * 10_000)
    read = 0

    def recorded(descriptor: int, count: int, offset: int) -> bytes:
        nonlocal read
        read += count
        return os.pread(descriptor, count, offset)

    monkeypatch.setattr(regular_file, "_pread", recorded)
    header = read_header(path, Limits(header_bytes=4999))
    assert [defect.kind for defect in header.defects] == ["header-over-limit"]
    assert read < 100


def test_sparse_file_of_10_gb_is_read_at_once(weights: Path) -> None:
    os.truncate(weights, 10_000_000_000)
    header = read_header(weights)
    assert [defect.kind for defect in header.defects] == ["trailing-bytes"]


def test_file_that_shrinks_while_it_is_read_is_reported_as_truncated(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shrinking(descriptor: int, count: int, offset: int) -> bytes:
        data = os.pread(descriptor, count, offset)
        os.truncate(weights, 70)
        return data

    monkeypatch.setattr(regular_file, "_pread", shrinking)
    assert [defect.kind for defect in read_header(weights).defects] == ["file-truncated"]


def test_short_reads_are_continued(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regular_file, "_pread", lambda fd, count, offset: os.pread(fd, min(count, 7), offset))
    assert len(read_header(weights).tensors) == 2


def test_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UnreadableAdapterError, match="is a FIFO, expected a regular file"):
        read_header(tmp_path / "fifo")


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableAdapterError, match="is a directory"):
        read_header(tmp_path)
    with pytest.raises(UnreadableAdapterError, match="is a device"):
        read_header("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(UnreadableAdapterError, match="can't be opened"):
            read_header(tmp_path / "s")


def test_refused_files_are_closed_again(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(UnreadableAdapterError):
            read_header("/dev/zero")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["absent", "nul\0", "\ud800", "x" * 300])
def test_path_that_leads_nowhere_is_one_clear_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableAdapterError, match=r"^The file '.*' can't be opened: .*[^.]\.$") as caught:
        read_header(tmp_path / name)
    assert "\0" not in str(caught.value)


def test_symlink_is_followed_only_if_wanted(weights: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(weights)
    assert read_header(link).readable
    with pytest.raises(UnreadableAdapterError, match="is a symlink"):
        read_header(link, follow_symlinks=False)
    assert read_header(weights, follow_symlinks=False).readable


def test_error_while_reading_is_clear(weights: Path) -> None:
    file = open_file(weights)
    os.close(file.descriptor)
    with pytest.raises(UnreadableAdapterError, match="can't be read: Bad file descriptor"):
        read_at(file, 8, 0)
