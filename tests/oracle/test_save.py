"""Does PEFT load what `af.save` wrote, and compute the same?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.torch
import torch
from peft import PeftModel

import adapter_format as af
from adapter_format.dtypes import DTYPES
from adapter_format.testing.drafts import write_example
from adapter_format.testing.examples import Example, examples

from . import example_bases
from .golden_adapters import WEIGHTS, GoldenAdapter, golden_adapters, parameters

if TYPE_CHECKING:
    from pathlib import Path

RELOADED = parameters(lambda adapter: adapter.entry["reload"] == "same" and adapter.has_safetensors)
EXAMPLES = [pytest.param(example, id=example.name) for example in examples().values()]


def arrays_of(example: Example) -> dict[str, np.ndarray[Any, Any]]:
    return {
        key: np.frombuffer(stored.data, DTYPES[stored.dtype].array_name).reshape(stored.shape)
        for key, stored in example.tensors.items()
    }


def same_tensors(one: Path, other: Path) -> bool:
    """Whether two weights files hold the same keys, element types, shapes and bits."""
    first, second = (safetensors.torch.load_file(folder / WEIGHTS) for folder in (one, other))
    return first.keys() == second.keys() and all(
        tensor.dtype == second[key].dtype
        and tensor.shape == second[key].shape
        and torch.equal(tensor.reshape(-1).view(torch.uint8), second[key].reshape(-1).view(torch.uint8))
        for key, tensor in first.items()
    )


def outputs(example: Example, folder: Path) -> torch.Tensor:
    torch.manual_seed(1)
    return example_bases.outputs(PeftModel.from_pretrained(example_bases.build(example.base), str(folder)).eval())


@pytest.mark.parametrize("adapter", RELOADED)
def test_peft_computes_the_same_after_our_reading_and_writing(adapter: GoldenAdapter, tmp_path: Path) -> None:
    loaded = af.load(adapter.folder)
    af.save(tmp_path / "again", loaded.tensors, loaded.config)

    again = adapter.load_with_peft(tmp_path / "again")

    assert again.error is None
    assert adapter.computed_as_saved(again)
    assert not [text for text in again.warnings if text not in adapter.entry["warnings"]]
    assert same_tensors(adapter.folder, tmp_path / "again")


@pytest.mark.parametrize("adapter", RELOADED)
def test_our_weights_file_is_the_one_that_peft_wrote(adapter: GoldenAdapter, tmp_path: Path) -> None:
    loaded = af.load(adapter.folder)
    af.save(tmp_path / "again", loaded.tensors, loaded.config)

    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (adapter.folder / WEIGHTS).read_bytes()


def test_peft_loads_several_adapters_that_were_saved_at_once(tmp_path: Path) -> None:
    together = [adapter for adapter in golden_adapters() if adapter.golden["name"] == "several_adapters"]
    loaded = {adapter.entry["name"]: af.load(adapter.folder) for adapter in together}
    af.save_all(tmp_path / "all", {name: (one.tensors, one.config) for name, one in loaded.items()})

    assert sorted(loaded) == ["default", "second", "third"]
    for adapter in together:
        name = adapter.entry["name"]
        again = adapter.load_with_peft(tmp_path / "all" if name == "default" else tmp_path / "all" / name)
        assert adapter.computed_as_saved(again), name


@pytest.mark.parametrize("example", EXAMPLES)
def test_peft_loads_numpy_arrays_that_we_wrote(example: Example, tmp_path: Path) -> None:
    write_example(example.name, tmp_path / "expected")
    af.save(tmp_path / "ours", arrays_of(example), example.config)

    assert same_tensors(tmp_path / "expected", tmp_path / "ours")
    assert torch.equal(outputs(example, tmp_path / "ours"), outputs(example, tmp_path / "expected"))


@pytest.mark.parametrize("name", ["plain", "patterns", "rslora"])
def test_peft_adds_what_the_arrays_say(name: str, tmp_path: Path) -> None:
    example = examples()[name]
    tensors, config = arrays_of(example), example.config
    af.save(tmp_path / "ours", tensors, config)
    merged = example_bases.build(example.base)
    for key in (key for key in tensors if key.endswith("lora_A.weight")):
        path = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        a, b = tensors[key], tensors[key.replace("lora_A", "lora_B")]
        alpha = config["alpha_pattern"].get(path.rpartition(".")[2], config["lora_alpha"])
        scale = alpha / (np.sqrt(len(a)) if config["use_rslora"] else len(a))
        merged.get_submodule(path).weight.data += torch.from_numpy(scale * b @ a).to(torch.float32)

    computed = outputs(example, tmp_path / "ours")

    assert torch.allclose(computed, example_bases.outputs(merged), atol=1e-5)
    assert not torch.allclose(computed, example_bases.outputs(example_bases.build(example.base)), atol=1e-1)


@pytest.mark.parametrize(
    "awkward",
    [
        pytest.param(np.asfortranarray, id="columns first"),
        pytest.param(lambda array: array[::-1].copy()[::-1], id="reversed"),
        pytest.param(lambda array: np.repeat(array, 2, axis=-1)[..., ::2], id="every second"),
        pytest.param(lambda array: array.astype(array.dtype.newbyteorder(">")), id="big-endian"),
        pytest.param(lambda array: torch.from_numpy(array.copy()), id="torch"),
        pytest.param(lambda array: torch.nn.Parameter(torch.from_numpy(array.T.copy()).T), id="parameter, transposed"),
    ],
)
def test_peft_computes_the_same_from_arrays_of_any_layout(awkward: Any, tmp_path: Path) -> None:
    example = examples()["plain"]
    write_example("plain", tmp_path / "expected")
    af.save(tmp_path / "ours", {key: awkward(array) for key, array in arrays_of(example).items()}, example.config)

    assert torch.equal(outputs(example, tmp_path / "ours"), outputs(example, tmp_path / "expected"))
