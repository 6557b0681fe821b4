"""Golden recipes: weight deltas made of small factors that each module has for itself."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.golden.recipe import Golden, add_noise, method
from tests.oracle import base_models

LINEAR = ["lin0", "lin1"]
QV = ["q_proj", "v_proj"]
CAUSAL = {"task_type": "CAUSAL_LM", "target_modules": QV}


def prune(model: nn.Module, golden: Golden) -> None:
    """Noise, then AdaLoRA's own steps until its budget is spent; the last module's ranks matter least."""
    add_noise(model, golden)
    last = [parameter for name, parameter in model.named_parameters() if "lora_E" in name][-1]
    last.data.mul_(1e-6)
    for step in range(model.peft_config["default"].total_step + 1):
        result = model(**base_models.batch(golden.base))
        getattr(result, "logits", result).square().mean().backward()
        model.base_model.update_and_allocate(step)
        model.zero_grad()


def adalora(setting: str, base: str, shows: str, also: dict[str, Any] | None = None, **config: Any) -> Golden:
    """An AdaLoRA golden whose schedule is three steps long."""
    return method("ADALORA", setting, base, shows, also, init_r=3, target_r=1, lora_alpha=6, total_step=3, **config)


ADALORA = [
    adalora("linear", "perceptron", "before any pruning: every module has init_r", target_modules=LINEAR),
    adalora(
        "pruned",
        "perceptron",
        "after pruning, one module to rank 0: zero-size tensors and lists of booleans in rank_pattern",
        {"train": prune},
        target_modules=LINEAR,
    ),
    adalora("pruned_llama", "tiny_llama", "ranks pruned within a language model", {"train": prune}, **CAUSAL),
    adalora(
        "gpt2", "tiny_gpt2", "Transformers' Conv1D", target_modules=["c_attn"], fan_in_fan_out=True, bias="lora_only"
    ),
    adalora("conv2d", "conv2d_net", "a 2-d convolution: two-dimensional factors", target_modules=["conv", "lin"]),
    adalora(
        "bias_all",
        "perceptron",
        "bias=all, and a whole module",
        target_modules=["lin0"],
        bias="all",
        modules_to_save=["head"],
    ),
]

LOHA = [
    method("LOHA", "linear", "perceptron", "two linear layers", target_modules=LINEAR, r=2, alpha=3),
    method("LOHA", "conv2d", "conv2d_net", "the flat form for convolutions", target_modules=["conv", "lin"], r=2),
    method(
        "LOHA",
        "effective_conv2d",
        "conv2d_net",
        "use_effective_conv2d: t1 and t2 for the kernel, none for a pointwise one",
        target_modules=["conv", "pointwise"],
        r=2,
        use_effective_conv2d=True,
    ),
    method(
        "LOHA",
        "effective_conv1d",
        "conv1d_net",
        "use_effective_conv2d over a 1-d convolution: a fourth axis",
        target_modules=["conv"],
        r=2,
        use_effective_conv2d=True,
    ),
    method("LOHA", "conv1d", "conv1d_net", "the flat form for a 1-d convolution", target_modules=["conv"], r=2),
    method(
        "LOHA",
        "rank_pattern",
        "tiny_llama",
        "ranks and alphas by pattern",
        r=2,
        alpha=4,
        rank_pattern={"q_proj": 1, r"layers\.1\..*v_proj": 3},
        alpha_pattern={"v_proj": 5},
        **CAUSAL,
    ),
    method(
        "LOHA",
        "modules_to_save",
        "perceptron",
        "a whole module beside the factors",
        target_modules=["lin0"],
        r=1,
        modules_to_save=["head"],
    ),
    method(
        "LOHA",
        "several",
        "perceptron",
        "two adapters of other ranks and targets, saved at once",
        {"others": {"second": {"target_modules": ["lin1", "head"], "r": 1, "alpha": 2}}},
        target_modules=LINEAR,
        r=2,
    ),
]

LOKR = [
    method("LOKR", "full", "even_perceptron", "a rank so large that both factors are full", target_modules=LINEAR, r=4),
    method(
        "LOKR",
        "factored",
        "even_perceptron",
        "a small rank: the second factor is a product",
        target_modules=[*LINEAR, "lin2"],
        r=1,
        alpha=2,
    ),
    method(
        "LOKR",
        "decompose_both",
        "even_perceptron",
        "both factors are products",
        target_modules=[*LINEAR, "lin2"],
        r=1,
        alpha=2,
        decompose_both=True,
    ),
    method(
        "LOKR",
        "decompose_factor",
        "even_perceptron",
        "decompose_factor: it divides the sizes of some axes and bounds the others",
        target_modules=[*LINEAR, "lin2", "head"],
        r=2,
        alpha=3,
        decompose_factor=3,
    ),
    method(
        "LOKR", "conv2d", "conv2d_net", "the flat form for convolutions", target_modules=["conv", "lin"], r=1, alpha=1
    ),
    method("LOKR", "conv2d_full", "conv2d_net", "a full second factor that holds the kernel", target_modules=["conv"]),
    method(
        "LOKR",
        "effective_conv2d",
        "square_conv_net",
        "use_effective_conv2d: t2 for the kernel, none for a pointwise one",
        target_modules=["conv", "pointwise"],
        r=1,
        alpha=2,
        use_effective_conv2d=True,
    ),
    method("LOKR", "conv1d", "conv1d_net", "a 1-d convolution, the second factor full", target_modules=["conv"], r=2),
    method(
        "LOKR",
        "rank_pattern",
        "tiny_llama",
        "ranks by pattern: the set of tensors differs from module to module",
        r=2,
        alpha=4,
        rank_pattern={"q_proj": 1},
        alpha_pattern={r"layers\.0\..*v_proj": 7},
        decompose_both=True,
        **CAUSAL,
    ),
    method(
        "LOKR",
        "layers_to_transform",
        "tiny_llama",
        "one layer of two",
        r=1,
        task_type="CAUSAL_LM",
        target_modules=["q_proj", "o_proj"],
        layers_to_transform=[1],
        layers_pattern="layers",
    ),
    method(
        "LOKR",
        "bf16",
        "tiny_llama_bf16",
        "bfloat16 tensors (autocast_adapter_dtype=False)",
        {"wrap": {"autocast_adapter_dtype": False}, "load": {"autocast_adapter_dtype": False}, "tolerance": 0.05},
        r=1,
        **CAUSAL,
    ),
]

DELORA = [
    method("DELORA", "linear", "perceptron", "two linear layers", target_modules=LINEAR, r=2, delora_lambda=3),
    method(
        "DELORA",
        "patterns",
        "tiny_llama",
        "ranks and lambdas by pattern",
        r=2,
        rank_pattern={"v_proj": 1},
        lambda_pattern={"q_proj": 4},
        **CAUSAL,
    ),
    method("DELORA", "bias_all", "perceptron", "bias=all beside the factors", target_modules=["lin0"], r=1, bias="all"),
]

HIRA = [
    method("HIRA", "linear", "perceptron", "two linear layers", target_modules=LINEAR, r=2),
    method("HIRA", "embedding", "embedding_net", "an embedding and a linear layer", target_modules=["emb", "lin"], r=2),
    method("HIRA", "conv2d", "conv2d_net", "2-d convolutions: A holds the kernel", target_modules=["conv", "lin"], r=2),
    method("HIRA", "conv1d", "conv1d_net", "a 1-d convolution", target_modules=["conv"], r=2),
    method("HIRA", "conv3d", "conv3d_net", "a 3-d convolution", target_modules=["conv"], r=2),
    method("HIRA", "gpt2", "tiny_gpt2", "Transformers' Conv1D", target_modules=["c_attn"], r=2, fan_in_fan_out=True),
    method(
        "HIRA",
        "rank_pattern",
        "perceptron",
        "a rank_pattern, which PEFT does not follow: every module has r",
        target_modules=LINEAR,
        r=2,
        rank_pattern={"lin0": 3},
    ),
    method(
        "HIRA",
        "token_embedding",
        "tiny_llama",
        "an embedding of a language model: PEFT stores the base's whole embedding too",
        task_type="CAUSAL_LM",
        target_modules=["embed_tokens", "v_proj"],
        r=1,
    ),
    method(
        "HIRA",
        "rank_pattern_followed",
        "perceptron",
        "the same rank_pattern in a second adapter, where PEFT follows it",
        {
            "others": {"second": {"target_modules": LINEAR, "r": 2, "rank_pattern": {"lin0": 3}}},
            "why": "The first adapter of a layer has the rank r, and what PEFT wrote as the second had its pattern's.",
        },
        target_modules=LINEAR,
        r=2,
    ),
]

DEFT = [
    method("DEFT", "relu", "perceptron", "decomposition_method=relu", target_modules=LINEAR, r=2),
    method(
        "DEFT", "qr", "perceptron", "decomposition_method=qr", target_modules=LINEAR, r=2, decomposition_method="qr"
    ),
    method("DEFT", "para", "perceptron", "para: P alone is stored", target_modules=LINEAR, r=2, para=True),
    method("DEFT", "alpha", "tiny_llama", "an alpha", r=2, alpha=6, **CAUSAL),
    method("DEFT", "clipped_rank", "even_perceptron", "a rank above d_out, clipped", target_modules=["head"], r=6),
    method("DEFT", "gpt2", "tiny_gpt2", "Transformers' Conv1D", target_modules=["c_attn"], r=2, fan_in_fan_out=True),
]

GRALORA = [
    method("GRALORA", "linear", "even_perceptron", "two blocks", target_modules=LINEAR, r=2, alpha=4),
    method(
        "GRALORA",
        "hybrid",
        "even_perceptron",
        "hybrid_r: a low-rank pair over the whole matrix, whose keys end in .weight",
        target_modules=LINEAR,
        r=4,
        alpha=6,
        gralora_k=4,
        hybrid_r=1,
    ),
    method(
        "GRALORA",
        "gpt2_bias",
        "tiny_gpt2",
        "Transformers' Conv1D, and the biases of adapted modules",
        target_modules=["c_attn"],
        r=3,
        gralora_k=3,
        fan_in_fan_out=True,
        bias="gralora_only",
    ),
]

MISS = [
    method("MISS", "standard", "even_perceptron", "init_weights=true: [r, d_out]", target_modules=LINEAR, r=3),
    method("MISS", "random", "even_perceptron", "init_weights=false", target_modules=LINEAR, r=3, init_weights=False),
    method(
        "MISS", "bat", "even_perceptron", "init_weights=bat: blocks", target_modules=LINEAR, r=4, init_weights="bat"
    ),
    method(
        "MISS",
        "mini",
        "even_perceptron",
        "init_weights=mini: [r, mini_r]",
        target_modules=LINEAR,
        r=3,
        mini_r=4,
        init_weights="mini",
    ),
    method("MISS", "bias_all", "even_perceptron", "bias=all", target_modules=["lin0"], r=2, bias="all"),
    method("MISS", "bf16_base", "tiny_llama_bf16", "a bfloat16 base", {"tolerance": 0.05}, r=2, **CAUSAL),
]

GLORA = [
    method(
        "GLORA",
        "lora",
        "even_perceptron",
        "low-rank A, B and C, vectors D and E; only placeholders for C, D, E where the base has no bias",
        target_modules=LINEAR,
        r=2,
        config_A_B="lora",
        config_C="lora",
        config_D_E="vector",
    ),
    method(
        "GLORA",
        "vector",
        "even_perceptron",
        "vectors for A, B and C, constants for D and E",
        target_modules=LINEAR,
        r=2,
        config_A_B="vector",
        config_C="vector",
        config_D_E="constant",
    ),
    method(
        "GLORA",
        "constant",
        "even_perceptron",
        "constants for A and B, nothing for the rest",
        target_modules=LINEAR,
        config_A_B="constant",
        config_C="none",
        config_D_E="none",
    ),
    method(
        "GLORA",
        "none",
        "even_perceptron",
        "nothing for A and B: dense zeros",
        target_modules=LINEAR,
        config_A_B="none",
        config_C="vector",
        config_D_E="vector",
    ),
]

PEANUT = [
    method("PEANUT", "shallow", "perceptron", "depth 0: a pair alone", target_modules=LINEAR, r=2),
    method(
        "PEANUT",
        "deep",
        "perceptron",
        "depth 2: numbered encoders and decoders",
        target_modules=LINEAR,
        r=2,
        depth=2,
        act_fn="gelu",
        scaling=0.5,
    ),
    method("PEANUT", "llama", "tiny_llama", "a language model", r=1, depth=1, **CAUSAL),
    method(
        "PEANUT",
        "all_linear",
        "perceptron",
        "all-linear, saved as the list of what it found",
        target_modules="all-linear",
        r=1,
        exclude_modules=["lin1"],
    ),
]

ADAMSS = [
    method(
        "ADAMSS",
        "linear",
        "perceptron",
        "layers with a bias: one more column",
        target_modules=LINEAR,
        r=3,
        num_subspaces=2,
        subspace_rank=2,
    ),
    method(
        "ADAMSS",
        "llama",
        "tiny_llama",
        "layers without a bias",
        r=3,
        num_subspaces=3,
        **CAUSAL,
    ),
    method(
        "ADAMSS",
        "dynamic_rank",
        "even_perceptron",
        "ranks of the subspaces by threshold, over layers with and without a bias",
        target_modules=LINEAR,
        r=4,
        num_subspaces=3,
        subspace_rank=3,
        use_dynamic_rank=True,
        svd_threshold=0.3,
    ),
]

GOLDENS = [
    *ADALORA,
    *LOHA,
    *LOKR,
    *DELORA,
    *HIRA,
    *DEFT,
    *GRALORA,
    *MISS,
    *GLORA,
    *PEANUT,
    *ADAMSS,
]
