"""Golden recipes: prompts and prefixes, whose keys have no prefix."""

from __future__ import annotations

from typing import Any

from tests.golden.recipe import Golden, method


def prompt(
    peft_type: str, setting: str, shows: str, base: str = "tiny_llama", also: dict[str, Any] | None = None, **more: Any
) -> Golden:
    """A golden of a prompt method over a causal language model, with three virtual tokens."""
    return method(peft_type, setting, base, shows, also, **{"task_type": "CAUSAL_LM", "num_virtual_tokens": 3, **more})


PROMPT_TUNING = [
    prompt("PROMPT_TUNING", "causal", "embeddings before the input"),
    prompt("PROMPT_TUNING", "sampled", "initialised from the vocabulary", prompt_tuning_init="SAMPLE_VOCAB"),
    prompt("PROMPT_TUNING", "classifier", "a classifier beside them", "tiny_bert_classifier", task_type="SEQ_CLS"),
    prompt(
        "PROMPT_TUNING",
        "encoder_decoder",
        "rows for the encoder, then as many for the decoder, which nothing reads",
        "tiny_t5",
        task_type="SEQ_2_SEQ_LM",
    ),
    prompt("PROMPT_TUNING", "bf16_base", "a bfloat16 base", "tiny_llama_bf16", {"tolerance": 0.05}),
    prompt("PROMPT_TUNING", "modules_to_save", "a whole head", modules_to_save=["lm_head"]),
    prompt(
        "PROMPT_TUNING",
        "encoder_alone",
        "an encoder-decoder with one submodule: rows for the encoder alone",
        "tiny_t5",
        task_type="SEQ_2_SEQ_LM",
        num_transformer_submodules=1,
    ),
]

P_TUNING = [
    prompt("P_TUNING", "mlp", "what a perceptron put out", encoder_hidden_size=8),
    prompt(
        "P_TUNING",
        "lstm",
        "what an LSTM put out",
        encoder_reparameterization_type="LSTM",
        encoder_hidden_size=8,
        encoder_num_layers=1,
    ),
    prompt(
        "P_TUNING",
        "classifier",
        "a classifier beside it",
        "tiny_bert_classifier",
        task_type="SEQ_CLS",
        encoder_hidden_size=8,
    ),
    prompt(
        "P_TUNING",
        "encoder_decoder",
        "rows for the decoder too, which nothing reads",
        "tiny_t5",
        task_type="SEQ_2_SEQ_LM",
        encoder_hidden_size=8,
    ),
]

PREFIX_TUNING = [
    prompt("PREFIX_TUNING", "gpt2", "keys and values of every layer", "tiny_gpt2"),
    prompt("PREFIX_TUNING", "grouped_queries", "fewer key-value heads than heads"),
    prompt(
        "PREFIX_TUNING",
        "projection",
        "what a projection put out",
        "tiny_gpt2",
        prefix_projection=True,
        encoder_hidden_size=8,
    ),
    prompt(
        "PREFIX_TUNING",
        "encoder_decoder",
        "no second half for the decoder",
        "tiny_t5",
        task_type="SEQ_2_SEQ_LM",
    ),
    prompt("PREFIX_TUNING", "classifier", "a classifier beside it", "tiny_llama_classifier", task_type="SEQ_CLS"),
    prompt("PREFIX_TUNING", "bf16_base", "a bfloat16 base", "tiny_llama_bf16", {"tolerance": 0.05}),
]

MULTITASK_PROMPT_TUNING = [
    prompt(
        "MULTITASK_PROMPT_TUNING",
        "causal",
        "rows and columns of two tasks",
        also={"inputs": {"task_ids": [0, 1]}},
        num_tasks=2,
        num_ranks=2,
    ),
    prompt(
        "MULTITASK_PROMPT_TUNING",
        "one_task",
        "the defaults: one task, one rank",
        "tiny_gpt2",
        also={"inputs": {"task_ids": [0, 0]}},
    ),
    prompt(
        "MULTITASK_PROMPT_TUNING",
        "encoder_decoder",
        "tokens for encoder and decoder",
        "tiny_t5_labelled",
        also={"inputs": {"task_ids": [2, 0]}},
        task_type="SEQ_2_SEQ_LM",
        num_tasks=3,
    ),
]

CARTRIDGE = [
    prompt("CARTRIDGE", "gpt2", "keys and values, the first token frozen", "tiny_gpt2"),
    prompt("CARTRIDGE", "unfrozen", "grouped queries, no token frozen", num_frozen_tokens=0),
    prompt("CARTRIDGE", "frozen", "two of three tokens frozen", num_frozen_tokens=2),
]

CPT = [
    method("CPT", "default", "tiny_llama", "one token, the default", task_type="CAUSAL_LM"),
    method(
        "CPT",
        "typed",
        "tiny_llama",
        "an example of typed tokens",
        task_type="CAUSAL_LM",
        cpt_token_ids=[5, 9, 12, 30],
        cpt_mask=[1, 1, 1, 1],
        cpt_tokens_type_mask=[1, 2, 3, 4],
        opt_weighted_loss_type="decay",
        opt_loss_decay_factor=0.9,
    ),
]

GOLDENS = [*PROMPT_TUNING, *P_TUNING, *PREFIX_TUNING, *MULTITASK_PROMPT_TUNING, *CARTRIDGE, *CPT]
