"""`extract_adapter` against PEFT's `get_peft_model_state_dict`, for the goldens of every method."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict

from adapter_format.conditions import holds
from adapter_format.errors import UsageError
from adapter_format.extract import adapter_names, extract_adapter
from adapter_format.layouts import layout_of
from adapter_format.memory_keys import is_held
from adapter_format.module_values import settings_finder

from . import base_models
from .golden_adapters import GoldenAdapter, parameters
from .golden_outputs import stand_ins

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.filterwarnings("ignore")

COMPUTED_WHEN_SAVED = {
    "CARTRIDGE": "the prompt's rows have another name in memory",
    "CPT": "the embedding of the prompt's tokens and what was learnt are added up",
    "MULTITASK_PROMPT_TUNING": "the prompt's own embedding has another name in memory",
    "P_TUNING": "the prompt encoder is run",
    "PREFIX_TUNING": "the projection, where there is one, is run",
    "PROMPT_TUNING": "the prompt's own embedding has another name in memory",
    "SHIRA": "the indices are no part of the state dict",
    "VBLORA": "with `save_only_topk_weights` the largest logits are chosen",
}
"""Methods whose stored tensors a state dict does not hold as they are, with some settings or all."""

RELOADED = parameters(lambda adapter: adapter.entry["reload"] == "same" and adapter.peft_type != "LORA")


def load(adapter: GoldenAdapter) -> PeftModel:
    with warnings.catch_warnings(), stand_ins(adapter.golden["loaded_with"]):
        warnings.simplefilter("ignore")
        base = base_models.build(adapter.golden["base"])
        options = dict(adapter.golden["load_options"])
        name = adapter.entry["name"]
        return PeftModel.from_pretrained(base, str(adapter.folder), adapter_name=name, **options).eval()


def config_of(adapter: GoldenAdapter) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((adapter.folder / "adapter_config.json").read_text(encoding="utf-8"))
    return found


def is_computed(config: Mapping[str, Any]) -> bool:
    """Whether the config calls for a tensor that PEFT makes when it saves."""
    layout = layout_of(config["peft_type"])
    assert layout is not None
    find = settings_finder(layout, config)
    return any(not is_held(role) and holds(role.declared_by, find) for role in layout.roles.values())


@pytest.mark.parametrize("adapter", RELOADED)
def test_extraction_equals_that_of_peft(adapter: GoldenAdapter) -> None:
    model, config, name = load(adapter), config_of(adapter), adapter.entry["name"]
    expected = get_peft_model_state_dict(model, adapter_name=name)
    state = model.state_dict()
    if is_computed(config):
        with pytest.raises(UsageError, match="PEFT makes it"):
            extract_adapter(state, name, config)
        assert adapter.peft_type in COMPUTED_WHEN_SAVED
        return
    found = extract_adapter(state, name, config)

    assert sorted(found) == sorted(expected)
    for key, tensor in expected.items():
        assert torch.equal(found[key].to(tensor.dtype), tensor), key
    assert adapter_names(state, config) in ((name,), ())
