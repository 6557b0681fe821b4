"""The table of golden LoRA adapters."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import config as lora_config

from tests.golden.recipe import (
    Golden,
    add_noise_and_run,
    add_noise_and_step_back,
    compile_base,
    initialise_eva,
    leave_fresh,
    prepare_corda,
    prepare_lora_ga,
    round_to_float8,
)
from tests.oracle import base_models

QV = ["q_proj", "v_proj"]
QKV = ["q_proj", "k_proj", "v_proj"]
CONVERTED: tuple[dict[str, Any], ...] = ({"path_initial_model_for_weight_conversion": "initial"},)


def lora(targets: list[str] | str | None, r: int = 2, alpha: float = 4, **more: Any) -> dict[str, Any]:
    """The arguments of a `LoraConfig`."""
    return {"r": r, "lora_alpha": alpha, "target_modules": targets, **more}


def causal(targets: list[str] | str | None = QV, r: int = 2, alpha: float = 4, **more: Any) -> dict[str, Any]:
    """The same for a causal language model, on the query and value projections if nothing else is said."""
    return lora(targets, r, alpha, task_type="CAUSAL_LM", **more)


GOLDENS = [
    # layer types
    Golden("linear", "perceptron", "two nn.Linear layers", lora(["lin0", "lin1"], r=4, alpha=8)),
    Golden(
        "linear_bin",
        "perceptron",
        "the golden `linear` in a .bin file (safe_serialization=False)",
        lora(["lin0", "lin1"], r=4, alpha=8),
        saves=({"safe_serialization": False},),
    ),
    Golden(
        "both_containers",
        "perceptron",
        "a .safetensors and a .bin file with the same tensors side by side",
        lora(["lin0", "lin1"], r=4, alpha=8),
        saves=({}, {"safe_serialization": False}),
    ),
    Golden(
        "untrained",
        "perceptron",
        "saved before any training: every B is zero",
        lora(["lin0", "lin1"], r=4, alpha=8),
        train=leave_fresh,
    ),
    Golden(
        "gpt2_conv1d",
        "tiny_gpt2",
        "Transformers' Conv1D, whose weight is [d_in, d_out]: fan_in_fan_out",
        causal(["c_attn", "c_proj"], r=3, alpha=6, fan_in_fan_out=True),
    ),
    Golden(
        "embedding",
        "embedding_net",
        "nn.Embedding and nn.Linear of a plain module",
        lora(["emb", "lin"], r=3, alpha=5),
    ),
    Golden("conv1d", "conv1d_net", "nn.Conv1d with stride and padding, and a Linear", lora(["conv", "lin"])),
    Golden(
        "conv2d",
        "conv2d_net",
        "nn.Conv2d with an oblong kernel, and a pointwise one",
        lora(["conv", "pointwise"], r=3),
    ),
    Golden("conv3d", "conv3d_net", "nn.Conv3d", lora(["conv"])),
    Golden("grouped_conv", "grouped_conv_net", "nn.Conv2d in two groups: B has r/g columns", lora(["conv"], r=4)),
    Golden(
        "multihead_attention",
        "attention_net",
        "nn.MultiheadAttention: in_proj and out_proj",
        lora(["mha", "lin"], alpha=3),
    ),
    Golden(
        "expert_parameter",
        "moe_net",
        "one 3-d parameter of experts (target_parameters)",
        lora([], target_parameters=["experts.up_proj"]),
    ),
    Golden(
        "expert_parameters_nested",
        "moe_net",
        "two 3-d parameters of one module: nested base_layer",
        lora(["head"], target_parameters=["experts.up_proj", "experts.down_proj"]),
    ),
    Golden(
        "expert_parameters_transposed",
        "moe_net_transposed",
        "3-d parameters [experts, in, out] of a module with is_transposed",
        lora([], target_parameters=["experts.up_proj", "experts.down_proj"]),
    ),
    Golden(
        "mixtral_experts",
        "tiny_mixtral",
        "fused experts of a Transformers 5 model, beside attention",
        causal(target_parameters=["experts.gate_up_proj", "experts.down_proj"]),
    ),
    Golden(
        "mixtral_expert_rank_pattern",
        "tiny_mixtral",
        "rank and alpha patterns that hit a parameter",
        causal(
            [],
            target_parameters=["experts.gate_up_proj", "experts.down_proj"],
            rank_pattern={"experts.down_proj": 3},
            alpha_pattern={"experts.down_proj": 5},
        ),
    ),
    Golden(
        "mixtral_router",
        "tiny_mixtral",
        "a 2-d parameter of the router (target_parameters)",
        causal([], target_parameters=["mlp.gate.weight"]),
    ),
    # scale, patterns, DoRA
    Golden("rslora", "tiny_llama", "alpha / sqrt(r)", causal(r=4, alpha=3, use_rslora=True)),
    Golden(
        "alpha_float",
        "perceptron",
        "a fractional lora_alpha and some dropout",
        lora(["lin0"], r=4, alpha=1.5, lora_dropout=0.1),
    ),
    Golden("dora_linear", "tiny_llama", "DoRA on nn.Linear", causal(use_dora=True)),
    Golden(
        "dora_gpt2",
        "tiny_gpt2",
        "DoRA on Transformers' Conv1D",
        lora(["c_attn"], use_dora=True, fan_in_fan_out=True),
    ),
    Golden("dora_embedding", "embedding_net", "DoRA on nn.Embedding", lora(["emb"], use_dora=True)),
    Golden("dora_conv1d", "conv1d_net", "DoRA on nn.Conv1d", lora(["conv"], use_dora=True)),
    Golden(
        "dora_conv2d",
        "conv2d_net",
        "DoRA on nn.Conv2d, with rsLoRA",
        lora(["conv", "pointwise"], use_dora=True, use_rslora=True),
    ),
    Golden("dora_conv3d", "conv3d_net", "DoRA on nn.Conv3d", lora(["conv"], use_dora=True)),
    Golden(
        "rank_pattern",
        "tiny_llama",
        "ranks by pattern: a suffix and a regex",
        causal(QKV, rank_pattern={"q_proj": 3, r"layers\.1\..*v_proj": 1}),
    ),
    Golden(
        "alpha_pattern",
        "tiny_llama",
        "alphas by pattern, with an anchored full path",
        causal(alpha_pattern={"^model.layers.0.self_attn.q_proj": 9, "v_proj": 1}),
    ),
    Golden(
        "rank_and_alpha_pattern",
        "tiny_llama",
        "both patterns, with rsLoRA",
        causal(use_rslora=True, rank_pattern={"q_proj": 4}, alpha_pattern={"0.self_attn.q_proj": 7}),
    ),
    Golden(
        "alpha_pattern_reordered",
        "tiny_llama",
        "overlapping alpha patterns: the JSON writer sorts the specific one behind the other",
        causal(alpha_pattern={"self_attn.q_proj": 9, "q_proj": 1}),
    ),
    Golden(
        "rank_pattern_reordered",
        "tiny_llama",
        "overlapping rank patterns: the JSON writer sorts the specific one behind the other",
        causal(rank_pattern={"self_attn.q_proj": 3, "q_proj": 1}),
    ),
    # biases
    Golden(
        "bias_all",
        "perceptron",
        "bias=all: biases of adapted and of other modules",
        lora(["lin0"], bias="all"),
    ),
    Golden(
        "bias_lora_only",
        "tiny_gpt2",
        "bias=lora_only: biases of adapted modules",
        lora(["c_attn"], bias="lora_only", fan_in_fan_out=True),
    ),
    Golden("lora_bias", "perceptron", "a bias on B", lora(["lin0", "lin1"], lora_bias=True)),
    Golden(
        "lora_bias_and_bias_all",
        "perceptron",
        "a bias on B, beside all the base's biases",
        lora(["lin0"], lora_bias=True, bias="all"),
    ),
    # whole modules, tokens, embeddings
    Golden(
        "sequence_classification",
        "tiny_bert_classifier",
        "SEQ_CLS: the classifier is stored whole",
        lora(["query", "value"], task_type="SEQ_CLS"),
    ),
    Golden(
        "bias_all_with_classifier",
        "tiny_bert_classifier",
        "bias=all beside a classifier",
        lora(["query"], task_type="SEQ_CLS", bias="all"),
    ),
    Golden(
        "modules_to_save_norm",
        "tiny_llama",
        "modules_to_save names one norm, which takes all by suffix",
        causal(modules_to_save=["norm"]),
    ),
    Golden(
        "modules_to_save_batch_norm",
        "normed_perceptron",
        "a batch norm with its integer counter",
        lora(["lin0"], modules_to_save=["bn"]),
        train=add_noise_and_run,
    ),
    Golden("modules_to_save_head", "tiny_llama", "the whole lm_head", causal(modules_to_save=["lm_head"])),
    Golden(
        "trainable_tokens",
        "tiny_llama",
        "three new token rows beside LoRA",
        causal(trainable_token_indices=[3, 7, 12]),
    ),
    Golden(
        "trainable_tokens_by_module",
        "tiny_llama",
        "token rows of embedding and head by name",
        causal(["q_proj"], trainable_token_indices={"embed_tokens": [7, 3], "lm_head": [5]}),
    ),
    Golden(
        "trainable_tokens_tied",
        "tiny_llama_tied",
        "token rows of a tied embedding",
        causal(trainable_token_indices=[3, 7], ensure_weight_tying=True),
    ),
    Golden(
        "tied_embedding_target",
        "tiny_llama_tied",
        "an embedding target adapts the tied head too",
        causal(["embed_tokens"], ensure_weight_tying=True),
    ),
    Golden(
        "tied_modules_to_save",
        "tiny_llama_tied",
        "an embedding stored whole, and its tied head",
        causal(modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    ),
    Golden("resized_embeddings", "tiny_llama_resized", "a grown vocabulary: both embeddings are stored", causal()),
    Golden(
        "resized_embeddings_to_save",
        "tiny_llama_resized",
        "a grown vocabulary and modules_to_save: three copies",
        causal(modules_to_save=["embed_tokens"]),
    ),
    Golden(
        "embedding_target",
        "tiny_llama",
        "embed_tokens targeted: the whole base embedding is stored",
        causal(["embed_tokens", "q_proj"]),
    ),
    Golden(
        "embedding_and_head_target",
        "tiny_llama",
        "embed_tokens and lm_head targeted: both bases are stored",
        causal(["embed_tokens", "lm_head"]),
    ),
    Golden(
        "embedding_target_without_base",
        "tiny_llama",
        "embed_tokens targeted, save_embedding_layers=False",
        causal(["embed_tokens"]),
        saves=({"save_embedding_layers": False},),
    ),
    Golden(
        "embeddings_saved_on_demand",
        "tiny_llama",
        "save_embedding_layers=True without an embedding target",
        causal(),
        saves=({"save_embedding_layers": True},),
    ),
    # targets
    Golden("all_linear", "tiny_llama", "all-linear, resolved to module paths", causal("all-linear", r=1, alpha=2)),
    Golden(
        "many_targets",
        "tiny_llama_deep",
        "28 targets, condensed by PEFT to the fewest suffixes",
        causal("all-linear", r=1, alpha=2),
    ),
    Golden(
        "regex_targets",
        "tiny_llama",
        "a regular expression as target",
        causal(r".*\.layers\.[01]\.(self_attn\.[qk]_proj|mlp\.down_proj)"),
    ),
    Golden("default_targets", "tiny_llama", "no target given: filled from the model type", causal(None)),
    Golden("layers_to_transform", "tiny_llama_deep", "layers 1 and 3 alone", causal(layers_to_transform=[1, 3])),
    Golden(
        "layers_pattern",
        "tiny_llama_deep",
        "one layer, with the name of the layer list",
        causal(layers_to_transform=2, layers_pattern="layers"),
    ),
    Golden(
        "exclude_modules",
        "tiny_llama",
        "a module of one layer excluded by its path",
        causal(exclude_modules=["layers.0.self_attn.v_proj"]),
    ),
    Golden(
        "exclude_modules_regex",
        "tiny_llama",
        "exclusion by a regular expression",
        causal("all-linear", r=1, exclude_modules=r".*\.mlp\..*"),
    ),
    Golden(
        "layer_replication",
        "tiny_llama",
        "replicated layers: more layers than the base has",
        causal(layer_replication=[[0, 2], [1, 2]]),
    ),
    # initialisations
    *(
        Golden(name, "tiny_llama", shows, causal(init_lora_weights=value))
        for name, value, shows in (
            ("init_gaussian", "gaussian", "Gaussian A"),
            ("init_false", False, "neither A nor B zero at the start"),
            ("init_orthogonal", "orthogonal", "orthogonal A and B"),
            ("init_pissa", "pissa", "PiSSA: the base is changed on loading"),
            ("init_pissa_niter", "pissa_niter_4", "PiSSA by a randomised SVD"),
            ("init_olora", "olora", "OLoRA: the base is changed on loading"),
            ("init_mica", "mica", "MiCA: B of minor singular vectors"),
        )
    ),
    Golden(
        "init_eva",
        "tiny_llama",
        "EVA: ranks redistributed by full paths",
        causal(QKV, init_lora_weights="eva", eva_config=lora_config.EvaConfig(rho=2.0)),
        train=initialise_eva,
    ),
    Golden(
        "init_loftq",
        "tiny_llama",
        "LoftQ, with a stand-in for the quantiser",
        causal(alpha=2, init_lora_weights="loftq", loftq_config={"loftq_bits": 4, "loftq_iter": 1}),
        trained_with=("loftq",),
        loaded_with=("loftq",),
    ),
    Golden(
        "init_loftq_without_quantiser",
        "tiny_llama",
        "LoftQ, read where bitsandbytes is absent",
        causal(alpha=2, init_lora_weights="loftq", loftq_config={"loftq_bits": 4, "loftq_iter": 1}),
        trained_with=("loftq",),
    ),
    Golden(
        "init_corda",
        "tiny_llama",
        "CorDA saved without conversion",
        causal(init_lora_weights="corda", corda_config=lora_config.CordaConfig(corda_method="kpm")),
        prepare=prepare_corda,
    ),
    Golden(
        "init_lora_ga",
        "tiny_llama",
        "LoRA-GA saved without conversion",
        causal(init_lora_weights="lora_ga", lora_ga_config=lora_config.LoraGAConfig()),
        prepare=prepare_lora_ga,
    ),
    Golden(
        "converted_pissa",
        "tiny_llama",
        "PiSSA converted to plain LoRA on saving: rank and alpha doubled",
        causal(init_lora_weights="pissa"),
        saves=CONVERTED,
    ),
    Golden(
        "converted_pissa_rank_pattern",
        "tiny_llama",
        "converted PiSSA with patterns: their values doubled",
        causal(init_lora_weights="pissa", rank_pattern={"v_proj": 1}, alpha_pattern={"v_proj": 3}),
        saves=CONVERTED,
    ),
    Golden(
        "converted_olora_rslora",
        "tiny_llama",
        "OLoRA with rsLoRA converted on saving: alpha times sqrt(2)",
        causal(init_lora_weights="olora", use_rslora=True),
        saves=CONVERTED,
    ),
    Golden(
        "converted_pissa_modules_to_save",
        "tiny_llama",
        "converted PiSSA loses the modules to save",
        causal(init_lora_weights="pissa", modules_to_save=["lm_head"]),
        saves=CONVERTED,
    ),
    Golden(
        "converted_corda",
        "tiny_llama",
        "CorDA converted on saving",
        causal(init_lora_weights="corda", corda_config=lora_config.CordaConfig(corda_method="kpm")),
        prepare=prepare_corda,
        saves=CONVERTED,
    ),
    Golden(
        "converted_lora_ga",
        "tiny_llama",
        "LoRA-GA converted on saving",
        causal(init_lora_weights="lora_ga", lora_ga_config=lora_config.LoraGAConfig()),
        prepare=prepare_lora_ga,
        saves=CONVERTED,
    ),
    # dtypes
    Golden(
        "fp32",
        "tiny_llama",
        "float32 throughout, every linear layer of the decoder by name",
        causal(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], r=1, alpha=2),
    ),
    Golden(
        "bf16",
        "tiny_llama_bf16",
        "bfloat16 tensors (autocast_adapter_dtype=False)",
        causal(),
        wrap={"autocast_adapter_dtype": False},
        load={"autocast_adapter_dtype": False},
        tolerance=0.05,
    ),
    Golden(
        "bf16_mixed",
        "tiny_llama_bf16",
        "float32 LoRA beside a bfloat16 head (autocast, the default)",
        causal(modules_to_save=["lm_head"]),
        tolerance=0.05,
    ),
    Golden(
        "fp16",
        "tiny_llama_fp16",
        "float16 tensors (autocast_adapter_dtype=False)",
        causal(),
        wrap={"autocast_adapter_dtype": False},
        load={"autocast_adapter_dtype": False},
        tolerance=0.01,
    ),
    Golden(
        "fp8",
        "float8_net",
        "float8_e4m3fn tensors over a float8 base",
        lora(["lin0", "head"]),
        train=round_to_float8,
        stored_dtype=torch.float8_e4m3fn,
    ),
    # several adapters, wrapped and quantised bases
    Golden(
        "several_adapters",
        "tiny_llama",
        "three adapters: the default one and two in sub-folders",
        causal(),
        others={
            "second": causal(["o_proj"], r=3, alpha=3),
            "third": causal(["down_proj"], r=1, alpha=2, use_rslora=True),
        },
    ),
    Golden(
        "adapter_named_zero",
        "tiny_llama",
        "a second adapter called 0: the default one loses layer 0",
        causal(),
        others={"0": causal(["o_proj"])},
    ),
    Golden(
        "quantized_base",
        "quantized_net",
        "a 4-bit base layer (a stand-in for bitsandbytes' Linear4bit)",
        lora(["lin0"], r=4, alpha=8),
    ),
    Golden(
        "quantized_base_bias",
        "quantized_net",
        "a 4-bit base layer with bias=lora_only and a whole head",
        lora(["lin0"], r=4, alpha=8, bias="lora_only", modules_to_save=["head"]),
    ),
    Golden(
        "compiled_base",
        "perceptron",
        "a base wrapped by torch.compile before PEFT: `_orig_mod` in every key",
        lora(["lin0", "lin1"], r=4, alpha=8),
        prepare=compile_base,
    ),
    Golden(
        "written_by_transformers",
        "tiny_llama",
        "saved by Transformers' own writer (inference_mode is false)",
        lora(QV),
        written_by_transformers=True,
    ),
    Golden(
        "written_by_transformers_dora",
        "tiny_llama",
        "DoRA saved by Transformers' own writer",
        lora(QV, use_dora=True),
        written_by_transformers=True,
    ),
    # variants
    Golden(
        "alora",
        "tiny_llama",
        "aLoRA: works from the invocation tokens on",
        causal(alora_invocation_tokens=base_models.INVOCATION_TOKENS),
    ),
    Golden(
        "bdlora",
        "tiny_llama",
        "BD-LoRA: A block-diagonal on o_proj, B on q_proj",
        causal(
            ["q_proj", "o_proj"],
            r=4,
            use_bdlora=lora_config.BdLoraConfig(
                target_modules_bd_a=["o_proj"], target_modules_bd_b=["q_proj"], nblocks=2
            ),
        ),
    ),
    Golden("kasa", "tiny_llama", "KaSA: a diagonal between A and B", causal(kasa_config=lora_config.KasaConfig())),
    Golden(
        "velora",
        "tiny_llama",
        "VeLoRA before its first step",
        causal(velora_config=lora_config.VeloraConfig(num_groups=4)),
    ),
    Golden(
        "velora_trained",
        "tiny_llama",
        "VeLoRA after a training step",
        causal(velora_config=lora_config.VeloraConfig(num_groups=4, init_type="batch_average_once")),
        train=add_noise_and_step_back,
    ),
    Golden(
        "monteclora",
        "tiny_llama",
        "MonteCLoRA: sampler tensors beside A and B",
        causal(monteclora_config=lora_config.MontecloraConfig(num_samples=3)),
    ),
]
