"""What real PEFT does with an adapter whose config was edited; needs torch and PEFT."""

from __future__ import annotations

import functools
import json
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from tests.oracle.base_models import BASES, build

if TYPE_CHECKING:
    from collections.abc import Mapping

TRAINED = ("lora_", "modules_to_save", "trainable_tokens_delta")

REFUSALS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    re.error,
)
"""What PEFT raises on configs that it does not take: mostly not on purpose, so of any of these classes."""

_FOLDERS = tempfile.TemporaryDirectory(prefix="adapter-oracle-")


class Outcome(NamedTuple):
    """What happened on loading.

    Attributes:
        error: the exception, if loading or running the model raised one.
        warned: messages that the unedited adapter does not give.
        same: whether the loaded model computes what the saved one did; None after an error.
    """

    error: Exception | None
    warned: tuple[str, ...]
    same: bool | None

    @property
    def behaviour(self) -> Literal["raises", "warns", "silent-ok", "silent-wrong"]:
        if self.error is not None:
            return "raises"
        if self.warned:
            return "warns"
        return "silent-ok" if self.same else "silent-wrong"


class Written(NamedTuple):
    """An adapter that PEFT wrote, with what its model computed."""

    base: str
    folder: Path
    outputs: torch.Tensor
    warned: frozenset[str]


def outputs_of(model: torch.nn.Module, base: str) -> torch.Tensor:
    with torch.no_grad():
        found = model(**BASES[base].batch())
    return getattr(found, "logits", found).clone()


def write(base: str, fields: Mapping[str, Any]) -> Written:
    """Make an adapter on a fresh base, give its tensors values as if trained, and save it."""
    folder = Path(tempfile.mkdtemp(dir=_FOLDERS.name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(**{"r": 2, "task_type": "CAUSAL_LM", **fields})
        model = get_peft_model(build(base), config).eval()
        generator = torch.Generator().manual_seed(7)
        for name, parameter in model.named_parameters():
            if any(part in name for part in TRAINED):
                change = 0.3 * torch.randn(parameter.shape, generator=generator)
                parameter.data.add_(change.to(parameter.dtype))
        outputs = outputs_of(model, base)
        model.save_pretrained(folder)
    written = Written(base, folder, outputs, frozenset())
    return written._replace(warned=frozenset(load(written).warned))


@functools.cache
def written_once(base: str, fields_json: str) -> Written:
    """`write` for fields given as JSON; the adapter is shared and must not be changed."""
    return write(base, json.loads(fields_json))


def edited(written: Written, changes: Mapping[str, Any]) -> Outcome:
    """Load a copy of the adapter with some fields of its config changed."""
    with tempfile.TemporaryDirectory(dir=_FOLDERS.name) as folder:
        copy = Path(folder) / "adapter"
        shutil.copytree(written.folder, copy)
        path = copy / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return load(written._replace(folder=copy))


def rewritten(valid: Written, fields: Mapping[str, Any]) -> Outcome:
    """Make an adapter of other fields and load it; warnings of the valid adapter do not count."""
    try:
        written = write(valid.base, fields)
    except REFUSALS as error:
        return Outcome(error, (), None)
    return load(written._replace(warned=valid.warned))


def load(written: Written) -> Outcome:
    """Load an adapter on a fresh base and run it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = PeftModel.from_pretrained(build(written.base), str(written.folder)).eval()
            outputs = outputs_of(model, written.base)
        except REFUSALS as error:
            return Outcome(error, (), None)
    messages = sorted({str(warning.message) for warning in caught} - written.warned)
    same = torch.allclose(outputs, written.outputs, rtol=1e-4, atol=1e-5)
    return Outcome(None, tuple(messages), same)
