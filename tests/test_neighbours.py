"""A set like the one on which other tools were compared: 28 damaged adapters to find, 10 valid ones to leave alone.

All are shaped like a small Llama: width 64, 4 layers, r 8, alpha 16, with the config that PEFT 0.18 writes in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import adapter_format as af
from adapter_format.config import CONFIG_NAME, WEIGHTS_NAME
from adapter_format.rules import edits as e
from adapter_format.testing.drafts import write_edited
from adapter_format.testing.examples import Example, Stored, values

WIDTH, LAYERS, RANK, VOCABULARY = 64, 4, 8, 128
PREFIX = "base_model.model."
ATTENTION = "model.layers.{}.self_attn.{}"

FULL_CONFIG: dict[str, Any] = {
    "alora_invocation_tokens": None,
    "alpha_pattern": {},
    "arrow_config": None,
    "auto_mapping": None,
    "base_model_name_or_path": "example/small-llama",
    "bias": "none",
    "corda_config": None,
    "ensure_weight_tying": False,
    "eva_config": None,
    "exclude_modules": None,
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "layer_replication": None,
    "layers_pattern": None,
    "layers_to_transform": None,
    "loftq_config": {},
    "lora_alpha": 16,
    "lora_bias": False,
    "lora_dropout": 0.05,
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "peft_type": "LORA",
    "peft_version": "0.18.0",
    "qalora_group_size": 16,
    "r": RANK,
    "rank_pattern": {},
    "revision": None,
    "target_modules": ["q_proj", "v_proj"],
    "target_parameters": None,
    "task_type": "CAUSAL_LM",
    "trainable_token_indices": None,
    "use_dora": False,
    "use_qalora": False,
    "use_rslora": False,
}


def stored(shapes: Mapping[str, tuple[int, ...]], dtype: str = "F32") -> dict[str, Stored]:
    return {PREFIX + path: values(path, dtype, shape) for path, shape in shapes.items()}


def modules(*names: str) -> list[str]:
    return [ATTENTION.format(layer, name) for layer in range(LAYERS) for name in names or ("q_proj", "v_proj")]


def factors(paths: list[str], rank: int = RANK, dtype: str = "F32") -> dict[str, Stored]:
    shapes = {f"{path}.lora_A.weight": (rank, WIDTH) for path in paths}
    return stored({**shapes, **{f"{path}.lora_B.weight": (WIDTH, rank) for path in paths}}, dtype)


def per_module(suffix: str, *shape: int, paths: list[str] | None = None) -> dict[str, Stored]:
    return stored({f"{path}.{suffix}": shape for path in paths or modules()})


def adapter(tensors: dict[str, Stored], **config: Any) -> Example:
    return Example("", {**FULL_CONFIG, **config}, tensors, {})


def foreign(tensors: dict[str, Stored], peft_type: str, **config: Any) -> Example:
    kept = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type")
    return Example("", {**{name: FULL_CONFIG[name] for name in kept}, "peft_type": peft_type, **config}, tensors, {})


PLAIN = adapter(factors(modules()))


class Damaged(NamedTuple):
    """One damaged adapter and the rules that must say so."""

    name: str
    rules: set[str]
    edits: tuple[e.Edit, ...]
    start: Example = PLAIN


ONE_B = r"layers\.1\.self_attn\.q_proj\.lora_B"
DAMAGED = [
    Damaged("01 one lora_B absent", {"AF305"}, (e.DropTensors(ONE_B),)),
    Damaged("02 no prefix", {"AF301"}, (e.RenameTensors(r"^base_model\.model\.", ""),)),
    Damaged("03 default left in keys", {"AF304"}, (e.RenameTensors(r"(lora_[AB])\.", r"\1.default."),)),
    Damaged("04 rank 16 in the file", {"AF401"}, (), adapter(factors(modules(), 16))),
    Damaged("05 one NaN", {"AF501"}, (e.FillTensors(ONE_B, "nan", "first"),)),
    Damaged("06 F16 among F32", {"AF408"}, (e.CastTensors(ONE_B, "F16"),)),
    Damaged("07 target without tensors", {"AF313"}, (e.SetConfig("/target_modules/-", "o_proj"),)),
    Damaged("08 misspelt config key", {"AF213"}, (e.DropConfig("/lora_alpha"), e.SetConfig("/lora_alhpa", 16))),
    Damaged("09 unknown peft_type", {"AF209"}, (e.SetConfig("/peft_type", "SUPERLORA"),)),
    Damaged("10 use_dora without magnitudes", {"AF307"}, (e.SetConfig("/use_dora", True),)),
    Damaged("11 file cut in half", {"AF119"}, (e.TruncateWeights(17_000),)),
    Damaged(
        "12 base weights and embeddings inside",
        {"AF310"},
        (
            e.AddTensor(f"{PREFIX}model.layers.0.self_attn.o_proj.weight", (WIDTH, WIDTH)),
            e.AddTensor(f"{PREFIX}model.embed_tokens.weight", (VOCABULARY, WIDTH)),
        ),
    ),
    Damaged("13 doubled prefix", {"AF302"}, (e.RenameTensors("^", PREFIX),)),
    Damaged("14 _orig_mod", {"AF303"}, (e.RenameTensors(r"^base_model\.model\.", f"{PREFIX}_orig_mod."),)),
    Damaged("15 Size([0])", {"AF404"}, (e.ReshapeTensors(r"lora_[AB]", (0,)),)),
    Damaged("16 flattened", {"AF403"}, (e.ReshapeTensors(r"lora_[AB]", (RANK * WIDTH,)),)),
    Damaged("17 every lora_B zero", {"AF504"}, (e.FillTensors("lora_B", 0),)),
    Damaged("18 one infinity", {"AF502"}, (e.FillTensors(ONE_B, "inf", "first"),)),
    Damaged("19 config absent", {"AF201"}, (e.RemoveFile(CONFIG_NAME),)),
    Damaged("20 weights absent", {"AF130"}, (e.RemoveFile(WEIGHTS_NAME),)),
    Damaged("21 broken JSON", {"AF202"}, (e.ReplaceConfigText('"r": 8,', '"r": 8'),)),
    Damaged("22 r 0, alpha text", {"AF211", "AF215"}, (e.SetConfig("/r", 0), e.SetConfig("/lora_alpha", "16"))),
    Damaged("23 A of rank 8, B of rank 4", {"AF402"}, (e.ReshapeTensors("lora_B", (WIDTH, 4)),)),
    Damaged("24 layer 2 of 0 to 3 absent", {"AF317"}, (e.DropTensors(r"layers\.2\."),)),
    Damaged("25 all tensors share one byte range", {"AF116"}, ()),
    Damaged("26 base is a local path", {"AF220"}, (e.SetConfig("/base_model_name_or_path", "/home/me/llama"),)),
    Damaged("27 a malicious .bin only", {"AF135"}, (e.RemoveFile(WEIGHTS_NAME), e.WriteFile("adapter_model.bin", b""))),
    Damaged("28 modules_to_save not stored", {"AF318"}, (e.SetConfig("/modules_to_save", ["lm_head"]),)),
]

SCORE = {"score.weight": (3, WIDTH)}
EMBEDDING = {
    "model.embed_tokens.lora_embedding_A": (RANK, VOCABULARY),
    "model.embed_tokens.lora_embedding_B": (WIDTH, RANK),
}
HADAMARD = {
    **per_module("hada_w1_a", WIDTH, RANK),
    **per_module("hada_w1_b", RANK, WIDTH),
    **per_module("hada_w2_a", WIDTH, RANK),
    **per_module("hada_w2_b", RANK, WIDTH),
}
VALID = {
    "plain F32": PLAIN,
    "BF16 with rank and alpha patterns": adapter(
        {**factors(modules("q_proj"), 4, "BF16"), **factors(modules("v_proj"), RANK, "BF16")},
        rank_pattern={"q_proj": 4},
        alpha_pattern={"q_proj": 8},
    ),
    "DoRA": adapter({**factors(modules()), **per_module("lora_magnitude_vector", WIDTH)}, use_dora=True),
    "SEQ_CLS with a saved score head": adapter(
        {**factors(modules()), **stored(SCORE)}, task_type="SEQ_CLS", modules_to_save=["classifier", "score"]
    ),
    "IA3": foreign(
        {
            **per_module("ia3_l", WIDTH, 1, paths=modules("k_proj", "v_proj")),
            **per_module("ia3_l", 1, WIDTH, paths=[f"model.layers.{layer}.mlp.down_proj" for layer in range(LAYERS)]),
        },
        "IA3",
        target_modules=["k_proj", "v_proj", "down_proj"],
        feedforward_modules=["down_proj"],
        fan_in_fan_out=False,
        init_ia3_weights=True,
        exclude_modules=None,
        modules_to_save=None,
    ),
    "embedding": adapter(stored(EMBEDDING), target_modules=["embed_tokens"]),
    "LoHa": foreign(
        HADAMARD,
        "LOHA",
        r=RANK,
        alpha=16,
        target_modules=["q_proj", "v_proj"],
        use_effective_conv2d=False,
        init_weights=True,
        rank_dropout=0.0,
        module_dropout=0.0,
        rank_pattern={},
        alpha_pattern={},
        modules_to_save=None,
    ),
    "rsLoRA with regex targets": adapter(
        factors(modules()), use_rslora=True, target_modules=r".*\.self_attn\.(q_proj|v_proj)"
    ),
    "prompt tuning": foreign(
        {"prompt_embeddings": values("prompt", "F32", (8, WIDTH))},
        "PROMPT_TUNING",
        num_virtual_tokens=8,
        token_dim=WIDTH,
        num_layers=LAYERS,
        num_attention_heads=4,
        num_transformer_submodules=1,
        prompt_tuning_init="RANDOM",
        prompt_tuning_init_text=None,
        tokenizer_name_or_path=None,
    ),
    "lora_bias": adapter({**factors(modules()), **per_module("lora_B.bias", WIDTH)}, lora_bias=True),
}
OTHER_METHODS = ("IA3", "LoHa", "prompt tuning")

MALICIOUS = b"\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03."
"""A pickle that runs a command when it is loaded; nothing here loads it."""


def written(damaged: Damaged, directory: Path) -> Path:
    write_edited(damaged.start, damaged.edits, directory)
    if damaged.name.startswith("25"):
        share_one_range(directory / WEIGHTS_NAME)
    if damaged.name.startswith("27"):
        (directory / "adapter_model.bin").write_bytes(MALICIOUS)
    return directory


def share_one_range(weights: Path) -> None:
    """Let every tensor of a file claim its first bytes; the length of the header stays."""
    import json

    data = weights.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    first = [0, RANK * WIDTH * 4]
    for name, entry in header.items():
        if name != "__metadata__":
            entry["data_offsets"] = first
    text = json.dumps(header, separators=(",", ":")).encode()
    weights.write_bytes(data[:8] + text.ljust(end - 8) + data[end : end + first[1]])


def loud(report: af.Report) -> set[str]:
    return {finding.rule for finding in report.findings if finding.severity != "info"}


@pytest.mark.parametrize("damaged", DAMAGED, ids=lambda damaged: damaged.name)
def test_a_damaged_adapter_is_found(damaged: Damaged, tmp_path: Path) -> None:
    report = af.validate(written(damaged, tmp_path / "adapter"), data=True)

    assert loud(report) == damaged.rules


@pytest.mark.parametrize("name", VALID)
def test_a_valid_adapter_is_left_alone(name: str, tmp_path: Path) -> None:
    write_edited(VALID[name], (), tmp_path / "adapter")

    report = af.validate(tmp_path / "adapter", data=True)

    assert [finding for finding in report.findings if finding.severity != "info"] == []


@pytest.mark.parametrize("name", OTHER_METHODS)
def test_keys_and_shapes_of_other_methods_are_looked_at(name: str, tmp_path: Path) -> None:
    write_edited(VALID[name], (), tmp_path / "adapter")

    report = af.validate(tmp_path / "adapter")

    assert not any("layout" in item.why for item in report.unchecked)
    assert report.summary.expected_bytes == report.summary.bytes


def test_the_set_is_as_large_as_the_one_of_the_comparison() -> None:
    assert (len(DAMAGED), len(VALID)) == (28, 10)
