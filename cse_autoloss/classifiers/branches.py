"""What a net with several softmax heads asks of those who train it.

Such a net says in `heads` how many it has. In training its logits are those of all heads, one after another, (heads·N,
C): each head has the searched loss, with the same labels. In evaluation they are the mean of the heads, (N, C). If it
has a method `beside(embedding, labels)`, that is a further loss, with a weight of 1, which no search changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

TOGETHER: Final[Mapping[str, int]] = {"mgn": 4}
"""Name of a net -> images of one class that come together in a batch, where its loss compares images."""


def of_all_heads(net: nn.Module, labels: Tensor) -> Tensor:
    """Labels (..., N) as the net's logits in training have them, (..., heads·N)."""
    heads: Any = getattr(net, "heads", 1)
    return labels if heads == 1 else torch.cat([labels] * heads, -1)


def together(labels: Tensor, count: int, source: torch.Generator) -> Tensor:
    """An order of all samples by chance in which `count` of one class, or what is left of it, stand side by side, (N,).

    Args:
        labels: (N,) int64.
        count: at least 1.
        source: of the random numbers.
    """
    mixed = torch.randperm(len(labels), generator=source)
    groups: list[Tensor] = []
    for label in labels.unique().tolist():
        groups += mixed[labels[mixed] == label].split(count)
    turn = torch.randperm(len(groups), generator=source).tolist()
    return torch.cat([groups[place] for place in turn])
