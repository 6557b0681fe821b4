"""`extract_adapter` against PEFT's `get_peft_model_state_dict`, over generated models and configs.

Each seed draws a base model, one to three adapters and their configs; what PEFT refuses is drawn again. Keys
must be equal, and every value the very same object.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import BdLoraConfig, KasaConfig, MontecloraConfig, VeloraConfig
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.pytorch_utils import Conv1D

from adapter_format.extract import adapter_names, extract_adapter

pytestmark = pytest.mark.filterwarnings("ignore")

PREFIX = "base_model.model."


class Packed(nn.Linear):
    """A stand-in for a 4-bit layer: packed bytes in place of the weight, and its state beside it."""

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = torch.zeros(4, 1, dtype=torch.uint8)
        destination[f"{prefix}weight.absmax"] = torch.zeros(2)
        destination[f"{prefix}weight.quant_state.bitsandbytes__nf4"] = torch.zeros(5, dtype=torch.uint8)


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.randn(3, 6, 4))
        self.down = nn.Parameter(torch.randn(3, 4, 6))
        self.bias = nn.Parameter(torch.randn(3))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(8, 8)
        self.thin = nn.Linear(8, 4, bias=False)
        self.packed = Packed(8, 8)
        self.wide = Conv1D(12, 8)
        self.attn = nn.MultiheadAttention(8, 2)
        self.conv1 = nn.Conv1d(4, 4, 3)
        self.conv2 = nn.Conv2d(4, 8, 3, groups=2)
        self.conv3 = nn.Conv3d(2, 4, 2, bias=False)
        self.norm = nn.LayerNorm(8)
        self.batch = nn.BatchNorm1d(8)
        self.experts = Experts()


class Zoo(nn.Module):
    """Every kind of layer, in numbered blocks; no Transformers model."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.tail = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def llama(**more: Any) -> LlamaForCausalLM:
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "vocab_size": 32}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "attention_bias": True}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, **more))


def packed_llama() -> LlamaForCausalLM:
    model = llama(tie_word_embeddings=False)
    model.lm_head = Packed(8, 32)
    model.model.layers[0].self_attn.q_proj = Packed(8, 8)
    return model


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=32, n_positions=8, n_embd=8, n_layer=2, n_head=2))


def mixtral() -> MixtralForCausalLM:
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "vocab_size": 32}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_local_experts": 3}
    return MixtralForCausalLM(MixtralConfig(**sizes, **heads))


def t5() -> T5ForConditionalGeneration:
    return T5ForConditionalGeneration(T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2))


def bert() -> BertForSequenceClassification:
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
    return BertForSequenceClassification(BertConfig(vocab_size=32, max_position_embeddings=8, **sizes))


EMBEDDINGS = {"gpt2": ["wte", "lm_head"], "t5": ["shared", "lm_head"], "bert": ["word_embeddings"]}

# Base, names to target, modules to save, indices of trainable tokens, parameters to target.
Family = tuple[Callable[[], nn.Module], list[str], list[str], list[Any], list[str]]

DECODER = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "embed_tokens", "lm_head", "model.embed_tokens"]
DECODER_SAVED = ["norm", "input_layernorm", "lm_head", "embed_tokens", "layers.1.mlp", "attn"]
DECODER_TOKENS: list[Any] = [
    [1, 2],
    {"embed_tokens": [3]},
    {"lm_head": [3]},
    {"embed_tokens": [1], "lm_head": [1]},
    {"embed_tokens": [1], "lm_head": [2]},
    [],
]

