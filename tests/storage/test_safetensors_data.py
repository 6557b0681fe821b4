"""Tensors are read-only views of the file, made when they are asked for."""

from __future__ import annotations

import gc
import mmap
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from adapter_format.errors import UnreadableAdapterError, UsageError
from adapter_format.limits import Limits
from adapter_format.storage import safetensors_data
from adapter_format.storage.regular_file import open_file
from adapter_format.storage.safetensors_data import TensorMapping, open_tensors
from adapter_format.storage.safetensors_file import read_header
from adapter_format.storage.safetensors_writer import plan, write
from adapter_format.tensors import TensorInfo
from tests.storage.awkward_arrays import AWKWARD

if TYPE_CHECKING:
    from pathlib import Path

TENSORS: dict[str, Any] = {
    "f64": np.arange(3.0),
    "f32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.array(2.5, np.float32),
    "empty": np.empty((0, 4), np.float32),
    "i8": np.array([-1, 2, 3], np.int8),
    "flags": np.array([True, False]),
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(safetensors.numpy.save(TENSORS, {"format": "pt"}))
    return path


@pytest.fixture(params=[True, False], ids=["mapped", "read"])
def mapped(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def put(path: Path, tensors: dict[str, Any]) -> None:
    with path.open("wb") as file:
        write(file, plan(tensors, {"format": "pt"}))


def test_what_the_official_writer_wrote_is_read(weights: Path, *, mapped: bool) -> None:
    with open_tensors(weights, mapped=mapped) as tensors:
        assert sorted(tensors) == sorted(TENSORS)
        for name, expected in TENSORS.items():
            np.testing.assert_array_equal(tensors[name], expected, strict=True)
            assert not tensors[name].flags.writeable


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_arrays_come_back_as_they_were(tmp_path: Path, name: str, *, mapped: bool) -> None:
    put(tmp_path / "w", {"w": AWKWARD[name]})
    back = open_tensors(tmp_path / "w", mapped=mapped)["w"]
    np.testing.assert_array_equal(back, AWKWARD[name])
    assert back.dtype == AWKWARD[name].dtype.newbyteorder("=")


def test_every_bit_of_bfloat16_and_float8_comes_back(tmp_path: Path, *, mapped: bool) -> None:
    words = np.arange(65536, dtype=np.uint16)
    octets = np.arange(256, dtype=np.uint8)
    types = ("float8_e5m2", "float8_e4m3fn", "float8_e8m0fnu", "float8_e4m3fnuz", "float8_e5m2fnuz")
    stored = {name: octets.view(getattr(ml_dtypes, name)) for name in types}
    stored["bfloat16"] = words.view(ml_dtypes.bfloat16)
    put(tmp_path / "w", stored)
    back = open_tensors(tmp_path / "w", mapped=mapped)
    for name, values in stored.items():
        assert back[name].dtype == values.dtype
        assert back[name].tobytes() == values.tobytes()


def test_order_is_that_of_the_header(weights: Path) -> None:
    tensors = open_tensors(weights)
    assert list(tensors) == ["f64", "empty", "f32", "scalar", "i8", "flags"]
    assert [info.start for info in map(tensors.info, tensors)] == sorted(
        info.start for info in map(tensors.info, tensors)
    )


def test_it_is_a_mapping(weights: Path) -> None:
    tensors = open_tensors(weights)
    assert len(tensors) == 6
    assert "f32" in tensors
    assert "x" not in tensors
    assert 3 not in tensors
    assert tensors.info("f32") == TensorInfo("f32", "F32", (2, 3), 24, 48)
    assert tensors.get("x") is None
    assert repr(tensors) == "<TensorMapping of 6 tensors>"
    with pytest.raises(KeyError):
        tensors["x"]


def test_mapped_arrays_are_views_of_one_map(weights: Path) -> None:
    tensors = open_tensors(weights)
    assert np.shares_memory(tensors["f32"], tensors["f32"])
    bases = {id(root(tensors[name])) for name in ("f64", "f32", "scalar")}
    assert len(bases) == 1
    assert isinstance(root(tensors["f32"]), mmap.mmap)


def root(array: Any) -> Any:
    """Return what owns the memory of an array."""
    while isinstance(array, (np.ndarray, memoryview)):
        array = array.base if isinstance(array, np.ndarray) else array.obj
    return array


def test_arrays_that_are_read_own_their_memory(weights: Path) -> None:
    tensors = open_tensors(weights, mapped=False)
    assert not np.shares_memory(tensors["f32"], tensors["f32"])


def test_no_array_can_be_made_writeable(weights: Path, *, mapped: bool) -> None:
    tensors = open_tensors(weights, mapped=mapped)
    with pytest.raises(ValueError, match="read-only"):
        tensors["f32"][0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        tensors["f32"].flags.writeable = True


def test_arrays_outlive_their_mapping(weights: Path, *, mapped: bool) -> None:
    tensors = open_tensors(weights, mapped=mapped)
    array = tensors["f32"]
    tensors.close()
    tensors.close()
    del tensors
    gc.collect()
    weights.unlink()
    np.testing.assert_array_equal(array, TENSORS["f32"])


def test_closed_mapping_says_so_and_keeps_its_names(weights: Path, *, mapped: bool) -> None:
    with open_tensors(weights, mapped=mapped) as tensors:
        pass
    assert "f32" in list(tensors)
    with pytest.raises(UsageError, match="'f32' is asked for after its file was closed"):
        tensors["f32"]


def test_descriptors_are_closed(weights: Path, *, mapped: bool) -> None:
    before = len(os.listdir("/proc/self/fd"))
    tensors = open_tensors(weights, mapped=mapped)
    assert tensors["f64"].size == 3
    tensors.close()
    assert len(os.listdir("/proc/self/fd")) == before
    forgotten = open_tensors(weights, mapped=mapped)
    del forgotten
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_file_without_data_is_read(tmp_path: Path, *, mapped: bool) -> None:
    put(tmp_path / "w", {"empty": np.empty((3, 0), np.float16)})
    assert open_tensors(tmp_path / "w", mapped=mapped)["empty"].shape == (3, 0)
    put(tmp_path / "w", {})
    assert dict(open_tensors(tmp_path / "w", mapped=mapped)) == {}


def test_misaligned_data_is_read_right(tmp_path: Path, *, mapped: bool) -> None:
    header = b'{"w":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}'
    assert len(header) % 8
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + np.array([1.5, 2.5]).tobytes())
    assert open_tensors(tmp_path / "w", mapped=mapped)["w"].tolist() == [1.5, 2.5]


def test_damaged_file_is_refused_with_its_first_defect(weights: Path, *, mapped: bool) -> None:
    os.truncate(weights, weights.stat().st_size - 1)
    with pytest.raises(UnreadableAdapterError, match=r"can't be read: .*cut short\.$"):
        open_tensors(weights, mapped=mapped)
    weights.write_bytes(b"")
    with pytest.raises(UnreadableAdapterError, match="The file is empty"):
        open_tensors(weights, mapped=mapped)


def test_limits_hold(weights: Path) -> None:
    with pytest.raises(UnreadableAdapterError, match="over the limit of 10 set for this run"):
        open_tensors(weights, Limits(header_bytes=10))


def test_symlink_is_refused_if_wanted(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(weights)
    assert len(open_tensors(tmp_path / "link")) == 6
    with pytest.raises(UnreadableAdapterError, match="symlink"):
        open_tensors(tmp_path / "link", follow_symlinks=False)


def test_file_exchanged_after_its_header_was_read_is_refused(weights: Path, *, mapped: bool) -> None:
    header = read_header(weights)
    put(weights, {"f32": np.zeros(1000)})
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UnreadableAdapterError, match="was replaced in between"):
        TensorMapping(open_file(weights), header, mapped=mapped)
    assert len(os.listdir("/proc/self/fd")) == before


def test_truncation_under_a_reading_mapping_is_an_error(weights: Path) -> None:
    tensors = open_tensors(weights, mapped=False)
    os.truncate(weights, tensors.header.data_start + 8)
    with pytest.raises(UnreadableAdapterError, match="ends inside the tensor 'f64': it was truncated"):
        tensors["f64"]
    assert tensors["empty"].shape == (0, 4)


def test_truncation_under_a_memory_map_kills_as_documented(tmp_path: Path) -> None:
    put(tmp_path / "w", {"w": np.zeros(1_000_000)})
    code = (
        "import os, sys; from adapter_format.storage.safetensors_data import open_tensors;"
        "w = open_tensors(sys.argv[1])['w']; os.truncate(sys.argv[1], 100); w.sum()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "w")], check=False)
    assert done.returncode < 0


def test_file_system_that_can_not_map_is_read_instead(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr(safetensors_data.mmap, "mmap", refuse)
    np.testing.assert_array_equal(open_tensors(weights)["f32"], TENSORS["f32"])


def test_threads_read_at_once(weights: Path, *, mapped: bool) -> None:
    with open_tensors(weights, mapped=mapped) as tensors, ThreadPoolExecutor(4) as pool:
        for name, array in pool.map(lambda name: (name, tensors[name]), [*TENSORS] * 50):
            np.testing.assert_array_equal(array, TENSORS[name])


def test_opening_reads_no_tensor(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[2500000000],"data_offsets":[0,10000000000]}}       '
    path = tmp_path / "w"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + 10_000_000_000)
    assert open_tensors(path)["w"][-1] == 0
