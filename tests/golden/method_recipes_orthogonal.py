"""Golden recipes: rotations, scalings, biases, copies and factors of the base's own weights."""

from __future__ import annotations

from tests.golden.recipe import add_noise_and_run, method

LINEAR = ["lin0", "lin1"]
CAUSAL = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]}

OFT = [
    method(
        "OFT",
        "block_size",
        "even_perceptron",
        "the size of the blocks is given",
        target_modules=LINEAR,
        oft_block_size=4,
    ),
    method(
        "OFT", "r", "even_perceptron", "the number of blocks is given", target_modules=LINEAR, r=2, oft_block_size=0
    ),
    method(
        "OFT",
        "block_share",
        "even_perceptron",
        "one block for all",
        target_modules=LINEAR,
        oft_block_size=4,
        block_share=True,
    ),
    method(
        "OFT",
        "coft",
        "even_perceptron",
        "coft: the rotation is bounded",
        target_modules=LINEAR,
        oft_block_size=4,
        coft=True,
        eps=0.5,
    ),
    method(
        "OFT",
        "exact_cayley",
        "even_perceptron",
        "the Cayley transform itself in place of the series",
        target_modules=LINEAR,
        oft_block_size=4,
        use_cayley_neumann=False,
    ),
    method(
        "OFT",
        "adjusted",
        "tiny_llama",
        "a block size that divides no side: the nearest divisor is taken",
        oft_block_size=5,
        **CAUSAL,
    ),
    method(
        "OFT",
        "conv2d",
        "square_conv_net",
        "a square kernel",
        target_modules=["conv", "lin"],
        oft_block_size=6,
    ),
    method("OFT", "embedding", "embedding_net", "an embedding", target_modules=["emb", "lin"], oft_block_size=4),
    method("OFT", "bias_all", "even_perceptron", "bias=all", target_modules=["lin0"], oft_block_size=2, bias="all"),
    method(
        "OFT",
        "smallest_blocks",
        "even_perceptron",
        "as many blocks as inputs: blocks of one, with no value, beside blocks of two",
        target_modules=LINEAR,
        r=8,
        oft_block_size=0,
    ),
]

BOFT = [
    method(
        "BOFT",
        "block_size",
        "even_perceptron",
        "the size of the blocks is given",
        target_modules=LINEAR,
        boft_block_size=4,
    ),
    method(
        "BOFT",
        "block_num",
        "even_perceptron",
        "the number of blocks is given",
        target_modules=LINEAR,
        boft_block_size=0,
        boft_block_num=4,
    ),
    method(
        "BOFT",
        "conv2d",
        "square_conv_net",
        "a square kernel: the scale lies the other way",
        target_modules=["conv"],
        boft_block_size=3,
    ),
    method(
        "BOFT",
        "bias_boft_only",
        "even_perceptron",
        "the biases of adapted modules",
        target_modules=["lin0", "lin2"],
        boft_block_size=2,
        bias="boft_only",
    ),
    method(
        "BOFT",
        "butterfly",
        "even_perceptron",
        "a factor of two, which PEFT takes for one where its CUDA extension is not built",
        target_modules=LINEAR,
        boft_block_size=2,
        boft_n_butterfly_factor=2,
    ),
]

HRA = [
    method("HRA", "linear", "even_perceptron", "reflections in a row", target_modules=LINEAR, r=3),
    method(
        "HRA",
        "orthogonal",
        "even_perceptron",
        "apply_GS: the reflections are made orthogonal",
        target_modules=LINEAR,
        r=3,
        apply_GS=True,
    ),
    method("HRA", "conv2d", "square_conv_net", "a square kernel", target_modules=["conv"], r=2),
    method(
        "HRA",
        "regex",
        "tiny_llama",
        "targets by a regular expression",
        task_type="CAUSAL_LM",
        target_modules=r".*\.1\..*[qv]_proj",
        r=2,
    ),
]

ROAD = [
    method(
        "ROAD",
        variant.removeprefix("road_"),
        "even_perceptron",
        shows,
        target_modules=LINEAR,
        variant=variant,
        group_size=4,
    )
    for variant, shows in (
        ("road_1", "half as many values as outputs"),
        ("road_2", "as many values as outputs"),
        ("road_4", "twice as many values as outputs"),
    )
]

