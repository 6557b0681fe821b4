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
from peft import PeftConfig, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn

from tests.golden import lora_recipes, method_recipes
from tests.golden.lora_recipes import CONVERTED
from tests.golden.recipe import Golden, add_noise, leave_fresh
from tests.oracle import base_models
from tests.oracle.golden_outputs import close, digest, reload, stand_ins, told

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = Path(__file__).resolve().parent
COLLECTIONS = {"lora": lora_recipes.GOLDENS, "methods": method_recipes.GOLDENS}
"""Folder and recipes of each collection."""
VERSIONS = {
    "peft": peft.__version__,
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "safetensors": safetensors.__version__,
}


def config_of(golden: Golden, values: dict[str, Any]) -> PeftConfig:
    """A config of the golden's method, made by PEFT's class for it."""
    return PEFT_TYPE_TO_CONFIG_MAPPING[golden.peft_type](**values)


def wrapped(golden: Golden) -> nn.Module:
    """The base of a golden with all its adapters, the default one active, trained by noise."""
    base = base_models.build(golden.base)
    if golden.prepare is not None:
        base = golden.prepare(base, golden)
    train = golden.train or add_noise
    if golden.written_by_transformers:
        base.add_adapter(config_of(golden, golden.config))
        train(base, golden)
        return base.eval()
    model = get_peft_model(base, config_of(golden, golden.config), **golden.wrap)
    if golden.saves is CONVERTED:
        initial_weights = model.peft_config["default"].init_lora_weights
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained("initial")
        model.peft_config["default"].init_lora_weights = initial_weights
    train(model, golden)
    for name, config in golden.others.items():
        model.add_adapter(name, config_of(golden, config))
        model.set_adapter(name)
        train(model, golden)
    if golden.others:
        model.set_adapter("default")
    return model.eval()


def write(golden: Golden, folder: Path) -> dict[str, Any]:
    """Write one golden into `folder`, reload it, and return its entry for the manifest."""
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as caught, stand_ins(golden.trained_with):
        warnings.simplefilter("always")
        model = wrapped(golden)
        trained = {"default": base_models.outputs(model, golden.base, golden.inputs)}
        for name in golden.others:
            model.set_adapter(name)
            trained[name] = base_models.outputs(model, golden.base, golden.inputs)
        if golden.others:
            model.set_adapter("default")
        if golden.stored_dtype is not None:
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.data = parameter.data.to(golden.stored_dtype)
        for options in golden.saves:
            model.save_pretrained(folder, **options)
    for name in golden.not_kept:
        shutil.rmtree(folder / name)
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
        **({} if golden.peft_type == "LORA" else {"peft_type": golden.peft_type}),
        "base": golden.base,
        "shows": golden.shows,
        "versions": VERSIONS,
        "reload": verdicts[0] if verdicts else "same",
        **({"why": golden.why} if golden.why else {}),
        "load_options": golden.load,
        "loaded_with": list(golden.loaded_with),
        **({"inputs": golden.inputs} if golden.inputs else {}),
        "tolerance": golden.tolerance,
        "adapters": adapters,
        "warnings_on_saving": told(caught),
    }


def adapter_entry(
    golden: Golden, folder: Path, name: str, trained: torch.Tensor, plain: torch.Tensor
) -> dict[str, Any]:
    """Reload one adapter of a golden and compare with the outputs of the model that was saved."""
    place = folder if name == "default" else folder / name
    again = reload(
        place,
        golden.base,
        adapter_name=name,
        options=golden.load,
        loaded_with=golden.loaded_with,
        inputs=golden.inputs,
    )
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
        "error": again.error and again.error[:400],
        "warnings": again.warnings,
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


def write_collection(folder: Path, goldens: list[Golden], only: list[str]) -> None:
    """Write the chosen goldens into `folder`, and the manifest if all of them are chosen."""
    entries = []
    for golden in goldens:
        if only and golden.name not in only:
            continue
        shutil.rmtree(folder / golden.name, ignore_errors=True)
        entries.append(write(golden, folder / golden.name))
        verdicts = ", ".join(f"{a['keys']} keys, {a['reload']}" for a in entries[-1]["adapters"])
        print(f"{folder.name}/{golden.name}: {verdicts}", flush=True)
    if not only:
        (folder / "manifest.json").write_text(json.dumps({"goldens": entries}, indent=1) + "\n")


def main() -> None:
    """Write every golden and the manifests."""
    parser = argparse.ArgumentParser(description="Write the golden adapters with real PEFT.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="parent of the collections (default: %(default)s)")
    parser.add_argument("--collection", choices=COLLECTIONS, help="write this collection alone")
    parser.add_argument("--only", nargs="*", help="write these goldens alone, and no manifest")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        write_base_configs()
        for collection, goldens in COLLECTIONS.items():
            if arguments.collection in (None, collection):
                write_collection(output / collection, goldens, arguments.only or [])
        os.chdir(ROOT)
