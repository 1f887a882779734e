"""InsightFace's call: a margin maps logits to logits, `margin(logits, labels)`.

What InsightFace's training scripts (arcface_torch and its PartialFC) call `margin_loss`: logits are cosines (N, C);
labels are (N,) or (N, 1), and −1 marks a sample whose class lies in another process's shard.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cse_autoloss.errors import ConfigError
from cse_autoloss.export.adapters.elements import LossSource, elements_of
from cse_autoloss.losses.margin import MarginSoftmax
from cse_autoloss.spaces.form import widened


class MarginLogits(nn.Module):
    """A margin softmax loss of ours (cosface, arcface, combined-margin, l-softmax, a-softmax) as a logit map.

    The cross-entropy stays with the training script.
    """

    def __init__(self, loss: LossSource = "arcface") -> None:
        """`loss` is a catalogue name or a margin module; ConfigError for a loss without margin."""
        super().__init__()
        module = elements_of(loss, "margin")
        if not isinstance(module, MarginSoftmax):
            raise ConfigError(f"expected a margin softmax loss, got {type(module).__name__}")
        self.margin = module

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scaled logits (N, C) with the margin at each label, in at least float32.

        Args:
            logits: (N, C) cosines; rounding beyond ±1 is cut off.
            labels: (N,) or (N, 1) int64; −1 for a sample without its class here.
        """
        labels = labels.view(-1)
        cosine = widened(logits).clamp(-1, 1)
        with_margin = self.margin.logits(cosine, labels.clamp(min=0))
        return torch.where((labels >= 0).unsqueeze(-1), with_margin, self.margin.scale * cosine)
