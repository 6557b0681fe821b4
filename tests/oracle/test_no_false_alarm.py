"""What real PEFT writes and reads back unchanged gets no error, and no warning but those with a reason given here."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import KasaConfig, MontecloraConfig, VeloraConfig
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForTokenClassification,
    BloomConfig,
    BloomForCausalLM,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

import adapter_format as af

from . import test_extract as family

pytestmark = pytest.mark.filterwarnings("ignore")

REASONS = {
    "AF218": "`ensure_weight_tying` without a tied embedding: PEFT warns as well",
    "AF223": "the initialisation changes the base",
    "AF311": "an attention and its output projection both adapted: PEFT stores the projection's base weight, a bug",
    "AF313": "a target without tensors: only the base can tell whether it names a module in vain",
    "AF316": "a layer without tensors: only the base can tell whether there is one of that number",
    "AF317": "a hole in a series of layers: only the base can tell whether it is meant",
    "AF318": "a module to save without tensors: only the base can tell whether there is one",
    "AF324": "a pattern that matches nothing stored has no effect",
    "AF327": "the order of overlapping patterns decides, and PEFT sorts them",
    "AF329": "older releases lose modules with `lora_` in their names",
    "AF331": "biases of modules that another adapter adapts are dropped",
    "AF407": "one layer unlike all its siblings",
    "AF506": "weighted combinations fill up with zeros",
}
IN_FAMILY = frozenset({"AF218", "AF223", "AF313", "AF324", "AF331"})


def make(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build()


def train(model: PeftModel) -> None:
    """Change everything that training changes."""
    generator = torch.Generator().manual_seed(3)
    names = [f".{name}" for name in model.peft_config]
    several = len(names) > 1
    biases = any(config.bias != "none" for config in model.peft_config.values())
    with torch.no_grad():
        for key, value in model.named_parameters():
            own = any(name in key for name in names) and (several or value.requires_grad)
            own |= biases and value.requires_grad and key.endswith("bias")
            if own and "original_module" not in key and value.is_floating_point():
                value.add_((0.3 * torch.randn(value.shape, generator=generator)).to(value.dtype))


def same_tensors(model: PeftModel, loaded: PeftModel, name: str) -> bool:
    """Whether all tensors are equal, or, with several adapters in `model`, all tensors of the one that was loaded."""
    saved, found = model.state_dict(), loaded.state_dict()
    if len(model.peft_config) > 1:
        saved, found = (
            {key.replace(".base_layer", ""): value for key, value in state.items() if f".{name}." in f"{key}."}
            for state in (saved, found)
        )
    return saved.keys() == found.keys() and all(torch.equal(value, found[key]) for key, value in saved.items())


def reloads(model: PeftModel, build: Callable[[], nn.Module], folder: Path, name: str, seed: int, **how: Any) -> bool:
    try:
        loaded = PeftModel.from_pretrained(make(build, seed), folder, adapter_name=name, **how)
    except (RuntimeError, ValueError, KeyError, TypeError):
        return False
    return same_tensors(model, loaded, name)


def complaints(folder: Path) -> tuple[list[str], set[str]]:
    """The messages of the errors, and the rules of the warnings."""
    found = af.validate(folder, data=True).findings
    errors = [f"{finding.rule}: {finding.message}" for finding in found if finding.severity == "error"]
    return errors, {finding.rule for finding in found if finding.severity == "warning"}


def folders(model: PeftModel, top: Path) -> Iterator[tuple[str, Path]]:
    for name in model.peft_config:
        yield name, top if name == "default" else top / name


def drawn(seed: int) -> tuple[PeftModel, Callable[[], nn.Module]]:
    """One to three adapters on a base of `test_extract`, with values as if trained."""
    choose = random.Random(seed)
    kind = family.FAMILIES[family.family_of(seed)]
    build, _, _, tokens, parameters = kind
    for _ in range(200):
        choose.random()
        shared: dict[str, Any] = {}
        if choose.random() < 0.3:
            shared["trainable_token_indices"] = choose.choice(tokens)
        if parameters and choose.random() < 0.4:
            shared["target_parameters"] = choose.sample(parameters, choose.randint(1, len(parameters)))
        elif choose.random() < 0.1:
            shared["kasa_config"] = KasaConfig()
        try:
            model = get_peft_model(make(build, seed), family.draw_config(choose, kind, True, shared))
            for name in ["second", "third"][: choose.choice([0, 0, 1, 2])]:
                model.add_adapter(name, family.draw_config(choose, kind, False, shared))
            model.state_dict()
        except (ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError):
            continue
        train(model)
        return model, build
    raise AssertionError(f"PEFT built none of 200 draws of seed {seed}")


def test_a_generated_family_gets_no_error(tmp_path: Path) -> None:
    alarms: list[str] = []
    judged = total = 0
    for seed in range(240):
        model, build = drawn(seed)
        top = tmp_path / str(seed)
        try:
            model.save_pretrained(top)
        except KeyError:
            continue  # PEFT can't extract some pairs of adapters
        for name, folder in folders(model, top):
            total += 1
            if not reloads(model, build, folder, name, seed):
                continue
            judged += 1
            errors, warned = complaints(folder)
            alarms += [f"seed {seed}, {name}: {text}" for text in [*errors, *(warned - IN_FAMILY)]]
    assert alarms == []
    assert total > 240
    assert judged > 0.8 * total


class Layers(nn.Module):
    """Numbered layers with the linear modules that `widths` gives each: name to output width."""

    def __init__(self, *widths: Mapping[str, int]) -> None:
        super().__init__()
        linear = ({name: nn.Linear(8, width) for name, width in layer.items()} for layer in widths)
        self.layers = nn.ModuleList([nn.ModuleDict(layer) for layer in linear])


class Mixture(nn.Module):
    """A dense layer, then layers of numbered experts beside a shared one."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.layers = nn.ModuleList([nn.ModuleDict({"gate_proj": nn.Linear(8, 20), "q": nn.Linear(8, 8)})])
        for _ in range(4):
            experts = nn.ModuleList([nn.ModuleDict({"gate_proj": nn.Linear(8, 6)}) for _ in range(3)])
            parts = {"experts": experts, "shared": nn.ModuleDict({"gate_proj": nn.Linear(8, 12)}), "q": nn.Linear(8, 8)}
            self.model.layers.append(nn.ModuleDict(parts))


