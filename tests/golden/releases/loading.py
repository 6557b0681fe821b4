"""Load an adapter folder with the installed PEFT and judge: does it compute what the saved model computed?"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import peft
import torch

from tests.golden.releases import bases
from tests.oracle import base_models
from tests.oracle.golden_outputs import Digest, close, digest, placeless, stand_ins, told

HERE = Path(__file__).resolve().parent
LONGEST_TEXT = 200
LONGEST_WARNING = 120
OF_THE_MACHINE = ("Failed to load the CUDA extension",)
"""Beginnings of warnings that say nothing about the file."""


class Job(NamedTuple):
    """What to load, how, and what to compare it with."""

    folder: str
    base: str
    outputs: dict[str, Any]
    """The digest of what the saved model computed."""
    base_outputs: dict[str, Any] | None = None
    """The digest of what the base alone computes with the newest Transformers."""
    inputs: Mapping[str, Any] = MappingProxyType({})
    base_settings: Mapping[str, Any] = MappingProxyType({})
    adapter_name: str = "default"
    load_options: Mapping[str, Any] = MappingProxyType({})
    loaded_with: Sequence[str] = ()
    tolerance: float = 1e-4


def fields_of_release(golden: dict[str, Any]) -> dict[str, Any]:
    """The fields of the job that a golden of this folder's manifest describes."""
    wanted = ("base", "outputs", "inputs", "base_settings")
    return {"folder": str(HERE / golden["folder"]), **{key: golden[key] for key in wanted if key in golden}}


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The folder as the current one: X-LoRA's paths of experts are relative to it."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def in_short(problem: Exception, folder: str) -> str:
    """The class of an error and its first two lines (PyTorch names the tensor in the second), without paths."""
    text = f"{type(problem).__name__}: {problem}".replace(folder, "<folder>")
    return placeless(" ".join(line.strip() for line in text.splitlines()[:2]))[:LONGEST_TEXT]


def load(job: Job, folder: str | None = None) -> dict[str, Any]:
    """The verdict on one job: `same`, `differs`, `raises`, or `unmeasured` where base or stand-in can't be had.

    Besides `verdict`: `error`, `warnings`, and for `differs` the digest and whether it is that of the base.
    """
    folder = folder or job.folder
    bases.register()
    # Of any class: what a library of any release raises is what is to be measured.
    try:
        base = base_models.build(job.base)
        plain = digest(base_models.outputs(base, job.base))
    except Exception as problem:
        return {"verdict": "unmeasured", "error": f"base: {in_short(problem, folder)}"}
    if job.base_outputs is not None and not close(plain, Digest(**job.base_outputs), job.tolerance):
        return {"verdict": "unmeasured", "error": "base: it computes something else with this Transformers"}
    for field, value in job.base_settings.items():
        setattr(base.config, field, value)
    torch.manual_seed(1)
    with warnings.catch_warnings(record=True) as caught, contextlib.ExitStack() as surroundings:
        warnings.simplefilter("always")
        surroundings.enter_context(inside(Path(folder)))
        try:
            surroundings.enter_context(stand_ins(job.loaded_with))
        except AttributeError as problem:
            return {"verdict": "unmeasured", "error": f"stand-in: {in_short(problem, folder)}"}
        try:
            model = peft.PeftModel.from_pretrained(base, folder, adapter_name=job.adapter_name, **job.load_options)
            computed = digest(base_models.outputs(model.eval(), job.base, job.inputs))
        except Exception as problem:
            result = {"verdict": "raises", "error": in_short(problem, folder)}
        else:
            if close(computed, Digest(**job.outputs), job.tolerance):
                result = {"verdict": "same"}
            else:
                as_base = close(computed, plain, job.tolerance)
                result = {"verdict": "differs", "outputs": computed._asdict(), "as_base": as_base}
    texts = [text[:LONGEST_WARNING] for text in told(caught) if not text.startswith(OF_THE_MACHINE)]
    return {**result, "warnings": texts} if texts else result


def unknown_fields(folder: str) -> list[str] | None:
    """The fields of a folder's config that the installed PEFT does not know; None if it lacks the method."""
    config = json.loads((Path(folder) / "adapter_config.json").read_text())
    classes = {str(getattr(kind, "value", kind)): cls for kind, cls in peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if config["peft_type"] not in classes:
        return None
    known = {field.name for field in dataclasses.fields(classes[config["peft_type"]])}
    return sorted(set(config) - known)


def load_after_dropping(job: Job, dropped: list[str]) -> dict[str, Any]:
    """The verdict on a copy of the folder whose config lacks the fields `dropped`."""
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work) / "adapter"
        shutil.copytree(job.folder, copy)
        path = copy / "adapter_config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in config.items() if key not in dropped}))
        result = load(job, str(copy))
    result.pop("outputs", None)
    return result
