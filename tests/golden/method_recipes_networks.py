"""Golden recipes: methods that change the network, or whose outputs depend on more than the weights."""

from __future__ import annotations

from typing import Any

from tests.golden.recipe import Golden, method

LINEAR = ["lin0", "lin1"]
CAUSAL = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]}
EXPERTS = {"0": "tests/golden/lora/rslora", "1": "tests/golden/lora/fp32"}
"""LoRA goldens, from the repository's root; the names must be numbers in order."""


def xlora(setting: str, shows: str, not_kept: tuple[str, ...] = tuple(EXPERTS), **config: Any) -> Golden:
    """An X-LoRA golden over two LoRA goldens."""
    also = {
        "trained_with": ("repository",),
        "loaded_with": ("repository",),
        "not_kept": not_kept,
        "why": "PEFT leaves out of the file each layer of the router whose number is the name of an expert.",
    }
    values = {"task_type": "CAUSAL_LM", "hidden_size": 12, "adapters": EXPERTS, **config}
    return method("XLORA", setting, "tiny_llama_uncached", shows, also, **values)


LILY = [
    method("LILY", "linear", "even_perceptron", "each module has its own pair", target_modules=LINEAR, r=2),
    method(
        "LILY",
        "shared",
        "tiny_llama_deep",
        "layers share A by twos and B altogether: equal tensors under several keys",
        r=2,
        stride_A=2,
        num_B=3,
        scaling=0.5,
        **CAUSAL,
    ),
]

POLY = [
    method(
        "POLY",
        "skills",
        "tiny_llama",
        "three skills, two tasks",
        {"inputs": {"task_ids": [0, 1]}},
        r=2,
        n_tasks=2,
        n_skills=3,
        **CAUSAL,
    ),
    method(
        "POLY",
        "splits",
        "tiny_llama",
        "matrices in two splits",
        {"inputs": {"task_ids": [2, 0]}},
        r=1,
        n_tasks=3,
        n_skills=2,
        n_splits=2,
        **CAUSAL,
    ),
]

XLORA = [
    xlora("depth_1", "one layer, of which no tensor is written"),
    xlora(
        "depth_2",
        "two layers, dropout between them; beside it what PEFT writes for the experts: weights of the base",
        not_kept=(),
        xlora_depth=2,
        xlora_size=4,
    ),
    xlora(
        "depth_3",
        "three layers without dropout, one weight for each LoRA layer",
        xlora_depth=3,
        xlora_size=4,
        xlora_dropout_p=0.0,
        layerwise_scalings=True,
    ),
]

ADAPTION_PROMPT = [
    method(
        "ADAPTION_PROMPT",
        "llama",
        "tiny_llama",
        "every layer of Llama",
        task_type="CAUSAL_LM",
        adapter_len=3,
        adapter_layers=2,
    ),
    method(
        "ADAPTION_PROMPT",
        "gpt2",
        "tiny_gpt2",
        "the last layer of GPT-2",
        task_type="CAUSAL_LM",
        adapter_len=4,
        adapter_layers=1,
    ),
    method(
        "ADAPTION_PROMPT",
        "last_layer",
        "tiny_llama_deep",
        "the last layer of four",
        task_type="CAUSAL_LM",
        adapter_len=2,
        adapter_layers=1,
    ),
]

SHADOW = [
    method("SHADOW", "causal", "tiny_llama", "a backbone of the base's width", task_type="CAUSAL_LM", r=2),
    method(
        "SHADOW",
        "projection",
        "tiny_llama",
        "a narrower backbone with a projection, over one block",
        task_type="CAUSAL_LM",
        target_modules=["layers.1"],
        r=2,
        update_hidden_size=3,
        shadow_hidden_size=8,
        shadow_intermediate_size=6,
        shadow_num_attention_heads=2,
    ),
    method(
        "SHADOW",
        "classifier",
        "tiny_llama_classifier",
        "a classifier, which the shadow has too",
        task_type="SEQ_CLS",
        r=2,
        shadow_intermediate_size=6,
    ),
    method(
        "SHADOW",
        "own_embeddings",
        "tiny_llama",
        "embeddings of its own",
        task_type="CAUSAL_LM",
        r=1,
        shadow_intermediate_size=6,
        share_embeddings=False,
    ),
    method(
        "SHADOW",
        "gpt2",
        "tiny_gpt2",
        "a backbone of GPT-2",
        task_type="CAUSAL_LM",
        r=1,
        modules_to_save=["ln_f"],
    ),
    method(
        "SHADOW",
        "two_layers",
        "tiny_llama",
        "a backbone of two narrow layers",
        task_type="CAUSAL_LM",
        r=1,
        shadow_num_hidden_layers=2,
        shadow_hidden_size=4,
        shadow_intermediate_size=4,
        shadow_num_attention_heads=2,
    ),
]

GOLDENS = [*LILY, *POLY, *XLORA, *ADAPTION_PROMPT, *SHADOW]
