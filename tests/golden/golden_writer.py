"""Write golden adapters, load them again and keep what happened: the machinery of `make_goldens.py`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import peft
import safetensors
import safetensors.torch
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.golden.lora_recipes import CONVERTED, GOLDENS
from tests.golden.recipe import Golden, add_noise, leave_fresh
from tests.oracle import base_models
from tests.oracle.golden_outputs import close, digest, reload, stand_ins, told

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = Path(__file__).resolve().parent / "lora"
VERSIONS = {
    "peft": peft.__version__,
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "safetensors": safetensors.__version__,
}


def wrapped(golden: Golden) -> nn.Module:
    """The base of a golden with all its adapters, the default one active, trained by noise."""
    base = base_models.build(golden.base)
    if golden.prepare is not None:
        base = golden.prepare(base, golden)
    train = golden.train or add_noise
    if golden.written_by_transformers:
        base.add_adapter(LoraConfig(**golden.config))
        train(base, golden)
        return base.eval()
    model = get_peft_model(base, LoraConfig(**golden.config), **golden.wrap)
    if golden.saves is CONVERTED:
        initial_weights = model.peft_config["default"].init_lora_weights
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained("initial")
        model.peft_config["default"].init_lora_weights = initial_weights
    train(model, golden)
    for name, config in golden.others.items():
        model.add_adapter(name, LoraConfig(**config))
        model.set_adapter(name)
        train(model, golden)
    model.set_adapter("default")
    return model.eval()


def write(golden: Golden, folder: Path) -> dict[str, Any]:
    """Write one golden into `folder`, reload it, and return its entry for the manifest."""
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as caught, stand_ins(golden.trained_with):
        warnings.simplefilter("always")
        model = wrapped(golden)
        trained = {}
        for name in ["default", *golden.others]:
            model.set_adapter(name)
            trained[name] = base_models.outputs(model, golden.base)
        model.set_adapter("default")
        if golden.stored_dtype is not None:
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.data = parameter.data.to(golden.stored_dtype)
        for options in golden.saves:
            model.save_pretrained(folder, **options)
    for path in sorted(folder.rglob("*")):
        if path.name in ("README.md", "generation_config.json"):
            path.unlink()
        elif path.is_file():
            path.chmod(0o644)
    plain = base_models.outputs(base_models.build(golden.base), golden.base)
    adapters = [adapter_entry(golden, folder, name, outputs, plain) for name, outputs in trained.items()]
    verdicts = [adapter["reload"] for adapter in adapters if adapter["reload"] != "same"]
    return {
        "name": golden.name,
        "base": golden.base,
        "shows": golden.shows,
        "versions": VERSIONS,
        "reload": verdicts[0] if verdicts else "same",
        "load_options": golden.load,
        "loaded_with": list(golden.loaded_with),
        "tolerance": golden.tolerance,
        "adapters": adapters,
        "warnings_on_saving": [text.replace(str(folder.parent), "...") for text in told(caught)],
    }


def adapter_entry(
    golden: Golden, folder: Path, name: str, trained: torch.Tensor, plain: torch.Tensor
) -> dict[str, Any]:
    """Reload one adapter of a golden and compare with the outputs of the model that was saved."""
    place = folder if name == "default" else folder / name
    again = reload(place, golden.base, adapter_name=name, options=golden.load, loaded_with=golden.loaded_with)
    if again.outputs is None:
        verdict, difference = "raises", None
    else:
        difference = float((again.outputs - trained).abs().max())
        verdict = "same" if difference <= golden.tolerance else "differs"
    if golden.train is not leave_fresh and close(digest(trained), digest(plain), golden.tolerance):
        raise SystemExit(f"golden {golden.name}: the adapter {name} does not change the outputs of its base")
    return {
        "name": name,
        "folder": place.relative_to(folder.parent).as_posix(),
        "keys": len(tensors(place)),
        "reload": verdict,
        "difference": None if difference is None else round(difference, 6),
        "outputs": digest(trained)._asdict(),
        "error": again.error and again.error.replace(str(folder.parent), "...")[:400],
        "warnings": [text.replace(str(folder.parent), "...") for text in again.warnings],
    }


def tensors(place: Path) -> dict[str, torch.Tensor]:
    """The tensors of an adapter folder, from whichever container it holds."""
    if (place / "adapter_model.safetensors").exists():
        return safetensors.torch.load_file(place / "adapter_model.safetensors")
    return torch.load(place / "adapter_model.bin", weights_only=True)


def write_base_configs() -> None:
    """Store each base's config under its hub id, from where PEFT compares vocabularies while saving."""
    for name in base_models.BASES:
        if name.startswith("tiny_") and name != "tiny_llama_resized":
            model = base_models.build(name)
            model.config.save_pretrained(model.name_or_path)


def main() -> None:
    """Write every golden and the manifest."""
    parser = argparse.ArgumentParser(description="Write the golden LoRA adapters with real PEFT.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder to write (default: %(default)s)")
    parser.add_argument("--only", nargs="*", help="write these goldens alone, and no manifest")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    torch.set_num_threads(1)
    chosen = [golden for golden in GOLDENS if not arguments.only or golden.name in arguments.only]
    entries = []
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        write_base_configs()
        for golden in chosen:
            shutil.rmtree(output / golden.name, ignore_errors=True)
            entries.append(write(golden, output / golden.name))
            verdicts = ", ".join(f"{a['keys']} keys, {a['reload']}" for a in entries[-1]["adapters"])
            print(f"{golden.name}: {verdicts}")
        os.chdir(ROOT)
    if not arguments.only:
        (output / "manifest.json").write_text(json.dumps({"goldens": entries}, indent=1) + "\n")
