"""The base models that the examples of `adapter_format.testing` describe, built with torch.

A base is no chain of layers: each layer gets an input of its own, and the outputs of all of them stand side by side, so
that a change of any parameter, adapted or not, shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from tests.oracle.base_models import fill, uniform_noise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter_format.testing.examples import BaseLayer


class MaskedLinear(nn.Linear):
    """A linear layer whose outputs are multiplied by boolean buffers, each of which begins with False."""

    def __init__(self, d_in: int, d_out: int, bias: bool, buffers: tuple[tuple[str, int], ...]) -> None:
        super().__init__(d_in, d_out, bias)
        self.masks = [name for name, _ in buffers]
        for name, length in buffers:
            self.register_buffer(name, torch.arange(length) > 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        for name in self.masks:
            y = y * self.get_buffer(name)
        return y


class Experts(nn.Module):
    """One parameter `[experts, d_out, d_in]`; every input goes through every expert."""

    def __init__(self, parameter: str, experts: int, d_in: int, d_out: int) -> None:
        super().__init__()
        self.parameter = parameter
        self.register_parameter(parameter, nn.Parameter(torch.empty(experts, d_out, d_in)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("eoi,bi->beo", getattr(self, self.parameter), x)


class ExampleBase(nn.Module):
    """A tree of layers at the paths described."""

    def __init__(self, layers: Mapping[str, BaseLayer]) -> None:
        super().__init__()
        self.described = dict(layers)
        for path, layer in layers.items():
            *parents, name = path.split(".")
            place: nn.Module = self
            for parent in parents:
                if not hasattr(place, parent):
                    place.add_module(parent, nn.Module())
                place = place.get_submodule(parent)
            place.add_module(name, made(layer))

    def forward(self) -> torch.Tensor:
        """Run every layer, wrapped by PEFT or not, on its input; all outputs in one row."""
        results = [
            self.get_submodule(path)(given(number, layer))
            for number, (path, layer) in enumerate(self.described.items())
        ]
        return torch.cat([result.reshape(-1).to(torch.float32) for result in results])


def made(layer: BaseLayer) -> nn.Module:
    """The layer itself, without values."""
    if layer.kind == "Linear":
        return MaskedLinear(*layer.sizes, layer.bias, layer.buffers)
    if layer.kind == "Embedding":
        return nn.Embedding(*layer.sizes)
    if layer.kind == "Conv2d":
        c_in, c_out, kernel, groups = layer.sizes
        return nn.Conv2d(c_in, c_out, kernel, groups=groups, bias=layer.bias)
    if layer.kind == "LayerNorm":
        return nn.LayerNorm(*layer.sizes, bias=layer.bias)
    if layer.kind == "Experts":
        return Experts(layer.parameter, *layer.sizes)
    raise ValueError(f"no layer is called {layer.kind!r}")


def given(number: int, layer: BaseLayer) -> torch.Tensor:
    """The input of the layer of that number: every row of an embedding, noise for the others."""
    if layer.kind == "Embedding":
        return torch.arange(layer.sizes[0])
    width = layer.sizes[1] if layer.kind == "Experts" else layer.sizes[0]
    shape = (2, width, 5, 5) if layer.kind == "Conv2d" else (3, width)
    return uniform_noise(f"input {number}", torch.Size(shape), 1.0)


def build(layers: Mapping[str, BaseLayer]) -> nn.Module:
    """A fresh base model in evaluation mode; each parameter's values follow from its name."""
    return fill(ExampleBase(layers))


def outputs(model: nn.Module) -> torch.Tensor:
    """What a base computes, as it is or wrapped by PEFT: one float32 row."""
    with torch.no_grad():
        return model().detach()