class Images(nn.Module):
    """Convolutions of rising width, then blocks of fused projections, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 16, 3))
        self.blocks = nn.ModuleList([nn.ModuleDict({"qkv": nn.Linear(8, 24)}) for _ in range(4)])
        self.attention = nn.MultiheadAttention(8, 2)
        self.head = nn.Linear(8, 3)


class OddNames(nn.Module):
    """Modules called like parts of PEFT's keys, and names with digits, blanks and letters of other alphabets."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("weight", "bias", "default", "lora_down"):
            self.add_module(name, nn.Linear(4, 4))
        more = ("0", "1a", "with blank", "a-b", "größe")
        self.names = nn.ModuleDict({name: nn.Linear(4, 4) for name in more})
        self.base = nn.ModuleDict({"model": nn.ModuleDict({"lin": nn.Linear(4, 6)})})
        self.lora_net = nn.ModuleDict({"lin": nn.Linear(4, 5)})
        self.lora_A = nn.ModuleDict({"lin": nn.Linear(4, 5)})
        self.processor = nn.ModuleDict({"lin": nn.Linear(4, 5)})


class Single(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 3)


SMALL = {"vocab_size": 32, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**SMALL, "max_position_embeddings": 8, "pad_token_id": 0}


def llama(layers: int = 2, **more: Any) -> Callable[[], nn.Module]:
    sizes = {**SMALL, "num_hidden_layers": layers, "num_key_value_heads": 1, "pad_token_id": 0}
    return lambda: LlamaForCausalLM(LlamaConfig(**sizes, **more))


def score_llama() -> nn.Module:
    return LlamaForSequenceClassification(LlamaConfig(**SMALL, num_key_value_heads=1, pad_token_id=0))


def roberta() -> nn.Module:
    return RobertaForSequenceClassification(RobertaConfig(**TEXT))


