"""The last layer: class logits from an embedding, plain or as scaled cosines."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize


class ClassHead(nn.Module):
    """Logits (N, C): W·e + b, or s·cos of the angles between e and the rows of W."""

    def __init__(self, width: int, classes: int, scale: float | None = None) -> None:
        """
        Args:
            width: D, length of an embedding.
            classes: C.
            scale: s of normalised features and weights; None for plain logits.
        """
        super().__init__()
        self.scale = scale
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(classes, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(classes)) if scale is None else None

    def forward(self, embedding: Tensor) -> Tensor:
        """(N, D) to (N, C)."""
        if self.scale is None:
            return linear(embedding, self.weight, self.bias)
        return self.scale * linear(normalize(embedding, dim=-1), normalize(self.weight, dim=-1))
