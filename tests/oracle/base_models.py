"""Tiny base models that the golden adapters were trained on; needs torch and Transformers.

Every weight comes from a uniform generator seeded by the parameter's own name, so a model rebuilt on another
machine, or by another release of Transformers, has the same weights. `build(name)` gives a fresh model in
evaluation mode, `batch(name)` its fixed input, and `outputs(model, name)` the tensor by which two loads are
compared.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from .small_networks import EvenPerceptron, SquareConvNet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

INVOCATION_TOKENS = [7, 8]
"""Token ids that wake an aLoRA adapter: the first row of the token batch holds them, the second does not."""

RESIZED_VOCABULARY = 44


def uniform_noise(name: str, shape: torch.Size, width: float, seed: int = 0) -> torch.Tensor:
    """Float32 values in [-width, width), the same for the same name, shape and seed on every machine."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{name}".encode()))
    return (torch.rand(shape, generator=generator) * 2.0 - 1.0) * width


def fill(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every floating-point parameter its named noise; norm weights stay around one."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = uniform_noise(name, parameter.shape, 0.5, seed)
            is_scale = name.endswith("weight") and parameter.dim() == 1
            parameter.copy_(noise + 1.0 if is_scale else noise)
    return model.eval()


class Perceptron(nn.Module):
    """Two linear layers and a head, 10 -> 16 -> 12 -> 6."""

    def __init__(self) -> None:
        super().__init__()
        self.lin0 = nn.Linear(10, 16)
        self.relu = nn.ReLU()
        self.lin1 = nn.Linear(16, 12)
        self.head = nn.Linear(12, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.relu(self.lin1(self.relu(self.lin0(x)))))


class NormedPerceptron(nn.Module):
    """A perceptron with a batch norm, whose buffers include an integer counter without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.lin0 = nn.Linear(10, 8)
        self.bn = nn.BatchNorm1d(8)
        self.lin1 = nn.Linear(8, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin1(functional.relu(self.bn(self.lin0(x))))


class EmbeddingNet(nn.Module):
    """An embedding of 30 words, 8 wide, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(30, 8)
        self.lin = nn.Linear(8, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.lin(self.emb(ids))


class Conv1dNet(nn.Module):
    """A 1-d convolution with stride and padding, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6, kernel_size=3, stride=2, padding=1)
        self.lin = nn.Linear(6 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin(functional.relu(self.conv(x)).flatten(1))


class Conv2dNet(nn.Module):
    """A 2-d convolution with an oblong kernel, a pointwise one, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, kernel_size=(3, 2))
        self.pointwise = nn.Conv2d(6, 4, kernel_size=1)
        self.lin = nn.Linear(4 * 3 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin(functional.relu(self.pointwise(functional.relu(self.conv(x)))).flatten(1))


class Conv3dNet(nn.Module):
    """A 3-d convolution and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2, 4, kernel_size=(1, 2, 3))
        self.lin = nn.Linear(4 * 3 * 2 * 1, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin(functional.relu(self.conv(x)).flatten(1))


class GroupedConvNet(nn.Module):
    """A 2-d convolution in two groups, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, kernel_size=3, groups=2)
        self.lin = nn.Linear(6 * 3 * 3, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin(functional.relu(self.conv(x)).flatten(1))


class AttentionNet(nn.Module):
    """PyTorch's own multi-head attention, 8 wide, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(8, 2, batch_first=True)
        self.lin = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attended, _ = self.mha(x, x, x, need_weights=False)
        return self.lin(attended)


class Experts(nn.Module):
    """Three experts as 3-d parameters `[experts, out, in]`, each token weighted over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.up_proj = nn.Parameter(torch.empty(3, 10, 8))
        self.down_proj = nn.Parameter(torch.empty(3, 8, 10))

    def forward(self, x: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        hidden = functional.relu(torch.einsum("eoi,bi->beo", self.up_proj, x))
        return torch.einsum("eio,beo,be->bi", self.down_proj, hidden, share)


class TransposedExperts(nn.Module):
    """The same with the parameters `[experts, in, out]` and the flag that says so."""

    is_transposed = True

    def __init__(self) -> None:
        super().__init__()
        self.up_proj = nn.Parameter(torch.empty(3, 8, 10))
        self.down_proj = nn.Parameter(torch.empty(3, 10, 8))

    def forward(self, x: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        hidden = functional.relu(torch.einsum("eio,bi->beo", self.up_proj, x))
        return torch.einsum("eoi,beo,be->bi", self.down_proj, hidden, share)


class MoeNet(nn.Module):
    """A router, experts and a head."""

    def __init__(self, experts: type[nn.Module] = Experts) -> None:
        super().__init__()
        self.router = nn.Linear(8, 3)
        self.experts = experts()
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.experts(x, self.router(x).softmax(dim=-1)))


class Linear4bit(nn.Linear):
    """A stand-in for a 4-bit linear layer: packed bytes `[n / 2, 1]`, and the real one's state dict entries.

    The code book has 16 equidistant levels in place of NF4's, with one scale for each block of 8 weights.
    """

    block = 8

    def quantize(self) -> None:
        """Replace the float weight by packed bytes and register its scales."""
        flat = self.weight.detach().reshape(-1, self.block)
        absmax = flat.abs().amax(dim=1)
        codes = ((flat / absmax[:, None] + 1.0) * 7.5).round().to(torch.uint8).reshape(-1)
        self.absmax = absmax
        self.quant_map = torch.linspace(-1.0, 1.0, 16)
        self.weight = nn.Parameter((codes[0::2] * 16 + codes[1::2]).reshape(-1, 1), requires_grad=False)

    def dequantized(self) -> torch.Tensor:
        """The logical weight `[out_features, in_features]`."""
        codes = torch.stack((self.weight // 16, self.weight % 16), dim=1).reshape(-1).long()
        values = self.quant_map[codes].reshape(-1, self.block) * self.absmax[:, None]
        return values.reshape(self.out_features, self.in_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.dequantized(), self.bias)

    def _save_to_state_dict(self, destination: dict[str, torch.Tensor], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight.absmax"] = self.absmax
        destination[f"{prefix}weight.quant_map"] = self.quant_map
        destination[f"{prefix}weight.quant_state.bitsandbytes__nf4"] = torch.zeros(4, dtype=torch.uint8)


class QuantizedNet(nn.Module):
    """A 4-bit stand-in layer and a plain head."""

    def __init__(self) -> None:
        super().__init__()
        self.lin0 = Linear4bit(16, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(functional.relu(self.lin0(x)))


class Float8Linear(nn.Linear):
    """A linear layer that keeps its weight in float8_e4m3fn and computes in the input's dtype."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return functional.linear(x, self.weight.to(x.dtype), bias)


class Float8Net(nn.Module):
    """A float8 layer and a float32 head."""

    def __init__(self) -> None:
        super().__init__()
        self.lin0 = Float8Linear(10, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(functional.relu(self.lin0(x)))


def _named(model: PreTrainedModel, identifier: str) -> PreTrainedModel:
    """Set the id under which the base would stand on the hub: adapters record it."""
    model.config._name_or_path = identifier
    model.name_or_path = identifier
    return model


def _llama(layers: int = 2, tied: bool = False, identifier: str = "example/tiny-llama") -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=40, hidden_size=12, intermediate_size=20, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, head_dim=6, max_position_embeddings=16, tie_word_embeddings=tied,
        attn_implementation="eager", bos_token_id=1, eos_token_id=2, pad_token_id=None,
    )  # fmt: skip
    model = fill(LlamaForCausalLM(config))
    model.tie_weights()
    return _named(model, identifier)


def tiny_llama() -> PreTrainedModel:
    """Llama: 2 layers, 12 wide, two query heads and one key-value head, 40 tokens, untied head."""
    return _llama()


def tiny_llama_deep() -> PreTrainedModel:
    """The same with 4 layers: 28 linear layers in its decoder."""
    return _llama(layers=4, identifier="example/tiny-llama-deep")


def tiny_llama_tied() -> PreTrainedModel:
    """The same with the head tied to the input embedding."""
    return _llama(tied=True, identifier="example/tiny-llama-tied")


def tiny_llama_uncached() -> PreTrainedModel:
    """`tiny_llama` without the cache, which X-LoRA refuses."""
    model = _llama()
    model.config.use_cache = False
    return model


def tiny_llama_classifier() -> PreTrainedModel:
    """The same decoder under a classifier of 3 labels."""
    config = _llama().config
    config.num_labels = 3
    config.pad_token_id = 0
    return _named(fill(LlamaForSequenceClassification(config)), "example/tiny-llama-classifier")


def tiny_llama_resized() -> PreTrainedModel:
    """`tiny_llama` after four tokens were added to its vocabulary."""
    model = _llama()
    model.resize_token_embeddings(RESIZED_VOCABULARY, mean_resizing=False)
    with torch.no_grad():
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            weight = model.get_parameter(name)
            weight[40:] = uniform_noise(f"{name}.added", weight[40:].shape, 0.5)
    return model.eval()


def tiny_llama_bf16() -> PreTrainedModel:
    """`tiny_llama` in bfloat16."""
    return _named(_llama().to(torch.bfloat16), "example/tiny-llama-bf16")


def tiny_llama_fp16() -> PreTrainedModel:
    """`tiny_llama` in float16."""
    return _named(_llama().to(torch.float16), "example/tiny-llama-fp16")


def tiny_gpt2() -> PreTrainedModel:
    """GPT-2: 2 layers, 12 wide, whose projections are Transformers' `Conv1D`."""
    config = GPT2Config(
        vocab_size=40, n_positions=16, n_embd=12, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2,
        attn_implementation="eager",
    )  # fmt: skip
    model = fill(GPT2LMHeadModel(config))
    model.tie_weights()
    return _named(model, "example/tiny-gpt2")


def tiny_bert_classifier() -> PreTrainedModel:
    """BERT: 2 layers, 12 wide, with a classifier of 3 labels."""
    config = BertConfig(
        vocab_size=40, hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20,
        max_position_embeddings=16, num_labels=3, attn_implementation="eager",
    )  # fmt: skip
    return _named(fill(BertForSequenceClassification(config)), "example/tiny-bert")


def tiny_mixtral() -> PreTrainedModel:
    """Mixtral as Transformers 5 builds it: 2 layers, 3 experts fused into 3-d parameters."""
    config = MixtralConfig(
        vocab_size=40, hidden_size=12, intermediate_size=10, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=6, num_local_experts=3, num_experts_per_tok=2,
        max_position_embeddings=16, attn_implementation="eager",
        bos_token_id=1, eos_token_id=2, pad_token_id=None,
    )  # fmt: skip
    config._experts_implementation = "eager"
    return _named(fill(MixtralForCausalLM(config)), "example/tiny-mixtral")


def tiny_t5() -> PreTrainedModel:
    """T5: 2 layers in encoder and decoder, 12 wide, 40 tokens."""
    config = T5Config(
        vocab_size=40, d_model=12, d_kv=6, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = fill(T5ForConditionalGeneration(config))
    model.tie_weights()
    return _named(model, "example/tiny-t5")


def _moe_net() -> nn.Module:
    return fill(MoeNet())


def _moe_net_transposed() -> nn.Module:
    return fill(MoeNet(TransposedExperts))


def _quantized_net() -> nn.Module:
    model = QuantizedNet()
    fill(model)
    model.lin0.quantize()
    return model


def _float8_net() -> nn.Module:
    model = Float8Net()
    fill(model)
    model.lin0.to(torch.float8_e4m3fn)
    return model


def _tokens(last: int = 39) -> dict[str, Any]:
    return {"input_ids": torch.tensor([[1, 5, 7, 8, 3, 12], [4, 9, 6, 21, last, 3]])}


def _token_pairs() -> dict[str, Any]:
    return {**_tokens(), "decoder_input_ids": torch.tensor([[0, 11, 6], [0, 30, 2]])}


def _labelled_tokens() -> dict[str, Any]:
    return {**_tokens(), "labels": torch.tensor([[11, 6, 1], [30, 2, 1]])}


def _resized_tokens() -> dict[str, Any]:
    return _tokens(last=42)


def _ids() -> dict[str, Any]:
    return {"ids": torch.tensor([[1, 5, 7, 28], [3, 9, 2, 29]])}


def _floats(*shape: int) -> Callable[[], dict[str, Any]]:
    def batch() -> dict[str, Any]:
        return {"x": uniform_noise("input", torch.Size(shape), 1.0)}

    return batch


class Base(NamedTuple):
    """How to build a base model and its input."""

    build: Callable[[], nn.Module]
    batch: Callable[[], dict[str, Any]]


BASES: dict[str, Base] = {
    "perceptron": Base(lambda: fill(Perceptron()), _floats(3, 10)),
    "normed_perceptron": Base(lambda: fill(NormedPerceptron()), _floats(3, 10)),
    "embedding_net": Base(lambda: fill(EmbeddingNet()), _ids),
    "conv1d_net": Base(lambda: fill(Conv1dNet()), _floats(2, 4, 8)),
    "conv2d_net": Base(lambda: fill(Conv2dNet()), _floats(2, 3, 5, 5)),
    "conv3d_net": Base(lambda: fill(Conv3dNet()), _floats(2, 2, 3, 3, 3)),
    "grouped_conv_net": Base(lambda: fill(GroupedConvNet()), _floats(2, 4, 5, 5)),
    "attention_net": Base(lambda: fill(AttentionNet()), _floats(2, 4, 8)),
    "moe_net": Base(_moe_net, _floats(4, 8)),
    "moe_net_transposed": Base(_moe_net_transposed, _floats(4, 8)),
    "quantized_net": Base(_quantized_net, _floats(3, 16)),
    "float8_net": Base(_float8_net, _floats(3, 10)),
    "tiny_llama": Base(tiny_llama, _tokens),
    "tiny_llama_deep": Base(tiny_llama_deep, _tokens),
    "tiny_llama_tied": Base(tiny_llama_tied, _tokens),
    "tiny_llama_resized": Base(tiny_llama_resized, _resized_tokens),
    "tiny_llama_bf16": Base(tiny_llama_bf16, _tokens),
    "tiny_llama_fp16": Base(tiny_llama_fp16, _tokens),
    "tiny_gpt2": Base(tiny_gpt2, _tokens),
    "tiny_bert_classifier": Base(tiny_bert_classifier, _tokens),
    "tiny_mixtral": Base(tiny_mixtral, _tokens),
    "even_perceptron": Base(lambda: fill(EvenPerceptron()), _floats(4, 8)),
    "square_conv_net": Base(lambda: fill(SquareConvNet()), _floats(2, 4, 5, 5)),
    "tiny_llama_uncached": Base(tiny_llama_uncached, _tokens),
    "tiny_llama_classifier": Base(tiny_llama_classifier, _tokens),
    "tiny_t5": Base(tiny_t5, _token_pairs),
    "tiny_t5_labelled": Base(tiny_t5, _labelled_tokens),
}


def build(name: str) -> nn.Module:
    """A fresh base model in evaluation mode; KeyError if there is none of that name."""
    return BASES[name].build().eval()


def batch(name: str) -> dict[str, Any]:
    """The fixed keyword arguments on which the base of that name is compared."""
    return BASES[name].batch()


def outputs(model: nn.Module, name: str, inputs: Mapping[str, list[int]] | None = None) -> torch.Tensor:
    """What the model (base or wrapped by PEFT) computes on the batch of the base `name`: detached float32.

    `inputs` are arguments that only the wrapped model takes, such as task ids.
    """
    further = {argument: torch.tensor(values) for argument, values in (inputs or {}).items()}
    with torch.no_grad():
        result = model(**batch(name), **further)
    return getattr(result, "logits", result).detach().to(torch.float32)