FAMILIES: dict[str, Family] = {
    "zoo": (
        Zoo,
        [
            "words",
            "lin",
            "thin",
            "packed",
            "wide",
            "attn",
            "conv1",
            "conv2",
            "conv3",
            "tail.0",
            "blocks.1.lin",
        ],
        ["norm", "batch", "tail", "tail.2", "lin"],
        [{"words": [0, 5]}],
        ["experts.up", "experts.down"],
    ),
    "llama": (llama, DECODER, DECODER_SAVED, DECODER_TOKENS, ["q_proj.weight"]),
    "tied": (lambda: llama(tie_word_embeddings=True), DECODER, DECODER_SAVED, DECODER_TOKENS, []),
    "packed": (packed_llama, DECODER, DECODER_SAVED, DECODER_TOKENS, []),
    "gpt2": (gpt2, ["c_attn", "c_fc", "c_proj", "lm_head"], ["ln_f", "wte", "mlp"], [[4], {"wte": [4]}], []),
    "mixtral": (
        mixtral,
        ["q_proj", "v_proj", "embed_tokens"],
        ["norm", "gate"],
        [[4]],
        ["experts.gate_up_proj", "experts.down_proj", "gate.weight"],
    ),
    "t5": (
        t5,
        ["q", "v", "wi", "wo", "lm_head"],
        ["final_layer_norm", "lm_head"],
        [[4], {"shared": [4]}],
        [],
    ),
    "bert": (
        bert,
        ["query", "value", "dense", "word_embeddings"],
        ["classifier", "LayerNorm", "attention"],
        [[4]],
        [],
    ),
}

PLAIN_NAMES = ["default", "default2", "def", "policy", "x"]


def draw_config(choose: random.Random, family: Family, first: bool, shared: Mapping[str, Any]) -> LoraConfig:
    """Draw one adapter's config; what PEFT wants equal or absent in further adapters comes from `shared`."""
    _, targets, saved, _, _ = family
    names = choose.sample(targets, choose.randint(1, min(4, len(targets))))
    pattern = "|".join(name.replace(".", "[.]") for name in names)
    fields: dict[str, Any] = {
        "r": choose.choice([2, 4]),
        "target_modules": choose.choices([names, rf"(.*[.])?({pattern})", "all-linear"], [8, 3, 1])[0],
        "bias": choose.choice(["none", "all", "lora_only"]) if first else "none",
        "use_rslora": choose.random() < 0.2,
        "modules_to_save": choose.choice([None, None, choose.sample(saved, choose.randint(1, 2))]),
        "ensure_weight_tying": choose.random() < 0.3,
        **shared,
    }
    if choose.random() < 0.3:
        fields["rank_pattern"] = {names[0].split(".")[-1]: 6}
    variant = choose.choice(["", "", "use_dora", "use_dora", "lora_bias", "velora", "monteclora", "bdlora"])
    if "target_parameters" in shared or "kasa_config" in shared:
        variant = ""
    if variant in ("use_dora", "lora_bias"):
        fields[variant] = True
    elif variant == "velora":
        fields["velora_config"] = VeloraConfig()
    elif variant == "monteclora":
        fields["monteclora_config"] = MontecloraConfig()
    elif variant == "bdlora":
        fields["use_bdlora"] = BdLoraConfig(target_modules_bd_a=names[:1], target_modules_bd_b=names[1:], nblocks=2)
    if fields.get("target_parameters") and choose.random() < 0.5:
        fields["target_modules"] = []
    return LoraConfig(**fields)


