"""Golden recipes: methods whose modules share random projections, a vector or a bank."""

from __future__ import annotations

from tests.golden.recipe import method

LINEAR = ["lin0", "lin1"]
UNEQUAL = ["lin0", "lin1", "lin2"]
CAUSAL = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]}

VERA = [
    method("VERA", "saved", "even_perceptron", "modules of unequal sizes under one pair", target_modules=UNEQUAL, r=2),
    method(
        "VERA",
        "unsaved",
        "even_perceptron",
        "save_projection=false: the pair is drawn again on loading",
        target_modules=UNEQUAL,
        r=2,
        save_projection=False,
        projection_prng_key=5,
    ),
    method("VERA", "llama", "tiny_llama", "a language model", r=3, d_initial=0.5, **CAUSAL),
    method(
        "VERA",
        "bias_vera_only",
        "even_perceptron",
        "the biases of adapted modules",
        target_modules=LINEAR,
        r=2,
        bias="vera_only",
    ),
    method("VERA", "gpt2", "tiny_gpt2", "Transformers' Conv1D", target_modules=["c_attn"], fan_in_fan_out=True, r=2),
    method(
        "VERA",
        "several",
        "even_perceptron",
        "two adapters under one pair, saved at once",
        {"others": {"second": {"target_modules": ["lin0", "lin1"], "r": 2}}},
        target_modules=LINEAR,
        r=2,
    ),
    method(
        "VERA",
        "resized_vocabulary",
        "tiny_llama_resized",
        "a resized vocabulary: whole embeddings beside the vectors",
        r=2,
        **CAUSAL,
    ),
]

PVERA = [
    method("PVERA", "saved", "even_perceptron", "A has twice the rank", target_modules=UNEQUAL, r=2),
    method(
        "PVERA",
        "unsaved",
        "even_perceptron",
        "save_projection=false: the pair is drawn again on loading",
        target_modules=UNEQUAL,
        r=2,
        save_projection=False,
    ),
    method("PVERA", "gpt2", "tiny_gpt2", "Transformers' Conv1D", target_modules=["c_attn"], r=2, fan_in_fan_out=True),
]

RANDLORA = [
    method(
        "RANDLORA",
        "saved",
        "even_perceptron",
        "the bases once for the model and once for each module",
        target_modules=UNEQUAL,
        r=3,
        randlora_alpha=6,
    ),
    method(
        "RANDLORA",
        "unsaved",
        "even_perceptron",
        "save_projection=false: the bases are drawn again on loading",
        target_modules=UNEQUAL,
        r=3,
        randlora_alpha=6,
        save_projection=False,
    ),
    method(
        "RANDLORA",
        "sparse",
        "tiny_llama",
        "ternary bases",
        r=4,
        randlora_alpha=8,
        sparse=True,
        **CAUSAL,
    ),
    method(
        "RANDLORA",
        "gpt2",
        "tiny_gpt2",
        "Transformers' Conv1D",
        target_modules=["c_attn"],
        fan_in_fan_out=True,
        r=4,
        randlora_alpha=8,
    ),
]

TINYLORA = [
    method("TINYLORA", "saved", "even_perceptron", "one vector for each module", target_modules=UNEQUAL, u=4),
    method(
        "TINYLORA",
        "unsaved",
        "even_perceptron",
        "save_projection=false: P is drawn again on loading",
        target_modules=UNEQUAL,
        u=4,
        save_projection=False,
    ),
    method(
        "TINYLORA",
        "tied",
        "tiny_llama",
        "weight_tying: four modules share two vectors",
        u=3,
        weight_tying=0.5,
        **CAUSAL,
    ),
    method("TINYLORA", "embedding", "embedding_net", "an embedding", target_modules=["emb", "lin"], u=4),
    method(
        "TINYLORA", "clipped_rank", "even_perceptron", "a rank above a side, clipped", target_modules=["head"], r=6, u=3
    ),
    method(
        "TINYLORA", "gpt2", "tiny_gpt2", "Transformers' Conv1D", target_modules=["c_attn"], fan_in_fan_out=True, u=3
    ),
]

