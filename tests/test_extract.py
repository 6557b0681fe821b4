"""Extraction from a state dict, without torch: names as PEFT 0.21.2 has them in memory and on disk."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_format.config import AdapterConfig
from adapter_format.errors import AdapterFormatError, UsageError
from adapter_format.extract import adapter_names, extract_adapter

P = "base_model.model."
Q = f"{P}model.layers.0.self_attn.q_proj"
EMBED = f"{P}model.embed_tokens"
HEAD = f"{P}lm_head"


def state(*keys: str) -> dict[str, str]:
    """A state dict in which each value tells its key."""
    return {key: f"value of {key}" for key in keys}


def stored(keys: dict[str, str]) -> dict[str, str]:
    """What must be extracted: key on disk to key in memory."""
    return {disk: f"value of {memory}" for disk, memory in keys.items()}


LINEAR = state(
    f"{P}model.embed_tokens.weight",
    f"{Q}.base_layer.weight",
    f"{Q}.base_layer.bias",
    f"{Q}.lora_A.default.weight",
    f"{Q}.lora_B.default.weight",
    f"{P}model.norm.weight",
    f"{P}model.norm.bias",
    f"{P}lm_head.weight",
)
LINEAR_STORED = stored(
    {f"{Q}.lora_A.weight": f"{Q}.lora_A.default.weight", f"{Q}.lora_B.weight": f"{Q}.lora_B.default.weight"}
)


def test_the_adapter_loses_its_name_and_the_base_stays_behind() -> None:
    assert extract_adapter(LINEAR, "default", {"peft_type": "LORA"}) == LINEAR_STORED


def test_the_usual_call_needs_neither_name_nor_config() -> None:
    assert extract_adapter(LINEAR) == LINEAR_STORED


def test_a_config_object_is_taken() -> None:
    config = AdapterConfig(peft_type="LORA", target_modules=["q_proj"])
    assert extract_adapter(LINEAR, config=config) == LINEAR_STORED


def test_values_are_the_very_same_objects() -> None:
    arrays = {key: np.zeros(2) for key in LINEAR}
    found = extract_adapter(arrays)
    assert found[f"{Q}.lora_A.weight"] is arrays[f"{Q}.lora_A.default.weight"]


@pytest.mark.parametrize(
    ("memory", "disk"),
    [
        ("lora_A.default.weight", "lora_A.weight"),
        ("lora_B.default.weight", "lora_B.weight"),
        ("lora_B.default.bias", "lora_B.bias"),
        ("lora_embedding_A.default", "lora_embedding_A"),
        ("lora_embedding_B.default", "lora_embedding_B"),
        ("lora_magnitude_vector.default.weight", "lora_magnitude_vector"),
        ("lora_diag.default", "lora_diag"),
        ("lora_velora_embed.default", "lora_velora_embed"),
        ("lora_monteclora_sampler.default.std_prior", "lora_monteclora_sampler.std_prior"),
        ("lora_monteclora_sampler.default.expert_weights", "lora_monteclora_sampler.expert_weights"),
    ],
)
def test_every_role_has_its_key_on_disk(memory: str, disk: str) -> None:
    found = extract_adapter(state(f"{P}some.layer.{memory}", f"{P}some.layer.base_layer.weight"))
    assert found == stored({f"{P}some.layer.{disk}": f"{P}some.layer.{memory}"})


def test_nested_base_layers_stay_in_the_path() -> None:
    experts, attention = f"{P}mlp.experts", f"{P}attn"
    memory = state(
        f"{experts}.lora_A.default.weight",
        f"{experts}.base_layer.lora_A.default.weight",
        f"{experts}.base_layer.base_layer.gate_up_proj",
        f"{attention}.lora_A.default.weight",
        f"{attention}.base_layer.in_proj_weight",
        f"{attention}.base_layer.out_proj.lora_A.default.weight",
        f"{attention}.base_layer.out_proj.base_layer.weight",
    )
    assert set(extract_adapter(memory)) == {
        f"{experts}.lora_A.weight",
        f"{experts}.base_layer.lora_A.weight",
        f"{attention}.lora_A.weight",
        f"{attention}.base_layer.out_proj.lora_A.weight",
    }


def test_quantization_state_of_the_base_stays_behind() -> None:
    more = state(f"{Q}.base_layer.weight.absmax", f"{Q}.base_layer.weight.quant_state.bitsandbytes__nf4")
    assert extract_adapter({**LINEAR, **more}) == LINEAR_STORED


@pytest.mark.parametrize(
    ("bias", "more"),
    [
        ("none", set()),
        ("lora_only", {f"{Q}.base_layer.bias"}),
        ("all", {f"{Q}.base_layer.bias", f"{P}model.norm.bias"}),
    ],
)
def test_bias_decides_which_biases_are_stored(bias: str, more: set[str]) -> None:
    found = extract_adapter(LINEAR, "default", {"bias": bias})
    assert found.keys() - LINEAR_STORED.keys() == more


def test_an_unknown_bias_is_refused() -> None:
    with pytest.raises(UsageError, match=re.escape("'none', 'all', 'lora_only'")):
        extract_adapter(LINEAR, "default", {"bias": "some"})


SAVED = state(
    f"{P}score.original_module.weight",
    f"{P}score.original_module.bias",
    f"{P}score.modules_to_save.default.weight",
    f"{P}score.modules_to_save.default.bias",
    f"{P}score.modules_to_save.other.weight",
    f"{P}score.modules_to_save.other.bias",
)


def test_a_fully_trained_module_is_stored_under_its_own_path() -> None:
    found = extract_adapter({**LINEAR, **SAVED})
    assert found == LINEAR_STORED | stored(
        {
            f"{P}score.weight": f"{P}score.modules_to_save.default.weight",
            f"{P}score.bias": f"{P}score.modules_to_save.default.bias",
        }
    )


def test_all_biases_include_the_copies_of_a_fully_trained_module() -> None:
    """PEFT stores three of them."""
    found = extract_adapter({**LINEAR, **SAVED}, "default", {"bias": "all"})
    assert {key for key in found if "score" in key} == {
        f"{P}score.weight",
        f"{P}score.bias",
        f"{P}score.modules_to_save.bias",
        f"{P}score.original_module.bias",
    }


def test_adapted_layers_inside_a_fully_trained_module_are_stored_with_it() -> None:
    memory = state(
        *LINEAR,
        f"{P}block.original_module.q.base_layer.weight",
        f"{P}block.original_module.q.lora_A.default.weight",
        f"{P}block.modules_to_save.default.q.base_layer.weight",
        f"{P}block.modules_to_save.default.q.lora_A.default.weight",
    )
    assert extract_adapter(memory).keys() - LINEAR_STORED.keys() == {
        f"{P}block.q.base_layer.weight",
        f"{P}block.q.lora_A.weight",
    }


def token_state(*modules: str) -> dict[str, str]:
    return state(
        *(f"{module}.token_adapter.trainable_tokens_delta.default" for module in modules),
        *(f"{module}.token_adapter.base_layer.weight" for module in modules),
    )


def test_trainable_tokens_are_stored_without_the_embedding() -> None:
    found = extract_adapter({**LINEAR, **token_state(EMBED)}, "default", {"trainable_token_indices": [1]})
    assert found.keys() - LINEAR_STORED.keys() == {f"{EMBED}.token_adapter.trainable_tokens_delta"}


@pytest.mark.parametrize("order", [(EMBED, HEAD), (HEAD, EMBED)])
def test_token_indices_without_a_name_mean_the_input_embedding(order: tuple[str, str]) -> None:
    found = extract_adapter({**LINEAR, **token_state(*order)}, "default", {"trainable_token_indices": [1]})
    assert found.keys() - LINEAR_STORED.keys() == {f"{EMBED}.token_adapter.trainable_tokens_delta"}


def test_token_indices_with_names_mean_the_named_modules() -> None:
    config = {"trainable_token_indices": {"lm_head": [1], "embed_tokens": [2]}}
    found = extract_adapter({**LINEAR, **token_state(EMBED, HEAD)}, "default", config)
    assert found.keys() - LINEAR_STORED.keys() == {
        f"{module}.token_adapter.trainable_tokens_delta" for module in (EMBED, HEAD)
    }


@pytest.mark.parametrize("config", [None, {"trainable_token_indices": {"lm_head": [1], "embed_tokens": [1]}}])
def test_token_rows_that_tied_modules_share_are_stored_once(config: dict[str, Any] | None) -> None:
    rows = np.ones((1, 4))
    arrays: dict[str, Any] = {key: np.zeros(1) for key in {**LINEAR, **token_state(EMBED, HEAD)}}
    for module in (HEAD, EMBED):
        arrays[f"{module}.token_adapter.trainable_tokens_delta.default"] = rows[:]
    found = extract_adapter(arrays, "default", config)
    assert found.keys() - LINEAR_STORED.keys() == {f"{EMBED}.token_adapter.trainable_tokens_delta"}


ADAPTED_EMBEDDING = state(
    *(key for key in LINEAR if not key.startswith(EMBED)),
    f"{EMBED}.base_layer.weight",
    f"{EMBED}.lora_embedding_A.default",
    f"{EMBED}.lora_embedding_B.default",
)


@pytest.mark.parametrize(
    "targets",
    [
        ["q_proj", "embed_tokens"],
        {"lm_head"},
        r"model\.embed_tokens|.*q_proj",
        "lm_head",
    ],
    ids=["list", "set", "pattern", "whole-path"],
)
def test_a_targeted_embedding_brings_its_base(targets: Any) -> None:
    found = extract_adapter(ADAPTED_EMBEDDING, "default", {"target_modules": targets})
    assert f"{EMBED}.base_layer.weight" in found
    assert f"{HEAD}.weight" not in found


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["model.embed_tokens"]},
        {"target_modules": "all-linear"},
        {"target_modules": "embed_tokens"},
        {"target_modules": None},
        {"target_modules": ["embed_tokens"], "trainable_token_indices": []},
    ],
    ids=["longer-path", "all-linear", "no-full-match", "null", "with-tokens"],
)
def test_an_embedding_that_peft_does_not_see_as_targeted_leaves_its_base_behind(
    config: dict[str, Any],
) -> None:
    assert f"{EMBED}.base_layer.weight" not in extract_adapter(ADAPTED_EMBEDDING, "default", config)


def test_without_a_config_an_adapted_embedding_brings_its_base() -> None:
    assert f"{EMBED}.base_layer.weight" in extract_adapter(ADAPTED_EMBEDDING)


def test_a_resized_vocabulary_is_stored_on_request() -> None:
    found = extract_adapter(LINEAR, save_embedding_layers=True)
    assert found.keys() - LINEAR_STORED.keys() == {f"{EMBED}.weight", f"{HEAD}.weight"}


def test_embeddings_are_never_stored_against_the_callers_will() -> None:
    config = {"target_modules": ["embed_tokens"]}
    found = extract_adapter(ADAPTED_EMBEDDING, "default", config, save_embedding_layers=False)
    assert f"{EMBED}.base_layer.weight" not in found


def test_embeddings_of_other_names_must_be_named() -> None:
    memory = {**LINEAR, **state(f"{P}transformer.wte.weight")}
    del memory[f"{EMBED}.weight"]
    with pytest.raises(UsageError, match=r"'embed_tokens'.*embedding_modules"):
        extract_adapter(memory, save_embedding_layers=True)
    found = extract_adapter(memory, save_embedding_layers=True, embedding_modules=["transformer.wte"])
    assert found.keys() - LINEAR_STORED.keys() == {f"{P}transformer.wte.weight"}


NAMES = ["0", "1", "default", "def", "default2", "q_proj", "layers", "weight", "base_layer", "model", "a-b"]


@given(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
def test_each_of_several_adapters_is_found_whatever_its_name(names: list[str]) -> None:
    layers = [f"{P}model.layers.{index}.self_attn.q_proj" for index in (0, 1)]
    memory = state(
        *(f"{layer}.base_layer.{part}" for layer in layers for part in ("weight", "bias")),
        *(f"{layer}.lora_{side}.{name}.weight" for layer in layers for side in "AB" for name in names),
        *(f"{P}score.modules_to_save.{name}.weight" for name in names),
        f"{P}score.original_module.weight",
    )
    assert set(adapter_names(memory)) == set(names)
    for name in names:
        assert extract_adapter(memory, name, {"bias": "lora_only"}) == stored(
            {f"{layer}.lora_{side}.weight": f"{layer}.lora_{side}.{name}.weight" for layer in layers for side in "AB"}
            | {f"{layer}.base_layer.bias": f"{layer}.base_layer.bias" for layer in layers}
            | {f"{P}score.weight": f"{P}score.modules_to_save.{name}.weight"}
        )


def test_the_tensors_of_another_adapter_are_never_stored() -> None:
    other = state(
        f"{Q}.lora_A.other.weight",
        f"{Q}.lora_B.other.weight",
        f"{Q}.lora_B.other.bias",
        f"{EMBED}.token_adapter.trainable_tokens_delta.other",
        f"{P}score.modules_to_save.other.bias",
    )
    assert not any("other" in key for key in extract_adapter({**LINEAR, **other}, "default", {"bias": "all"}))


@pytest.mark.parametrize("bias", ["none", "all"])
def test_a_module_named_like_the_adapter_keeps_its_path(bias: str) -> None:
    memory = state(f"{P}default.lora_A.default.weight", f"{P}default.base_layer.weight", f"{P}tail.default.bias")
    expected = {f"{P}default.lora_A.weight"} | ({f"{P}tail.default.bias"} if bias == "all" else set())
    assert set(extract_adapter(memory, "default", {"bias": bias})) == expected


@pytest.mark.parametrize("wrapper", ["module.{}", "_orig_mod.{}", "module._orig_mod.{}", "module.module.{}"])
def test_a_wrapper_around_the_model_leaves_no_trace(wrapper: str) -> None:
    wrapped = {wrapper.format(key): value for key, value in LINEAR.items()}
    assert extract_adapter(wrapped) == LINEAR_STORED


@pytest.mark.parametrize("part", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
def test_a_wrapper_around_a_layer_leaves_no_trace(part: str) -> None:
    wrapped = {key.replace(".layers.0.", f".layers.0.{part}."): value for key, value in LINEAR.items()}
    assert extract_adapter(wrapped) == LINEAR_STORED


def test_an_adapter_injected_without_the_peft_model_gets_the_prefix() -> None:
    injected = {key.removeprefix(P): value for key, value in LINEAR.items()}
    found = extract_adapter(injected, "default", {"bias": "lora_only", "target_modules": r"model\.embed_tokens"})
    assert found == LINEAR_STORED | {f"{Q}.base_layer.bias": LINEAR[f"{Q}.base_layer.bias"]}


def test_a_state_dict_of_something_around_the_peft_model_is_refused() -> None:
    around = {f"policy.{key}": value for key, value in LINEAR.items()}
    with pytest.raises(UsageError, match=r"lies below 'policy'.*'base_model\.model\.'"):
        extract_adapter(around)


def test_an_unknown_adapter_is_refused_with_the_names_of_those_present() -> None:
    memory = {**LINEAR, **state(f"{Q}.lora_A.second.weight")}
    with pytest.raises(AdapterFormatError, match=r"no adapter 'third'.*'default', 'second'"):
        extract_adapter(memory, "third")


def test_keys_as_on_disk_are_refused() -> None:
    with pytest.raises(AdapterFormatError, match=re.escape(f"as on disk already, such as '{Q}.lora_A.weight'")):
        extract_adapter(LINEAR_STORED)


def test_a_state_dict_without_an_adapter_is_refused() -> None:
    with pytest.raises(AdapterFormatError, match="no key in it is a tensor of LoRA"):
        extract_adapter(state(f"{P}lm_head.weight"))
    assert adapter_names({}) == ()


@pytest.mark.parametrize("method", ["NO_SUCH_METHOD", "lora", 3, None])
def test_an_unknown_method_is_refused(method: object) -> None:
    with pytest.raises(AdapterFormatError, match=rf"no layout for the method {method!r}; known methods: .*'LORA'"):
        extract_adapter(LINEAR, "default", {"peft_type": method})


def test_two_tensors_that_claim_one_key_are_refused() -> None:
    memory = state(
        *LINEAR,
        f"{P}mlp.modules_to_save.default.up.weight",
        f"{P}mlp.up.modules_to_save.default.weight",
    )
    with pytest.raises(AdapterFormatError, match=re.escape(f"would both be stored as '{P}mlp.up.weight'")):
        extract_adapter(memory)


def test_keys_that_differ_in_wrapper_parts_alone_are_refused() -> None:
    twice = {
        **LINEAR,
        **{key.replace("layers.0", "layers.0._orig_mod"): value for key, value in LINEAR.items()},
    }
    with pytest.raises(AdapterFormatError, match="differ only in wrapper parts"):
        extract_adapter(twice)


def test_arguments_of_the_wrong_kind_are_refused() -> None:
    wrong: Any = object()
    with pytest.raises(UsageError, match=r"model\.state_dict\(\)"):
        extract_adapter(wrong)
    with pytest.raises(UsageError, match=r"to_dict\(\)"):
        extract_adapter(LINEAR, "default", wrong)
    with pytest.raises(UsageError, match="not a string"):
        extract_adapter({**LINEAR, wrong: ""})


def test_base_modules_named_like_an_adapter_are_no_adapter() -> None:
    memory = {**LINEAR, **state(f"{P}rwkv.lora_A.down.weight", f"{P}rwkv.q.lora_A.default.weight")}
    assert adapter_names(memory) == ("default",)


def test_a_tensor_that_no_role_describes_is_stored_with_its_layer() -> None:
    found = extract_adapter({**LINEAR, **state(f"{Q}.lora_novelty.default.gate")})
    assert found.keys() - LINEAR_STORED.keys() == {f"{Q}.lora_novelty.gate"}


PART = st.sampled_from(["lora_A", "default", "weight", "base_layer", "modules_to_save", "bias", "model", "", "x"])


@given(st.dictionaries(st.lists(PART, max_size=6).map(".".join), st.integers()), st.sampled_from(["all", "none"]))
def test_any_keys_give_an_adapter_or_an_error_of_the_family(memory: dict[str, int], bias: str) -> None:
    found: dict[str, int] = {}
    with contextlib.suppress(AdapterFormatError):
        found = extract_adapter(memory, "default", {"bias": bias}, save_embedding_layers=True)
    assert set(found.values()) <= set(memory.values())


def test_neither_numpy_nor_torch_is_imported() -> None:
    script = (
        "import sys; from adapter_format.extract import extract_adapter; "
        "extract_adapter({'base_model.model.q.lora_A.default.weight': 1}); "
        "print(sorted({'numpy', 'torch', 'jsonschema'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