def build(choose: random.Random, family: Family, names: list[str]) -> PeftModel:
    make, _, _, tokens, parameters = family
    shared: dict[str, Any] = {}
    if choose.random() < 0.3:
        # PEFT can't extract an adapter without trainable tokens beside one that has some.
        shared["trainable_token_indices"] = choose.choice(tokens)
    if parameters and choose.random() < 0.4:
        shared["target_parameters"] = choose.sample(parameters, choose.randint(1, len(parameters)))
    elif choose.random() < 0.1:
        shared["kasa_config"] = KasaConfig()
    model = get_peft_model(make(), draw_config(choose, family, True, shared), names[0])
    for name in names[1:]:
        model.add_adapter(name, draw_config(choose, family, False, shared))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def draw(seed: int, *names: list[str]) -> list[PeftModel]:
    """Build the model of a seed, once for each list of adapters' names, which do not change what is drawn.

    PEFT refuses some draws when it builds, and others only when it extracts: KeyError, if a fully trained
    module holds tensors of another adapter. Those are drawn again.
    """
    choose = random.Random(seed)
    family = FAMILIES[family_of(seed)]
    for _ in range(200):
        state = choose.getstate()
        models = []
        try:
            for adapters in names:
                choose.setstate(state)
                torch.manual_seed(seed)
                models.append(build(choose, family, adapters))
            for name in names[0]:
                get_peft_model_state_dict(models[0], adapter_name=name)
        except (ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError, KeyError):
            choose.random()
            continue
        return models
    raise AssertionError(f"PEFT built none of 200 draws of seed {seed}")


def family_of(seed: int) -> str:
    return list(FAMILIES)[seed % len(FAMILIES)]


def fields_of(model: PeftModel, name: str) -> dict[str, Any]:
    fields: dict[str, Any] = model.peft_config[name].to_dict()
    return fields


def identity(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[object, ...]]:
    return {key: (value.dtype, tuple(value.shape), value.stride(), value.data_ptr()) for key, value in tensors.items()}


def same_bytes(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        value.dtype == expected[key].dtype and torch.equal(value, expected[key]) for key, value in found.items()
    )


@pytest.mark.parametrize("seed", range(320))
def test_extraction_equals_that_of_peft(seed: int) -> None:
    choose = random.Random(seed * 7 + 1)
    names = choose.sample(PLAIN_NAMES, choose.choice([1, 1, 2, 3]))
    (model,) = draw(seed, names)
    state = model.state_dict()
    embeddings = EMBEDDINGS.get(family_of(seed))
    assert set(adapter_names(state)) == set(names)
    for name in names:
        mode = choose.choice(["auto", "auto", False, family_of(seed) != "zoo"])
        expected = get_peft_model_state_dict(model, state_dict=state, adapter_name=name, save_embedding_layers=mode)
        found = extract_adapter(
            state,
            name,
            fields_of(model, name),
            save_embedding_layers=mode,
            embedding_modules=embeddings,
        )
        assert found.keys() == expected.keys()
        assert all(value is expected[key] for key, value in found.items())
        alone = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=mode)
        assert same_bytes(found, alone)


@pytest.mark.parametrize("seed", range(40))
def test_names_that_peft_confuses_give_what_it_stores_under_plain_names(seed: int) -> None:
    names = ["default", "policy", "second"]
    odd_names = ["0", "base", "1"] if seed % 3 else ["model", "1", "lin"]
    plain, odd = draw(seed, names, odd_names)
    for name, odd_name in zip(names, odd_names, strict=True):
        expected = get_peft_model_state_dict(plain, adapter_name=name, save_embedding_layers=False)
        found = extract_adapter(odd.state_dict(), odd_name, fields_of(odd, odd_name), save_embedding_layers=False)
        # With bias "all" PEFT leaves the name in the keys of biases deep inside a fully trained module.
        left_in = f".modules_to_save.{odd_name}."
        renamed = {key.replace(left_in, f".modules_to_save.{name}."): value for key, value in found.items()}
        assert same_bytes(renamed, expected)


def test_peft_loses_layer_0_beside_an_adapter_of_that_name() -> None:
    model = get_peft_model(llama(), LoraConfig(target_modules=["q_proj"]))
    model.add_adapter("0", LoraConfig(target_modules=["q_proj"]))
    of_peft = get_peft_model_state_dict(model)
    found = extract_adapter(model.state_dict(), "default", fields_of(model, "default"))
    assert found.keys() - of_peft.keys() == {
        f"{PREFIX}model.layers.0.self_attn.q_proj.lora_{side}.weight" for side in "AB"
    }


