"""Make the bad examples from the good ones; each bears the name of the rule that it breaks.

Needs NumPy and safetensors alone:

    python spec/examples/make_bad.py [FOLDER]

FOLDER is `bad/` beside this script unless one is given.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

Tensors = dict[str, np.ndarray[Any, Any]]

HERE = Path(__file__).resolve().parent
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."


def read(name: str) -> tuple[dict[str, Any], Tensors]:
    """Read a good example: its config and its tensors."""
    folder = HERE / "good" / name
    return json.loads((folder / CONFIG).read_text()), load_file(folder / WEIGHTS)


def write(folder: Path, config: dict[str, Any], tensors: Tensors) -> None:
    """Write an adapter as PEFT does, readable for everybody."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True))
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)


def key_prefix_missing(folder: Path) -> None:
    """Keys as the base model spells them: PEFT warns, and the model answers as if it had no adapter."""
    config, tensors = read("llama")
    write(folder, config, {key.removeprefix(PREFIX): value for key, value in tensors.items()})


def rank_mismatch(folder: Path) -> None:
    """A config that says r 8 beside tensors of rank 2."""
    config, tensors = read("llama")
    write(folder, {**config, "r": 8}, tensors)


def role_missing(folder: Path) -> None:
    """DoRA without its magnitudes: PEFT warns, and computes with fresh ones."""
    config, tensors = read("llama-dora")
    write(folder, config, {key: value for key, value in tensors.items() if "magnitude" not in key})


def layer_gap(folder: Path) -> None:
    """One of four layers is not there."""
    config, tensors = read("llama-all-linear")
    write(folder, config, {key: value for key, value in tensors.items() if ".layers.2." not in key})


def file_truncated(folder: Path) -> None:
    """A download that stopped early."""
    config, tensors = read("llama")
    write(folder, config, tensors)
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-100])


MAKERS = {
    "key-prefix-missing": key_prefix_missing,
    "rank-mismatch": rank_mismatch,
    "role-missing": role_missing,
    "layer-gap": layer_gap,
    "file-truncated": file_truncated,
}


def main() -> None:
    """Write every bad example."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "bad"
    for name, make in MAKERS.items():
        make(target / name)


if __name__ == "__main__":
    main()
