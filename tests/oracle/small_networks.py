"""Networks of plain PyTorch whose sizes suit the methods that divide, halve or square them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class EvenPerceptron(nn.Module):
    """Linear layers of unequal sizes that four divides, 8 -> 16 -> 12 -> 8 -> 4; the second has no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.lin0 = nn.Linear(8, 16)
        self.lin1 = nn.Linear(16, 12, bias=False)
        self.lin2 = nn.Linear(12, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = functional.relu(self.lin1(functional.relu(self.lin0(x))))
        return self.head(functional.relu(self.lin2(hidden)))


class SquareConvNet(nn.Module):
    """A 2-d convolution with a square kernel, a pointwise one, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, kernel_size=3)
        self.pointwise = nn.Conv2d(6, 4, kernel_size=1)
        self.lin = nn.Linear(4 * 3 * 3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin(functional.relu(self.pointwise(functional.relu(self.conv(x)))).flatten(1))
