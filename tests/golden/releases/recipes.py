"""The table of goldens that old PEFT releases write: config, base, and in which releases each exists.

It imports neither torch nor PEFT, so that every environment can read it. A recipe writes the same noise in
every release, so what two releases computed can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

QV = ["q_proj", "v_proj"]
MLP = ["q_proj", "up_proj"]
LINEAR = ["lin0", "lin1"]
NEWEST = "99"
CAUSAL: dict[str, Any] = {"target_modules": QV, "task_type": "CAUSAL_LM"}
ADALORA = {"init_r": 3, "lora_alpha": 4, "lora_dropout": 0.1, "target_modules": LINEAR}
"""On a plain base: with one of Transformers, 0.4 wants labels in training and can't run after loading."""

SHORT = {
    "0.18.1": {
        "bone_bat", "bone_plain", "delora_plain", "lora_alora", "lora_bias_lora_only", "lora_dora",
        "lora_expert_parameter", "lora_named_self_attn", "lora_named_zero", "lora_plain", "miss_plain",
        "oft_block_size", "oft_coft", "oft_plain", "oft_without_series", "osf_plain", "road_plain", "waveft_plain",
    }
}  # fmt: skip
"""A release that writes these alone: what is new in it, the last of its kind, or read otherwise later."""


def numbers(release: str) -> tuple[int, ...]:
    """A release as numbers that compare."""
    return tuple(int(part) for part in release.split("."))


