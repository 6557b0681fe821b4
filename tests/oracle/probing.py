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
from peft import PeftModel, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from tests.constraint_examples import EXPERT
from tests.oracle.base_models import BASES, build

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TRAINED = ("lora_", "modules_to_save", "trainable_tokens_delta")
"""What LoRA may train, also where the initialisation left it frozen; of other methods, all that requires gradients."""

FORWARD: dict[str, dict[str, Any]] = {
    "POLY": {"task_ids": [0, 0]},
    "MULTITASK_PROMPT_TUNING": {"task_ids": [0, 0]},
}
"""What the models of some methods want beside the batch of the base."""

REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
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
    peft_type: str = "LORA"


def outputs_of(model: torch.nn.Module, base: str, peft_type: str = "LORA") -> torch.Tensor:
    more = {name: torch.tensor(value) for name, value in FORWARD.get(peft_type, {}).items()}
    with torch.no_grad():
        found = model(**BASES[base].batch(), **more)
    return getattr(found, "logits", found).clone()


def base_for(peft_type: str, base: str) -> torch.nn.Module:
    """Build a fresh base; X-LoRA refuses one that keeps a cache."""
    model = build(base)
    if peft_type == "XLORA":
        model.config.use_cache = False
    return model


def write(base: str, fields: Mapping[str, Any], peft_type: str = "LORA") -> Written:
    """Make an adapter on a fresh base, give its tensors values as if trained, and save it."""
    folder = Path(tempfile.mkdtemp(dir=_FOLDERS.name))
    defaults = {"task_type": "CAUSAL_LM", **({"r": 2} if peft_type == "LORA" else {})}
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type](**{**defaults, **_with_expert(base, fields)})
        model = get_peft_model(base_for(peft_type, base), config).eval()
        _train(model, peft_type)
        outputs = outputs_of(model, base, peft_type)
        model.save_pretrained(folder)
    written = Written(base, folder, outputs, frozenset(), peft_type)
    return written._replace(warned=frozenset(load(written).warned))


def _train(model: torch.nn.Module, peft_type: str) -> None:
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        trained = any(part in name for part in TRAINED) if peft_type == "LORA" else parameter.requires_grad
        if trained:
            change = 0.3 * torch.randn(parameter.shape, generator=generator)
            parameter.data.add_(change.to(parameter.dtype))


def _with_expert(base: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    if EXPERT not in json.dumps(fields):
        return dict(fields)
    expert = written_once(base, json.dumps({"target_modules": ["q_proj", "v_proj"]}))
    replaced: dict[str, Any] = json.loads(json.dumps(fields).replace(EXPERT, str(expert.folder)))
    return replaced


@functools.cache
def written_once(base: str, fields_json: str, peft_type: str = "LORA") -> Written:
    """`write` for fields given as JSON; the adapter is shared and must not be changed."""
    return write(base, json.loads(fields_json), peft_type)


def edited(written: Written, changes: Mapping[str, Any], removed: Sequence[str] = ()) -> Outcome:
    """Load a copy of the adapter with some fields of its config changed, and others taken out."""
    with tempfile.TemporaryDirectory(dir=_FOLDERS.name) as folder:
        copy = Path(folder) / "adapter"
        shutil.copytree(written.folder, copy)
        path = copy / "adapter_config.json"
        changed = {**json.loads(path.read_text()), **_with_expert(written.base, changes)}
        path.write_text(json.dumps({name: value for name, value in changed.items() if name not in removed}))
        return load(written._replace(folder=copy))


def rewritten(valid: Written, fields: Mapping[str, Any]) -> Outcome:
    """Make an adapter of other fields and load it; warnings of the valid adapter do not count."""
    try:
        written = write(valid.base, fields, valid.peft_type)
    except REFUSALS as error:
        return Outcome(error, (), None)
    return load(written._replace(warned=valid.warned))


def load(written: Written) -> Outcome:
    """Load an adapter on a fresh base and run it."""
    torch.manual_seed(2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            base = base_for(written.peft_type, written.base)
            model = PeftModel.from_pretrained(base, str(written.folder)).eval()
            outputs = outputs_of(model, written.base, written.peft_type)
        except REFUSALS as error:
            return Outcome(error, (), None)
    messages = sorted({str(warning.message) for warning in caught} - written.warned)
    # An adapter that puts tokens in front of the inputs may have outputs for them as well.
    same = outputs.shape == written.outputs.shape and torch.allclose(outputs, written.outputs, rtol=1e-4, atol=1e-5)
    return Outcome(None, tuple(messages), same)