PSOFT = [
    method("PSOFT", "orthogonal", "even_perceptron", "a triangle and two vectors", target_modules=LINEAR, r=3),
    method(
        "PSOFT",
        "free",
        "even_perceptron",
        "psoft_orth=false: a square matrix",
        target_modules=LINEAR,
        r=3,
        psoft_orth=False,
    ),
    method(
        "PSOFT",
        "without_magnitudes",
        "even_perceptron",
        "neither vector",
        target_modules=LINEAR,
        r=3,
        psoft_mag_a=False,
        psoft_mag_b=False,
    ),
    method(
        "PSOFT",
        "series",
        "tiny_llama",
        "the bounded series, PiSSA's halves, one vector",
        r=3,
        psoft_alpha=3,
        ab_svd_init="pissa_init",
        use_cayley_neumann=True,
        cayley_neumann_eps=0.9,
        psoft_mag_b=False,
        **CAUSAL,
    ),
    method(
        "PSOFT",
        "random_svd",
        "even_perceptron",
        "a randomised decomposition of the base",
        target_modules=LINEAR,
        r=2,
        psoft_svd="lowrank",
    ),
    method("PSOFT", "rank_one", "even_perceptron", "rank one: no value but the vectors", target_modules=LINEAR, r=1),
]

OSF = [
    method("OSF", "default", "even_perceptron", "half of the ranks is trained", target_modules=LINEAR),
    method("OSF", "rank", "even_perceptron", "an integer effective_rank", target_modules=LINEAR, effective_rank=5),
    method("OSF", "share", "even_perceptron", "a fraction", target_modules=LINEAR, effective_rank=0.7),
    method(
        "OSF",
        "rank_pattern",
        "even_perceptron",
        "ranks by pattern; where all is frozen the tensors are empty",
        target_modules=[*LINEAR, "lin2"],
        effective_rank=2,
        rank_pattern={"lin0": 1.0, "lin1": 3},
    ),
    method(
        "OSF", "one", "tiny_llama", "effective_rank 1, which is a rank, while 1.0 is all", effective_rank=1, **CAUSAL
    ),
    method("OSF", "bf16_base", "tiny_llama_bf16", "a bfloat16 base", {"tolerance": 0.05}, **CAUSAL),
]

IA3 = [
    method("IA3", "linear", "perceptron", "outputs are scaled", target_modules=LINEAR, feedforward_modules=[]),
    method(
        "IA3",
        "feedforward",
        "perceptron",
        "outputs of one module are scaled and inputs of another",
        target_modules=LINEAR,
        feedforward_modules=["lin1"],
    ),
    method(
        "IA3",
        "conv2d",
        "conv2d_net",
        "2-d convolutions, of which one is feed-forward",
        target_modules=["conv", "pointwise"],
        feedforward_modules=["pointwise"],
    ),
    method(
        "IA3",
        "conv3d",
        "conv3d_net",
        "a 3-d convolution and a linear layer",
        target_modules=["conv", "lin"],
        feedforward_modules=["conv"],
    ),
    method("IA3", "gpt2", "tiny_gpt2", "the targets that PEFT knows for the model", task_type="CAUSAL_LM"),
    method("IA3", "bert", "tiny_bert_classifier", "the classifier is stored whole", task_type="SEQ_CLS"),
    method(
        "IA3",
        "bf16_base",
        "tiny_llama_bf16",
        "a bfloat16 base",
        {"tolerance": 0.05},
        feedforward_modules=[],
        **CAUSAL,
    ),
    method(
        "IA3",
        "feedforward_regex",
        "perceptron",
        "feed-forward modules by a regular expression",
        target_modules="lin[01]",
        feedforward_modules=".*1",
    ),
    method(
        "IA3",
        "bin",
        "perceptron",
        "the golden `ia3_linear` in a .bin file (safe_serialization=False)",
        {"saves": ({"safe_serialization": False},)},
        target_modules=LINEAR,
        feedforward_modules=[],
    ),
]

BEFT = [
    method("BEFT", "linear", "even_perceptron", "layers with and without a bias", target_modules=LINEAR),
    method("BEFT", "llama", "tiny_llama", "layers without a bias", **CAUSAL),
    method(
        "BEFT",
        "modules_to_save",
        "perceptron",
        "a whole module beside the biases",
        target_modules=["lin0"],
        modules_to_save=["head"],
    ),
]

LN_TUNING = [
    method("LN_TUNING", "llama", "tiny_llama", "norms without a bias", task_type="CAUSAL_LM", target_modules=["norm"]),
    method("LN_TUNING", "gpt2", "tiny_gpt2", "norms with a bias, the targets that PEFT knows", task_type="CAUSAL_LM"),
    method(
        "LN_TUNING",
        "batch_norm",
        "normed_perceptron",
        "a batch norm with its buffers",
        {"train": add_noise_and_run},
        target_modules=["bn"],
    ),
    method(
        "LN_TUNING",
        "linear",
        "perceptron",
        "a linear layer copied whole",
        target_modules=["lin1"],
        modules_to_save=["head"],
    ),
    method("LN_TUNING", "bf16_base", "tiny_llama_bf16", "a bfloat16 base", {"tolerance": 0.05}, task_type="CAUSAL_LM"),
]

GOLDENS = [*OFT, *BOFT, *HRA, *ROAD, *PSOFT, *OSF, *IA3, *BEFT, *LN_TUNING]