def test_a_module_named_like_its_adapter_is_loaded_by_peft_under_any_name() -> None:
    config = LoraConfig(target_modules=["lin"], bias="all", modules_to_save=["norm"])
    model = get_peft_model(Zoo(), config, "tail")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    stored = extract_adapter(model.state_dict(), "tail", fields_of(model, "tail"))
    other = get_peft_model(Zoo(), LoraConfig(target_modules=["lin"], bias="all", modules_to_save=["norm"]))
    set_peft_model_state_dict(other, stored)
    trained = (".lora_", ".modules_to_save.", ".bias")
    for (key, value), (_, loaded) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        if any(part in key for part in trained) and "original_module" not in key:
            assert torch.equal(value, loaded), key


def test_an_adapter_without_tokens_beside_one_with_some_is_as_if_alone() -> None:
    def make(*configs: LoraConfig) -> PeftModel:
        torch.manual_seed(1)
        model = get_peft_model(llama(), configs[0])
        for at, config in enumerate(configs[1:]):
            model.add_adapter(f"more{at}", config)
        return model

    with_tokens = LoraConfig(target_modules=["k_proj"], trainable_token_indices=[1])
    both = make(LoraConfig(target_modules=["q_proj"]), with_tokens)
    with pytest.raises(KeyError):
        get_peft_model_state_dict(both)
    alone = get_peft_model_state_dict(make(LoraConfig(target_modules=["q_proj"])))
    assert same_bytes(extract_adapter(both.state_dict(), "default", fields_of(both, "default")), alone)