def whisper() -> nn.Module:
    sizes = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    widths = {"d_model": 8, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "num_mel_bins": 4}
    return WhisperForConditionalGeneration(
        WhisperConfig(vocab_size=32, max_source_positions=8, max_target_positions=8, **sizes, **tokens, **widths)
    )


def vit() -> nn.Module:
    sizes = {key: SMALL[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers")}
    return ViTForImageClassification(ViTConfig(**sizes, num_attention_heads=2, image_size=8, patch_size=4))


def resized(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def larger() -> nn.Module:
        model: Any = build()
        model.resize_token_embeddings(40, mean_resizing=False)
        return model

    return larger


HYBRID = [{"q_proj": 8, "up": 16} if at % 4 == 3 else {"in_proj": 12, "up": 16} for at in range(12)]
BASES: dict[str, Callable[[], nn.Module]] = {
    "llama": llama(),
    "llama-8": llama(8),
    "tied": llama(tie_word_embeddings=True),
    "bf16": lambda: family.llama().to(torch.bfloat16),
    "score": score_llama,
    "bert": family.bert,
    "bert-tokens": lambda: BertForTokenClassification(BertConfig(**TEXT)),
    "bert-qa": lambda: BertForQuestionAnswering(BertConfig(**TEXT)),
    "bert-lm": lambda: BertForMaskedLM(BertConfig(**TEXT)),
    "roberta": roberta,
    "t5": family.t5,
    "gpt2": family.gpt2,
    "gptj": lambda: GPTJForCausalLM(
        GPTJConfig(vocab_size=32, n_embd=8, n_layer=2, n_head=2, n_positions=8, rotary_dim=2)
    ),
    "neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL)),
    "bloom": lambda: BloomForCausalLM(BloomConfig(vocab_size=32, hidden_size=8, n_layer=2, n_head=2)),
    "whisper": whisper,
    "vit": vit,
    "mixtral": family.mixtral,
    "mixture": Mixture,
    "hybrid": lambda: Layers(*HYBRID),
    "widening": lambda: Layers(*({"proj": width} for width in (4, 4, 6, 8, 8, 10))),
    "one-odd": lambda: Layers(*({"proj": width} for width in (8, 8, 8, 8, 4))),
    "images": Images,
    "odd": OddNames,
    "single": Single,
    "zoo": family.Zoo,
}
BASES |= {f"{name}-resized": resized(BASES[name]) for name in ("llama", "tied", "gpt2", "gptj", "neox", "bloom")}
BASES |= {f"{name}-resized": resized(BASES[name]) for name in ("t5", "bert-lm", "whisper")}


class Case(NamedTuple):
    """A base, the fields of a config, the warnings that it may get, and options of `save_pretrained`."""

    base: str
    fields: Mapping[str, Any]
    allowed: str = ""
    saved_with: Mapping[str, Any] = {}


def targeting(*names: str, **more: Any) -> dict[str, Any]:
    return {"target_modules": list(names), **more}


MANY = ["q_proj", "v_proj", "query", "value", "query_key_value", "c_attn", "Wqkv", "to_q", "q", "v", "dense"]
WHOLE = {"save_embedding_layers": True}
EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]

CASES = [
    Case("llama", targeting(*MANY), "AF313"),
    Case("llama-8", targeting("model.layers.0.self_attn.q_proj", "model.layers.6.mlp.up_proj")),
    Case("llama-8", targeting("self_attn.q_proj", "mlp.up_proj")),
    Case("llama-8", targeting("3.self_attn.q_proj")),
    Case("llama-8", {"target_modules": r".*\.(q|v)_proj"}),
    Case("llama-8", {"target_modules": r"model\.layers\.[0-57]\.self_attn\.q_proj"}),
    Case("llama-8", {"target_modules": r"^(?!.*visual).*(?:q_proj|up_proj).*"}),
    *(Case(name, {"target_modules": "all-linear"}) for name in ("llama", "t5", "gpt2", "bert", "zoo", "mixtral")),
    Case("score", {"target_modules": "ALL-LINEAR", "task_type": "SEQ_CLS"}),
    *(Case(name, {}) for name in ("llama", "t5", "gpt2", "bert", "bloom", "neox", "gptj")),
    Case("llama-8", targeting("q_proj", "v_proj", exclude_modules=["layers.3.self_attn.q_proj"])),
    Case("llama-8", targeting("q_proj", "v_proj", exclude_modules=r".*layers\.(2|3)\..*")),
    Case("llama", targeting("q_proj", "up_proj", exclude_modules=["up_proj", "visual"])),
    Case("llama-8", {"target_modules": "all-linear", "exclude_modules": r".*layers\.3\..*"}),
    Case("llama-8", targeting("q_proj", layers_to_transform=list(range(32))), "AF316"),
    Case("llama-8", targeting("q_proj", layers_to_transform=[0, 1, 3, 4, 5, 7])),
    Case("llama-8", targeting("q_proj", layers_to_transform=2)),
    Case("llama-8", targeting("q_proj", layers_to_transform=[1, 2], layers_pattern=["layers", "h"])),
    Case("llama-8", targeting("q_proj", "model.layers.7.self_attn.v_proj", layers_to_transform=[0, 1])),
    Case("gpt2", targeting("c_attn", layers_to_transform=[1], layers_pattern="h", fan_in_fan_out=True)),
    Case("t5", targeting("q", "v", layers_to_transform=[0])),
    Case("mixture", targeting("gate_proj", "q", layers_to_transform=[1, 2])),
    Case("mixture", targeting("gate_proj", "q", layers_to_transform=[0, 3], layers_pattern="layers")),
    Case("mixture", targeting("gate_proj", "q", rank_pattern={r"experts\.\d+\.gate_proj": 1}, alpha_pattern={"q": 3})),
    Case("mixture", {"target_modules": r".*layers\.[24]\.experts\.[02]\.gate_proj"}),
    Case("hybrid", targeting("q_proj", "in_proj", "up")),
    Case("hybrid", targeting("q_proj")),
    Case("hybrid", {"target_modules": r".*(in_proj|q_proj)"}),
    Case("hybrid", targeting("in_proj"), "AF317"),
    Case("widening", targeting("proj")),
    Case("one-odd", targeting("proj"), "AF407"),
    Case("images", targeting("stages.0", "stages.1", "stages.2", "stages.3", "qkv", modules_to_save=["head"])),
    Case("images", targeting("stages.1", "qkv", use_dora=True)),
    Case("images", targeting("attention", "qkv", rank_pattern={"attention": 4})),
    Case("images", targeting("attention", "out_proj"), "AF311"),
    Case("vit", {"target_modules": "all-linear", "modules_to_save": ["classifier"]}),
    Case("whisper", targeting("q_proj", "v_proj", "conv1")),
    Case("whisper", targeting("q_proj", layers_to_transform=[0])),
    Case("llama", targeting("q_proj", modules_to_save=["nonexistent"]), "AF318"),
    Case("llama", targeting("q_proj", modules_to_save=["embed_tokens", "lm_head", "classifier"]), "AF318"),
    Case("llama", targeting("q_proj", modules_to_save=["norm", "input_layernorm", "model.layers.1.mlp"])),
    Case("llama", targeting("q_proj", "up_proj", "lm_head", modules_to_save=["lm_head", "mlp"])),
    Case("llama", targeting("q_proj", modules_to_save=["lm_head"], rank_pattern={"lm_head": 3})),
    Case("llama", targeting("q_proj", "embed_tokens", modules_to_save=["embed_tokens"], velora_config=VeloraConfig())),
    Case("llama", targeting("q_proj", "embed_tokens", modules_to_save=["embed_tokens"], use_dora=True)),
    Case("llama", targeting("q_proj", monteclora_config=MontecloraConfig())),
    Case("score", targeting("q_proj", "v_proj", task_type="SEQ_CLS")),
    Case("score", targeting("q_proj", "score", task_type="SEQ_CLS")),
    Case("score", targeting("q_proj", task_type="SEQ_CLS", modules_to_save=["pooler"]), "AF318"),
    Case("bert", targeting("query", "dense", task_type="SEQ_CLS", bias="all")),
    Case("bert", targeting("query", task_type="SEQ_CLS", bias="lora_only")),
    Case("bert", targeting("value", "dense", modules_to_save=["attention"], rank_pattern={"value": 1}, bias="all")),
    Case("bert-tokens", targeting("query", task_type="TOKEN_CLS")),
    Case("bert-qa", targeting("query", task_type="QUESTION_ANS")),
    Case("roberta", targeting("query", task_type="SEQ_CLS", bias="all")),
    Case("t5", targeting("SelfAttention.q", "EncDecAttention.v")),
    Case("gpt2", targeting("c_attn", "c_proj", "wte")),
    Case("llama", targeting("q_proj", "embed_tokens", "lm_head")),
    Case("tied", targeting("q_proj", "embed_tokens", ensure_weight_tying=True, rank_pattern={"lm_head": 6})),
    Case("tied", targeting("q_proj", modules_to_save=["embed_tokens"], ensure_weight_tying=True)),
    *(
        Case(name, {"target_modules": r".*\.(q_proj|c_attn|query_key_value|q|query)", "bias": bias}, "", WHOLE)
        for name in BASES
        if name.endswith("-resized")
        for bias in ("none", "all")
    ),
    *(
        Case(name, {"target_modules": r".*\.(q_proj|c_attn)", "trainable_token_indices": [33, 35]}, "", WHOLE)
        for name in ("llama-resized", "tied-resized", "gpt2-resized")
    ),
    Case("gptj", targeting("q_proj", "lm_head")),
    Case("llama", targeting("q_proj", trainable_token_indices=[])),
    Case("llama", targeting("q_proj", trainable_token_indices={"lm_head": [3], "embed_tokens": [4, 5]})),
    Case("bf16", targeting("q_proj", "embed_tokens", use_dora=True, modules_to_save=["lm_head"])),
    Case("mixtral", targeting("q_proj", target_parameters=EXPERTS)),
    Case("mixtral", targeting(target_parameters=EXPERTS, rank_pattern={"gate_up_proj": 4})),
    Case("mixtral", targeting(target_parameters=EXPERTS[1:], alpha_pattern={"down_proj": 3})),
    Case("mixtral", targeting("v_proj", target_parameters=["model.layers.0.mlp.experts.down_proj"])),
    Case("mixtral", targeting("v_proj", target_parameters=[*EXPERTS, "none.weight"]), "AF313"),
    Case("llama-8", targeting("q_proj", rank_pattern={f"layers.{at}.self_attn.q_proj": at + 1 for at in range(8)})),
    Case("llama", targeting("q_proj", rank_pattern={"^model.layers.0.self_attn.q_proj": 4})),
    Case("llama", targeting("q_proj", rank_pattern={"k_proj": 4}), "AF324"),
    Case("llama", targeting("q_proj", rank_pattern={"layers.0.self_attn.q_proj": 3, "q_proj": 4}), "AF327"),
    *(Case("odd", targeting(name)) for name in ("weight", "bias", "default", "0", "1a", "with blank", "a-b", "größe")),
    *(Case("odd", targeting(name)) for name in ("lora_down", "base.model.lin", "lora_net.lin", "lora_A.lin")),
    Case("odd", targeting("lin", use_dora=True, rank_pattern={"lora_net.lin": 3})),
    Case("odd", targeting("0", modules_to_save=["lora_down"]), "AF329"),
    Case("single", {"target_modules": "lin"}),
    Case("single", targeting("lin", bias="all", lora_bias=True)),
    *(Case("llama", targeting("q_proj", init_lora_weights=name)) for name in (True, False, "gaussian", "orthogonal")),
    *(Case("llama", targeting("q_proj", init_lora_weights=name), "AF223") for name in ("pissa", "olora")),
    Case("llama-8", targeting("q_proj", r=8, use_rslora=True, lora_alpha=1)),
    Case("llama-8", targeting("q_proj", layer_replication=[[0, 6], [2, 8]])),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{at}-{case.base}" for at, case in enumerate(CASES)])
def test_what_peft_reloads_unchanged_is_clean(case: Case, tmp_path: Path) -> None:
    build = BASES[case.base]
    half = case.base == "bf16"
    model = get_peft_model(make(build), LoraConfig(**{"r": 2, **case.fields}), autocast_adapter_dtype=not half)
    train(model)
    model.save_pretrained(tmp_path, **case.saved_with)
    assert reloads(model, build, tmp_path, "default", 0, autocast_adapter_dtype=not half)
    assert complaints(tmp_path) == ([], {case.allowed} - {""})


@pytest.mark.parametrize("case", [case for case in CASES if "task_type" in case.fields and not case.allowed])
def test_a_head_that_older_releases_do_not_list_is_no_base_weight(case: Case, tmp_path: Path) -> None:
    """PEFT 0.4 to 0.9 saved the head of a task and left `modules_to_save` null."""
    model = get_peft_model(make(BASES[case.base]), LoraConfig(**{"r": 2, **case.fields}))
    train(model)
    model.save_pretrained(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "modules_to_save": None}))
    assert reloads(model, BASES[case.base], tmp_path, "default", 0)
    assert complaints(tmp_path) == ([], set())


@pytest.mark.parametrize("kind", ["linear", "svd", "cat", "ties", "dare_ties", "magnitude_prune"])
def test_a_weighted_combination_is_clean(kind: str, tmp_path: Path) -> None:
    model = get_peft_model(family.llama(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    model.add_adapter("second", LoraConfig(r=2, target_modules=["q_proj"]))
    train(model)
    more = {} if kind in ("linear", "svd", "cat") else {"density": 0.8}
    model.add_weighted_adapter(["default", "second"], [0.5, 0.7], "both", combination_type=kind, **more)
    model.save_pretrained(tmp_path, selected_adapters=["both"])
    errors, warned = complaints(tmp_path / "both")
    assert errors == []
    assert warned <= {"AF506"}


def test_an_adapter_saved_by_transformers_is_clean(tmp_path: Path) -> None:
    model = family.llama()
    model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
    with torch.no_grad():
        for key, value in model.named_parameters():
            if ".lora_" in key:
                value.normal_()
    model.save_pretrained(tmp_path)
    assert complaints(tmp_path) == ([], set())


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel], ids=["compiled", "data-parallel"])
def test_an_adapter_saved_from_inside_a_wrapper_is_clean(wrap: Callable[[nn.Module], Any], tmp_path: Path) -> None:
    model = get_peft_model(family.llama(), LoraConfig(r=2, target_modules=["q_proj"]))
    train(model)
    wrapped = wrap(model)
    getattr(wrapped, "module", wrapped).save_pretrained(tmp_path)
    assert complaints(tmp_path) == ([], set())


@pytest.mark.parametrize("extra", [{}, {"rank_pattern": {"v_proj": 3}}, {"use_rslora": True}])
def test_an_adapter_converted_to_plain_lora_is_clean(extra: dict[str, Any], tmp_path: Path) -> None:
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights="pissa", **extra)
    model = get_peft_model(family.llama(), config)
    config.init_lora_weights = True
    model.save_pretrained(tmp_path / "start")
    config.init_lora_weights = "pissa"
    train(model)
    model.save_pretrained(tmp_path / "end", path_initial_model_for_weight_conversion=tmp_path / "start")
    assert complaints(tmp_path / "end") == ([], set())


@pytest.mark.parametrize("fields", [targeting("q_proj"), targeting(target_parameters=["q_proj.weight"])])
def test_an_adapted_module_inside_a_saved_one_is_an_error_as_peft_can_not_load_it(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    """PEFT takes modules to save by the end of their paths: `attn` is `self_attn` too."""
    model = get_peft_model(family.llama(), LoraConfig(r=2, modules_to_save=["attn"], **fields))
    train(model)
    model.save_pretrained(tmp_path)
    with pytest.raises(KeyError):
        PeftModel.from_pretrained(family.llama(), tmp_path)
    errors, _ = complaints(tmp_path)
    assert [error[:5] for error in errors] == ["AF312"]


def test_an_untrained_adapter_is_only_warned_about(tmp_path: Path) -> None:
    get_peft_model(family.llama(), LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path)
    assert complaints(tmp_path) == ([], {"AF504"})


def test_every_warning_that_is_allowed_has_a_reason() -> None:
    assert {case.allowed for case in CASES if case.allowed} | IN_FAMILY <= REASONS.keys()
