"""Where a net's logits really lie: a histogram of the target's, and the level of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

BINS = 40
MOST = 512
"""Images that are looked at."""


@dataclass(frozen=True)
class TargetLogits:
    """Of some images and one model; s·cos θ where features are normalised.

    Attributes:
        low, high: ends of the histogram: the least and the greatest.
        counts: images in each of its bins, all equally wide.
        others: the mean level of the other classes: x so that C − 1 logits of x are worth, in a softmax, what the
            others are: the mean over the images of log(Σ_{j≠y} e^{x_j}) − log(C − 1).
        classes: C.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    others: float
    classes: int

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> TargetLogits | None:
        """Of logits (N, C) and labels (N,); None where no histogram can be made: fewer than two classes, or what is
        not finite."""
        classes = logits.shape[-1]
        if classes < 2 or not len(logits) or not bool(logits.isfinite().all()):
            return None
        logits, at = logits.double(), labels.unsqueeze(-1)
        own = logits.gather(-1, at).squeeze(-1)
        others = logits.scatter(-1, at, -math.inf).logsumexp(-1) - math.log(classes - 1)
        low, high = float(own.min()), float(own.max())
        if high - low < 1e-6:
            low, high = low - 0.5, high + 0.5
        counts = torch.histc(own, BINS, low, high)
        return cls(low, high, tuple(int(one) for one in counts), float(others.mean()), classes)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "counts": list(self.counts)}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> TargetLogits:
        """The inverse of `to_dict`."""
        ends = float(told["low"]), float(told["high"])
        return cls(*ends, tuple(map(int, told["counts"])), float(told["others"]), int(told["classes"]))