@pytest.mark.parametrize("bias", ["none", "all", "lora_only"])
def test_an_injected_adapter_gets_the_prefix(bias: Any) -> None:
    model = llama()
    config = LoraConfig(target_modules=["q_proj", "embed_tokens"], bias=bias, use_dora=True)
    model.add_adapter(config, "default")
    expected = {f"{PREFIX}{key}": value for key, value in get_peft_model_state_dict(model).items()}
    found = extract_adapter(model.state_dict(), "default", model.peft_config["default"].to_dict())
    assert identity(found) == identity(expected)


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, torch.compile, checkpoint_wrapper, lambda model: nn.DataParallel(torch.compile(model))],
    ids=["data-parallel", "compiled", "checkpointed", "both"],
)
def test_a_wrapper_around_the_model_leaves_no_trace(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = get_peft_model(llama(), LoraConfig(target_modules=["q_proj"], bias="all", modules_to_save=["norm"]))
    expected = get_peft_model_state_dict(model)
    found = extract_adapter(wrap(model).state_dict(), "default", fields_of(model, "default"))
    assert identity(found) == identity(expected)


def test_a_compiled_layer_inside_leaves_no_trace() -> None:
    model = get_peft_model(llama(), LoraConfig(target_modules=["q_proj"]))
    expected = get_peft_model_state_dict(model)
    model.base_model.model.model.layers[0] = torch.compile(model.base_model.model.model.layers[0])
    assert any("_orig_mod" in key for key in get_peft_model_state_dict(model))
    found = extract_adapter(model.state_dict(), "default", fields_of(model, "default"))
    assert identity(found) == identity(expected)


def test_a_resized_vocabulary_is_stored_on_request(tmp_path: Any) -> None:
    llama().save_pretrained(tmp_path)
    model = LlamaForCausalLM.from_pretrained(tmp_path)
    model.resize_token_embeddings(40)
    model = get_peft_model(model, LoraConfig(target_modules=["q_proj"]))
    expected = get_peft_model_state_dict(model)
    found = extract_adapter(model.state_dict(), "default", fields_of(model, "default"), save_embedding_layers=True)
    assert f"{PREFIX}lm_head.weight" in expected
    assert identity(found) == identity(expected)


def test_embeddings_of_other_names_are_stored_when_named() -> None:
    model = get_peft_model(gpt2(), LoraConfig(target_modules=["c_attn"]))
    expected = get_peft_model_state_dict(model, save_embedding_layers=True)
    found = extract_adapter(
        model.state_dict(),
        "default",
        fields_of(model, "default"),
        save_embedding_layers=True,
        embedding_modules=["wte", "lm_head"],
    )
    assert identity(found) == identity(expected)


def test_embeddings_are_told_by_name_where_peft_asks_the_model() -> None:
    model = get_peft_model(t5(), LoraConfig(target_modules=["embed_tokens", "shared", "lm_head"]))
    expected = get_peft_model_state_dict(model)
    fields = fields_of(model, "default")
    more = extract_adapter(model.state_dict(), "default", fields)
    assert expected.keys() ^ more.keys() == {
        f"{PREFIX}{name}.base_layer.weight" for name in ("shared", "encoder.embed_tokens", "decoder.embed_tokens")
    }
    found = extract_adapter(model.state_dict(), "default", fields, embedding_modules=EMBEDDINGS["t5"])
    assert identity(found) == identity(expected)


def test_a_model_that_is_not_of_transformers_stores_its_embedding_unless_told_not_to() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed_tokens = nn.Embedding(9, 4)

    model = get_peft_model(Plain(), LoraConfig(target_modules=["embed_tokens"]))
    expected = get_peft_model_state_dict(model)
    fields = fields_of(model, "default")
    more = extract_adapter(model.state_dict(), "default", fields)
    assert more.keys() - expected.keys() == {f"{PREFIX}embed_tokens.base_layer.weight"}
    found = extract_adapter(model.state_dict(), "default", fields, save_embedding_layers=False)
    assert identity(found) == identity(expected)


@pytest.mark.parametrize("targets", [["q_proj"], ["q_proj", "embed_tokens"], ["lm_head"]])
def test_without_a_config_the_state_dict_tells(targets: list[str]) -> None:
    model = get_peft_model(llama(), LoraConfig(target_modules=targets, modules_to_save=["norm"]))
    expected = get_peft_model_state_dict(model)
    assert identity(extract_adapter(model.state_dict())) == identity(expected)


def test_without_a_config_tied_tokens_are_stored_once() -> None:
    config = LoraConfig(target_modules=["q_proj"], trainable_token_indices=[1, 2])
    model = get_peft_model(llama(tie_word_embeddings=True), config)
    assert identity(extract_adapter(model.state_dict())) == identity(get_peft_model_state_dict(model))


def test_copied_state_dicts_tell_tied_tokens_by_the_config() -> None:
    config = LoraConfig(target_modules=["q_proj"], trainable_token_indices=[1, 2])
    model = get_peft_model(llama(tie_word_embeddings=True), config)
    copied = {key: value.clone().numpy() for key, value in model.state_dict().items()}
    found = extract_adapter(copied, "default", fields_of(model, "default"))
    assert found.keys() == get_peft_model_state_dict(model).keys()


def test_a_part_of_the_state_dict_with_trained_tensors_alone_will_do() -> None:
    model = get_peft_model(llama(), LoraConfig(target_modules=["q_proj"], use_dora=True))
    trained = {key: value.detach() for key, value in model.named_parameters() if value.requires_grad}
    expected = get_peft_model_state_dict(model)
    assert identity(extract_adapter(trained, "default", fields_of(model, "default"))) == identity(expected)


def test_the_family_builds_every_variant() -> None:
    """The draws must not be refused into plain LoRA: each kind of tensor turns up."""
    seen: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(120):
            (model,) = draw(seed, ["default"])
            seen |= {key.split(".")[-1] for key in extract_adapter(model.state_dict(), "default")}
            seen |= {f"bias {model.peft_config['default'].bias}"}
    assert seen >= {
        "lora_embedding_A",
        "lora_magnitude_vector",
        "lora_diag",
        "lora_velora_embed",
        "expert_weights_prior",
        "trainable_tokens_delta",
        "running_mean",
        "bias all",
        "bias lora_only",
    }