UNILORA = [
    method(
        "UNILORA",
        "theta_alone",
        "even_perceptron",
        "one vector is the whole file; no key names a module",
        target_modules=UNEQUAL,
        r=2,
        theta_d_length=16,
    ),
    method(
        "UNILORA",
        "saved_indices",
        "even_perceptron",
        "save_indices: integer indices and scales of each module",
        target_modules=UNEQUAL,
        r=2,
        theta_d_length=16,
        save_indices=True,
    ),
    method("UNILORA", "llama", "tiny_llama", "a language model", r=2, theta_d_length=10, proj_seed=3, **CAUSAL),
    method(
        "UNILORA",
        "gpt2",
        "tiny_gpt2",
        "Transformers' Conv1D",
        target_modules=["c_attn"],
        fan_in_fan_out=True,
        r=1,
        theta_d_length=12,
    ),
    method(
        "UNILORA",
        "bf16_base",
        "tiny_llama_bf16",
        "a bfloat16 base: the scales are float32 all the same",
        {"tolerance": 0.05},
        r=1,
        theta_d_length=10,
        save_indices=True,
        **CAUSAL,
    ),
]

VBLORA = [
    method(
        "VBLORA",
        "logits",
        "even_perceptron",
        "logits over the whole bank",
        target_modules=UNEQUAL,
        r=2,
        num_vectors=5,
        vector_length=4,
    ),
    method(
        "VBLORA",
        "topk",
        "even_perceptron",
        "save_only_topk_weights: indices of a byte and all weights but the last",
        target_modules=UNEQUAL,
        r=2,
        num_vectors=5,
        vector_length=4,
        topk=3,
        save_only_topk_weights=True,
    ),
    method(
        "VBLORA",
        "topk_one",
        "even_perceptron",
        "one vector of the bank: weights of size zero",
        target_modules=LINEAR,
        r=2,
        num_vectors=5,
        vector_length=4,
        topk=1,
        save_only_topk_weights=True,
    ),
    method(
        "VBLORA",
        "large_bank",
        "tiny_llama",
        "256 vectors, as by default: indices of two bytes",
        r=1,
        num_vectors=256,
        vector_length=3,
        save_only_topk_weights=True,
        **CAUSAL,
    ),
    method(
        "VBLORA",
        "gpt2",
        "tiny_gpt2",
        "Transformers' Conv1D",
        target_modules=["c_attn"],
        fan_in_fan_out=True,
        r=1,
        num_vectors=6,
        vector_length=6,
    ),
]

FROD = [
    method(
        "FROD",
        "saved",
        "even_perceptron",
        "V and the sparse places of each category",
        target_modules=UNEQUAL,
        sparse_rate=0.1,
        progressbar=False,
    ),
    method(
        "FROD",
        "unsaved",
        "even_perceptron",
        "save_projection=false: V and the places are made again on loading",
        target_modules=UNEQUAL,
        sparse_rate=0.1,
        save_projection=False,
        progressbar=False,
    ),
    method(
        "FROD",
        "bert",
        "tiny_bert_classifier",
        "categories that span layers; attention_output is one; a classifier",
        task_type="SEQ_CLS",
        target_modules=["query", "attention.output.dense"],
        sparse_rate=0.02,
        progressbar=False,
    ),
    method(
        "FROD",
        "dense_diagonal",
        "even_perceptron",
        "sparse_rate 0: empty places and values",
        target_modules=LINEAR,
        sparse_rate=0.0,
        progressbar=False,
    ),
    method(
        "FROD",
        "gpt2",
        "tiny_gpt2",
        "Transformers' Conv1D, and two categories",
        target_modules=["c_attn", "c_fc"],
        fan_in_fan_out=True,
        progressbar=False,
    ),
]

GOLDENS = [*VERA, *PVERA, *RANDLORA, *TINYLORA, *UNILORA, *VBLORA, *FROD]
