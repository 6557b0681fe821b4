"""Golden recipes: few values at chosen places, in a spectrum, in a circle or in rows of tokens."""

from __future__ import annotations

from tests.golden.recipe import method

LINEAR = ["lin0", "lin1"]
CAUSAL = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]}

C3A = [
    method("C3A", "linear", "even_perceptron", "circulant blocks", target_modules=LINEAR, block_size=4),
    method(
        "C3A",
        "pattern",
        "tiny_llama",
        "block sizes by pattern, and by a full path",
        block_size=6,
        block_size_pattern={"v_proj": 3, "model.layers.0.self_attn.q_proj": 2},
        **CAUSAL,
    ),
    method(
        "C3A",
        "top_level_pattern",
        "even_perceptron",
        "a pattern that is the whole path",
        target_modules=LINEAR,
        block_size=4,
        block_size_pattern={"lin0": 8},
    ),
    method(
        "C3A", "bias_c3a_only", "even_perceptron", "the biases", target_modules=["lin0"], block_size=8, bias="c3a_only"
    ),
]

FOURIERFT = [
    method("FOURIERFT", "linear", "perceptron", "two linear layers", target_modules=LINEAR, n_frequency=10),
    method(
        "FOURIERFT",
        "pattern",
        "tiny_llama",
        "numbers of frequencies by pattern, another seed",
        n_frequency=6,
        n_frequency_pattern={"v_proj": 4, "1.self_attn.q_proj": 9},
        random_loc_seed=5,
        scaling=60.0,
        **CAUSAL,
    ),
    method(
        "FOURIERFT",
        "gpt2",
        "tiny_gpt2",
        "Transformers' Conv1D",
        target_modules=["c_attn"],
        n_frequency=8,
        fan_in_fan_out=True,
    ),
]

WAVEFT = [
    method("WAVEFT", "linear", "perceptron", "the inverse transform of db1", target_modules=LINEAR, n_frequency=10),
    method(
        "WAVEFT",
        "without_transform",
        "perceptron",
        "use_idwt=false: the values lie in the weight itself",
        target_modules=LINEAR,
        n_frequency=10,
        use_idwt=False,
    ),
    method(
        "WAVEFT",
        "proportional",
        "even_perceptron",
        "proportional_parameters: as many values as the module is large",
        target_modules=[*LINEAR, "lin2"],
        n_frequency=12,
        proportional_parameters=True,
        wavelet_family="db2",
    ),
    method(
        "WAVEFT",
        "pattern",
        "tiny_llama",
        "numbers by pattern, another family",
        n_frequency=6,
        n_frequency_pattern={"v_proj": 4, r"layers\.1\..*q_proj": 9},
        wavelet_family="sym3",
        **CAUSAL,
    ),
    method(
        "WAVEFT",
        "gpt2",
        "tiny_gpt2",
        "Transformers' Conv1D",
        target_modules=["c_attn"],
        fan_in_fan_out=True,
        n_frequency=8,
    ),
]

SHIRA = [
    method("SHIRA", "linear", "perceptron", "values and their places", target_modules=LINEAR, r=1, random_seed=3),
    method("SHIRA", "unseeded", "perceptron", "places that no seed repeats", target_modules=LINEAR, r=2),
    method("SHIRA", "llama", "tiny_llama", "a language model", r=1, random_seed=0, **CAUSAL),
    method(
        "SHIRA",
        "modules_to_save",
        "perceptron",
        "a whole module",
        target_modules=["lin0"],
        r=1,
        modules_to_save=["head"],
    ),
]

SUPERTUNING = [
    method("SUPERTUNING", "linear", "perceptron", "the largest tenth", target_modules=LINEAR, sparsity=0.9),
    method(
        "SUPERTUNING",
        "without_indices",
        "perceptron",
        "save_precomputed_indices=false: the base tells the places",
        target_modules=LINEAR,
        sparsity=0.9,
        save_precomputed_indices=False,
    ),
    method(
        "SUPERTUNING",
        "low_rank",
        "tiny_llama",
        "a low-rank pair beside the smallest values",
        sparsity=0.95,
        select_top=False,
        r=2,
        lora_alpha=4,
        **CAUSAL,
    ),
]

TRAINABLE_TOKENS = [
    method("TRAINABLE_TOKENS", "embedding", "tiny_llama", "rows of the input embedding", token_indices=[3, 7, 12]),
    method(
        "TRAINABLE_TOKENS",
        "head",
        "tiny_llama",
        "rows of embedding and head",
        target_modules=["embed_tokens", "lm_head"],
        token_indices=[5, 21],
        task_type="CAUSAL_LM",
    ),
    method(
        "TRAINABLE_TOKENS",
        "tied",
        "tiny_llama_tied",
        "a head tied to the embedding: equal rows under both",
        token_indices=[7, 9, 30],
        task_type="CAUSAL_LM",
    ),
    method(
        "TRAINABLE_TOKENS",
        "plain_module",
        "embedding_net",
        "an embedding by its name",
        target_modules=["emb"],
        token_indices=[1, 28],
    ),
    method(
        "TRAINABLE_TOKENS",
        "bf16_base",
        "tiny_llama_bf16",
        "a bfloat16 base",
        {"tolerance": 0.05},
        token_indices=[7],
        task_type="CAUSAL_LM",
    ),
]

GOLDENS = [*C3A, *FOURIERFT, *WAVEFT, *SHIRA, *SUPERTUNING, *TRAINABLE_TOKENS]