@dataclass(frozen=True)
class Recipe:
    """One golden of every release from `since` on, up to and including `until`."""

    name: str
    base: str
    config_class: str
    shows: str
    config: dict[str, Any]
    since: str = "0.4.0"
    until: str = NEWEST
    adapter_name: str = "default"
    training: str = "add_noise"
    """The name of a function of `training.py`."""
    save: dict[str, Any] = field(default_factory=dict)
    """Options of `save_pretrained`, beside `safe_serialization=True`."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """Input tensors that this method wants beside those of the base."""
    base_settings: dict[str, Any] = field(default_factory=dict)
    """Fields of the base's own config to set, without which the method does not run."""
    experts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Configs of LoRA adapters that are written beside it first (X-LoRA routes between them)."""

    def in_release(self, release: str) -> bool:
        """Whether that release writes this golden."""
        return numbers(self.since) <= numbers(release) <= numbers(self.until)


def lora(name: str, base: str, shows: str, targets: Any = None, *, since: str = "0.4.0", **more: Any) -> Recipe:
    """A LoRA recipe: rank 2, alpha 4; what is no field of `Recipe` is a config field."""
    options = {key: more.pop(key) for key in ("until", "adapter_name", "training", "save") if key in more}
    config: dict[str, Any] = {"r": 2, "lora_alpha": 4, "target_modules": targets, **more}
    if base.startswith("tiny_"):
        config = {"task_type": "CAUSAL_LM", **config}
    return Recipe(f"lora_{name}", base, "LoraConfig", shows, config, since=since, **options)


LORA = [
    lora("plain", "tiny_llama", "query and value projections", QV),
    lora("bin", "tiny_llama", "the same in a .bin file", QV, save={"safe_serialization": False}),
    lora("conv1d_of_gpt2", "tiny_gpt2", "Transformers' Conv1D", ["c_attn"], fan_in_fan_out=True),
    lora("bias_all", "perceptron", "bias: all", LINEAR, bias="all"),
    lora("bias_lora_only", "perceptron", "bias: lora_only", LINEAR, bias="lora_only"),
    lora("modules_to_save", "perceptron", "a whole module beside it", LINEAR, modules_to_save=["head"]),
    lora(
        "sequence_classification",
        "tiny_bert_classifier",
        "a head that the task type adds to modules_to_save",
        ["query", "value"],
        task_type="SEQ_CLS",
    ),
    lora("plain_embedding", "embedding_net", "nn.Embedding of a plain module", ["emb", "lin"], r=3),
    lora("embed_tokens", "tiny_llama", "the input embedding as a target", ["embed_tokens", "q_proj"]),
    lora("conv2d", "conv2d_net", "nn.Conv2d", ["conv", "pointwise"], r=3),
    lora("grouped_conv", "grouped_conv_net", "nn.Conv2d in two groups", ["conv"], since="0.7.0", r=4),
    lora("layers_to_transform", "tiny_llama", "one layer alone", QV, layers_to_transform=[1]),
    lora("layers_of_numbered_experts", "numbered_experts", "layers_to_transform where the path holds two numbers",
         ["up_proj"], layers_to_transform=[1]),
    lora("regex_targets", "tiny_llama", "a regex", r".*\.1\.self_attn\.(q|k)_proj"),
    lora("named_zero", "tiny_llama", "an adapter called `0`, as a layer", QV, adapter_name="0"),
    lora("named_self_attn", "tiny_llama", "an adapter called as a module", QV, adapter_name="self_attn"),
    lora("rank_pattern", "tiny_llama", "another rank for one module", QV, since="0.7.0", rank_pattern={"v_proj": 3}),
    lora("alpha_pattern", "tiny_llama", "another alpha for one module", QV, since="0.7.0", alpha_pattern={"v_proj": 9}),
    lora(
        "both_patterns",
        "tiny_llama",
        "a rank and an alpha pattern with different keys that hit one module",
        QV,
        since="0.7.0",
        rank_pattern={"v_proj": 3},
        alpha_pattern={"1.self_attn.v_proj": 9},
    ),
    lora(
        "both_patterns_one_key",
        "tiny_llama",
        "a rank and an alpha pattern with the same key",
        QV,
        since="0.7.0",
        rank_pattern={"v_proj": 3},
        alpha_pattern={"v_proj": 9},
    ),
    lora(
        "pattern_of_top_level_module",
        "perceptron",
        "patterns that are regexes for modules without a parent",
        LINEAR,
        since="0.7.0",
        rank_pattern={"lin[1]": 3},
        alpha_pattern={"^lin0": 9},
    ),
    lora("rslora", "tiny_llama", "use_rslora", QV, since="0.8.0", use_rslora=True),
    lora("dora", "tiny_llama", "use_dora", QV, since="0.9.0", use_dora=True),
    lora("dora_conv2d", "conv2d_net", "use_dora on nn.Conv2d", ["conv"], since="0.10.0", use_dora=True),
    lora("dora_embedding", "embedding_net", "use_dora on nn.Embedding", ["emb"], since="0.13.0", use_dora=True),
    lora("layer_replication", "tiny_llama", "layers repeated", QV, since="0.10.0", layer_replication=[[0, 2], [1, 2]]),
    lora("pissa", "perceptron", "init_lora_weights: pissa", LINEAR, since="0.11.0", init_lora_weights="pissa"),
    lora("pissa_niter", "perceptron", "pissa by a randomised SVD", LINEAR, since="0.11.0",
         init_lora_weights="pissa_niter_2"),
    lora(
        "converted_pissa",
        "perceptron",
        "pissa converted to plain LoRA while saving",
        LINEAR,
        since="0.11.0",
        until="0.11.1",
        init_lora_weights="pissa",
        save={"convert_pissa_to_lora": "initial"},
    ),
    lora(
        "converted_pissa",
        "perceptron",
        "pissa converted to plain LoRA while saving",
        LINEAR,
        since="0.12.0",
        init_lora_weights="pissa",
        save={"path_initial_model_for_weight_conversion": "initial"},
    ),
    lora("olora", "perceptron", "init_lora_weights: olora", LINEAR, since="0.12.0", init_lora_weights="olora"),
    lora("lora_bias", "perceptron", "lora_bias", LINEAR, since="0.14.0", lora_bias=True),
    lora("trainable_tokens", "tiny_llama", "trainable_token_indices", QV, since="0.15.0",
         trainable_token_indices=[3, 5]),
    lora("multihead_attention", "attention_net", "nn.MultiheadAttention", ["mha", "lin"], since="0.15.0"),
    lora("conv1d", "conv1d_net", "nn.Conv1d", ["conv"], since="0.15.0"),
    lora("orthogonal", "perceptron", "init_lora_weights: orthogonal", LINEAR, since="0.16.0",
         init_lora_weights="orthogonal"),
    lora("expert_parameter", "moe_net", "a 3-d parameter", [], since="0.17.0",
         target_parameters=["experts.up_proj"]),
    lora("alora", "tiny_llama", "an activated LoRA", QV, since="0.18.0", alora_invocation_tokens=[7, 8]),
]  # fmt: skip

LOW_RANK = [
    Recipe("adalora_plain", "configured_perceptron", "AdaLoraConfig", "before any pruning, total_step given",
           {**ADALORA, "target_r": 2,
            "total_step": 20, "tinit": 2, "tfinal": 4}),
    Recipe("adalora_total_step_null", "configured_perceptron", "AdaLoraConfig", "total_step left at null",
           {**ADALORA, "target_r": 2},
           until="0.14.0"),
    Recipe("adalora_pruned", "configured_perceptron", "AdaLoraConfig",
           "ranks pruned by 8 steps of training: rank_pattern",
           {**ADALORA, "target_r": 1,
            "total_step": 8, "tinit": 1, "tfinal": 2}, training="prune_ranks"),
    Recipe("loha_plain", "tiny_llama", "LoHaConfig", "linear layers",
           {"r": 2, "alpha": 3, "target_modules": MLP, "task_type": "CAUSAL_LM"}, since="0.6.0"),
    Recipe("loha_conv2d", "conv2d_net", "LoHaConfig", "a convolution through its effective form",
           {"r": 2, "alpha": 3, "target_modules": ["conv", "pointwise"], "use_effective_conv2d": True}, since="0.6.0"),
    Recipe("lokr_plain", "tiny_llama", "LoKrConfig", "linear layers, alpha unlike the rank",
           {"r": 2, "alpha": 3, "target_modules": MLP, "task_type": "CAUSAL_LM"}, since="0.6.0"),
    Recipe("lokr_alpha_equals_rank", "tiny_llama", "LoKrConfig", "linear layers, alpha equal to the rank",
           {"r": 2, "alpha": 2, "target_modules": MLP, "task_type": "CAUSAL_LM"}, since="0.6.0"),
    Recipe("lokr_decompose_both", "perceptron", "LoKrConfig", "both factors decomposed",
           {"r": 1, "alpha": 1, "target_modules": LINEAR, "decompose_both": True, "decompose_factor": 4},
           since="0.6.0"),
    Recipe("lokr_conv2d", "conv2d_net", "LoKrConfig", "a convolution through its effective form",
           {"r": 1, "alpha": 1, "target_modules": ["conv", "pointwise"], "use_effective_conv2d": True}, since="0.6.0"),
    Recipe("poly_plain", "tiny_llama", "PolyConfig", "two tasks, two skills",
           {"r": 2, "n_tasks": 2, "n_skills": 2, "n_splits": 1, **CAUSAL},
           since="0.8.0", inputs={"task_ids": [0, 1]}),
    Recipe("vera_plain", "tiny_llama", "VeraConfig", "the projections are saved",
           {"r": 3, **CAUSAL, "target_modules": ["q_proj", "o_proj"]}, since="0.11.0"),
    Recipe("vera_without_projection", "tiny_llama", "VeraConfig", "save_projection: false",
           {"r": 3, **CAUSAL, "target_modules": ["q_proj", "o_proj"], "save_projection": False}, since="0.11.0"),
    Recipe("vera_two_widths", "tiny_llama", "VeraConfig", "modules of different sizes share the projections",
           {"r": 3, **CAUSAL}, since="0.12.0"),
    Recipe("vblora_plain", "tiny_llama", "VBLoRAConfig", "a vector bank and logits",
           {"r": 2, "num_vectors": 5, "vector_length": 6, "topk": 2, "target_modules": ["q_proj"],
            "task_type": "CAUSAL_LM"}, since="0.13.0"),
    Recipe("vblora_topk", "tiny_llama", "VBLoRAConfig", "save_only_topk_weights",
           {"r": 2, "num_vectors": 5, "vector_length": 6, "topk": 2, "target_modules": ["q_proj"],
            "task_type": "CAUSAL_LM", "save_only_topk_weights": True}, since="0.13.0"),
    Recipe("xlora_plain", "tiny_llama", "XLoraConfig", "a router of depth 2 over two LoRA adapters",
           {"hidden_size": 12, "xlora_depth": 2, "xlora_size": 5, "task_type": "CAUSAL_LM",
            "adapters": {"0": "experts/first", "1": "experts/second"}},
           since="0.12.0", base_settings={"use_cache": False},
           experts={"first": {"r": 2, "lora_alpha": 4, **CAUSAL},
                    "second": {"r": 2, "lora_alpha": 6, **CAUSAL}}),
    Recipe("bone_plain", "tiny_llama", "BoneConfig", "init_weights: true",
           {"r": 3, **CAUSAL}, since="0.14.0", until="0.18.1"),
    Recipe("bone_bat", "tiny_llama", "BoneConfig", "init_weights: bat",
           {"r": 3, **CAUSAL, "init_weights": "bat"},
           since="0.14.0", until="0.18.1"),
    Recipe("miss_plain", "tiny_llama", "MissConfig", "init_weights: true",
           {"r": 3, **CAUSAL}, since="0.17.0"),
    Recipe("miss_bat", "tiny_llama", "MissConfig", "init_weights: bat",
           {"r": 3, **CAUSAL, "init_weights": "bat"}, since="0.17.0"),
    Recipe("miss_mini", "tiny_llama", "MissConfig", "init_weights: mini",
           {"r": 3, "mini_r": 2, **CAUSAL, "init_weights": "mini"},
           since="0.17.0"),
    Recipe("randlora_plain", "tiny_llama", "RandLoraConfig", "the projections are saved",
           {"r": 3, "randlora_alpha": 6, **CAUSAL}, since="0.16.0"),
    Recipe("randlora_without_projection", "tiny_llama", "RandLoraConfig", "save_projection: false",
           {"r": 3, "randlora_alpha": 6, **CAUSAL, "save_projection": False},
           since="0.16.0"),
    Recipe("c3a_plain", "tiny_llama", "C3AConfig", "blocks of 6",
           {"block_size": 6, **CAUSAL}, since="0.16.0"),
    Recipe("delora_plain", "tiny_llama", "DeloraConfig", "linear layers",
           {"r": 2, **CAUSAL}, since="0.18.0"),
]  # fmt: skip

ORTHOGONAL = [
    Recipe("oft_plain", "tiny_llama", "OFTConfig", "3 blocks a layer",
           {"r": 3, **CAUSAL}, since="0.7.0", until="0.13.2"),
    Recipe("oft_coft", "tiny_llama", "OFTConfig", "constrained, with a small eps",
           {"r": 3, **CAUSAL, "coft": True, "eps": 0.05},
           since="0.7.0", until="0.13.2"),
    Recipe("oft_block_share", "tiny_llama", "OFTConfig", "one block shared",
           {"r": 3, **CAUSAL, "block_share": True},
           since="0.7.0", until="0.13.2"),
    Recipe("oft_conv2d", "conv2d_net", "OFTConfig", "a convolution",
           {"r": 2, "target_modules": ["conv"]}, since="0.7.0", until="0.13.2"),
    Recipe("oft_plain", "tiny_llama", "OFTConfig", "3 blocks a layer, r given",
           {"r": 3, "oft_block_size": 0, **CAUSAL}, since="0.14.0"),
    Recipe("oft_block_size", "tiny_llama", "OFTConfig", "blocks of 4, the block size given",
           {"r": 0, "oft_block_size": 4, **CAUSAL}, since="0.14.0"),
    Recipe("oft_block_share", "tiny_llama", "OFTConfig", "one block shared",
           {"r": 0, "oft_block_size": 4, **CAUSAL, "block_share": True},
           since="0.14.0"),
    Recipe("oft_without_series", "tiny_llama", "OFTConfig", "use_cayley_neumann: false",
           {"r": 0, "oft_block_size": 4, **CAUSAL, "use_cayley_neumann": False},
           since="0.16.0"),
    Recipe("oft_coft", "tiny_llama", "OFTConfig", "constrained, with a small eps",
           {"r": 0, "oft_block_size": 4, **CAUSAL, "coft": True, "eps": 0.05},
           since="0.14.0"),
    Recipe("oft_conv2d", "conv2d_net", "OFTConfig", "a pointwise convolution",
           {"r": 0, "oft_block_size": 3, "target_modules": ["pointwise"]}, since="0.14.0"),
    Recipe("boft_plain", "tiny_llama", "BOFTConfig", "blocks of 4",
           {"boft_block_size": 4, "boft_n_butterfly_factor": 1, **CAUSAL},
           since="0.11.0"),
    Recipe("boft_conv2d", "conv2d_net", "BOFTConfig", "a pointwise convolution, bias: all",
           {"boft_block_size": 2, "boft_n_butterfly_factor": 1, "target_modules": ["pointwise"], "bias": "all"},
           since="0.11.0"),
    Recipe("hra_plain", "tiny_llama", "HRAConfig", "reflections",
           {"r": 2, **CAUSAL}, since="0.12.0"),
    Recipe("hra_gram_schmidt", "tiny_llama", "HRAConfig", "apply_GS",
           {"r": 2, **CAUSAL, "apply_GS": True}, since="0.12.0"),
    Recipe("road_plain", "tiny_llama", "RoadConfig", "road_1",
           {"variant": "road_1", "group_size": 2, **CAUSAL}, since="0.18.0"),
    Recipe("osf_plain", "tiny_llama", "OSFConfig", "half of the rank is frozen",
           {"effective_rank": 3, "target_modules": ["v_proj"], "task_type": "CAUSAL_LM"}, since="0.18.0"),
]  # fmt: skip

OTHERS = [
    Recipe("ia3_plain", "tiny_llama", "IA3Config", "attention and a feed-forward layer",
           {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"],
            "task_type": "CAUSAL_LM"}),
    Recipe("ia3_conv2d", "conv2d_net", "IA3Config", "a convolution",
           {"target_modules": ["conv"], "feedforward_modules": []}, since="0.5.0"),
    Recipe("ln_tuning_plain", "tiny_llama", "LNTuningConfig", "norms",
           {"target_modules": ["input_layernorm"], "task_type": "CAUSAL_LM"}, since="0.11.0"),
    Recipe("fourierft_plain", "tiny_llama", "FourierFTConfig", "30 frequencies",
           {"n_frequency": 30, "scaling": 50.0, **CAUSAL}, since="0.12.0"),
    Recipe("waveft_plain", "tiny_llama", "WaveFTConfig", "30 frequencies",
           {"n_frequency": 30, **CAUSAL}, since="0.18.0"),
    Recipe("shira_plain", "tiny_llama", "ShiraConfig", "a sparse mask",
           {"r": 2, "random_seed": 5, **CAUSAL}, since="0.17.0"),
    Recipe("trainable_tokens_plain", "tiny_llama", "TrainableTokensConfig", "three tokens",
           {"token_indices": [1, 5, 7], "target_modules": ["embed_tokens"], "task_type": "CAUSAL_LM"},
           since="0.15.0"),
    Recipe("trainable_tokens_tied", "tiny_llama_tied", "TrainableTokensConfig", "a tied head",
           {"token_indices": [1, 5, 7], "target_modules": ["embed_tokens"], "task_type": "CAUSAL_LM"},
           since="0.15.0"),
    Recipe("prompt_tuning_plain", "tiny_llama", "PromptTuningConfig", "three virtual tokens",
           {"num_virtual_tokens": 3, "task_type": "CAUSAL_LM"}),
    Recipe("prompt_tuning_classifier", "tiny_bert_classifier", "PromptTuningConfig",
           "a classifier, stored though modules_to_save does not name it (before 0.17)",
           {"num_virtual_tokens": 3, "task_type": "SEQ_CLS"}),
    Recipe("p_tuning_plain", "tiny_llama", "PromptEncoderConfig", "an MLP that is not stored",
           {"num_virtual_tokens": 3, "encoder_hidden_size": 8, "task_type": "CAUSAL_LM"}),
    Recipe("prefix_tuning_plain", "tiny_gpt2", "PrefixTuningConfig", "keys and values of three tokens",
           {"num_virtual_tokens": 3, "task_type": "CAUSAL_LM"}),
    Recipe("prefix_tuning_projection", "tiny_gpt2", "PrefixTuningConfig", "prefix_projection",
           {"num_virtual_tokens": 3, "prefix_projection": True, "encoder_hidden_size": 8, "task_type": "CAUSAL_LM"}),
    Recipe("prefix_tuning_grouped_queries", "tiny_llama", "PrefixTuningConfig", "a base with one key-value head",
           {"num_virtual_tokens": 3, "task_type": "CAUSAL_LM"}, since="0.14.0"),
    Recipe("multitask_prompt_tuning_plain", "tiny_llama", "MultitaskPromptTuningConfig", "two tasks",
           {"num_virtual_tokens": 3, "num_tasks": 2, "num_ranks": 2, "num_transformer_submodules": 1,
            "task_type": "CAUSAL_LM"}, since="0.6.0", inputs={"task_ids": [0, 1]}),
    Recipe("cpt_plain", "tiny_llama", "CPTConfig", "four tokens",
           {"cpt_token_ids": [1, 5, 7, 3], "cpt_mask": [1, 1, 1, 1], "cpt_tokens_type_mask": [1, 2, 3, 4],
            "task_type": "CAUSAL_LM"}, since="0.14.0"),
    Recipe("adaption_prompt_plain", "tiny_llama_ungrouped", "AdaptionPromptConfig", "the last layer",
           {"adapter_len": 3, "adapter_layers": 1, "task_type": "CAUSAL_LM"}),
]  # fmt: skip

RECIPES = [*LORA, *LOW_RANK, *ORTHOGONAL, *OTHERS]


def of_release(release: str) -> list[Recipe]:
    """The recipes that a release writes."""
    written = [recipe for recipe in RECIPES if recipe.in_release(release)]
    return [recipe for recipe in written if recipe.name in SHORT.get(release, {recipe.name})]
