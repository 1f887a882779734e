"""A small net after MGN: whole image and stripes, each with a softmax head, beside a triplet loss.

Source: Wang et al., Learning Discriminative Features with Multiple Granularities for Person Re-Identification, ACM
Multimedia 2018. docs/reinforce_data.md says what differs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cse_autoloss.classifiers.head import ClassHead
from cse_autoloss.classifiers.triplet import batch_hard_triplet
from cse_autoloss.errors import ConfigError

STRIPES = (1, 2, 3)
"""Of the three branches; one is the whole image alone."""
LEAST = 9
"""Pixels of an image's height, of which three rows are left to be divided."""


class MgnNet(nn.Module):
    """Two shared convolutions, then three branches with one of their own each.

    A branch gives the greatest value over the whole of its map, and over each of its stripes; each of these eight has
    a linear layer to `width` numbers and a `ClassHead`. The embedding is all of them; the triplet loss is of those of
    the whole image, one a branch.

    Attributes:
        heads: 8; see `branches`.
    """

    heads = sum(1 if stripes == 1 else 1 + stripes for stripes in STRIPES)

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        scale: float | None = None,
        channels: int = 16,
        width: int = 32,
    ) -> None:
        """
        Args:
            shape: (channels, height, width) of the images.
            classes: C.
            scale: as of `ClassHead`.
            channels: of the first layer; the next ones have twice and four times as many.
            width: of one of the eight features.

        Raises:
            ConfigError: the images are too low for three stripes.
        """
        super().__init__()
        if shape[1] < LEAST:
            raise ConfigError(f"model: mgn needs images of at least {LEAST} pixels in height, got {shape[1]}")
        self.stem = nn.Sequential(*_layer(shape[0], channels, 2), *_layer(channels, 2 * channels, 2))
        # Stripes keep their rows; the whole image may lose them.
        self.branches = nn.ModuleList(
            nn.Sequential(*_layer(2 * channels, 4 * channels, 2 if stripes == 1 else 1))
            for stripes in STRIPES
        )
        self.reduce = nn.ModuleList(nn.Linear(4 * channels, width) for _ in range(self.heads))
        self.classify = nn.ModuleList(ClassHead(width, classes, scale) for _ in range(self.heads))
        self._width = width

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, H, W) to the embedding (N, 8·width), and logits: (8·N, C) in training, else (N, C)."""
        stem = self.stem(images.contiguous())  # GroupNorm under vmap takes no channels-last layout
        pooled: list[Tensor] = []
        for branch, stripes in zip(self.branches, STRIPES, strict=True):
            seen = branch(stem)
            pooled.append(seen.amax((-2, -1)))
            if stripes > 1:
                pooled += [rows.amax((-2, -1)) for rows in seen.tensor_split(stripes, -2)]
        features = [layer(one) for layer, one in zip(self.reduce, pooled, strict=True)]
        logits = [head(one) for head, one in zip(self.classify, features, strict=True)]
        return torch.cat(features, -1), torch.cat(logits) if self.training else torch.stack(logits).mean(0)

    def beside(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """The mean triplet loss of the branches' features of the whole image, a scalar.

        Args:
            embedding: (N, 8·width).
            labels: (N,) int64.
        """
        first, found = 0, embedding.new_zeros(())
        for stripes in STRIPES:
            found = found + batch_hard_triplet(embedding[:, first : first + self._width], labels)
            first += self._width * (1 if stripes == 1 else 1 + stripes)
        return found / len(STRIPES)


def _layer(before: int, after: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.GroupNorm(4, after), nn.ReLU()]
