"""A margin on sigmoid heads as a file that imports torch alone."""

from __future__ import annotations

from torch import Tensor

from cse_autoloss.export.own_source import BEGIN, FITS, moving
from cse_autoloss.spaces.search_sigmoid import SearchSigmoid

_FILE = '''"""search-sigmoid: binary cross-entropy with a margin on each logit.

Discovered by cse-autoloss. {facts}

L = sum over the classes of log(1 + exp(MARGIN - x)) where the class is there, log(1 + exp(MARGIN + x)) where it is not.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
{constant}

class SearchedLoss(nn.Module):
    """`loss(logits, target)`: logits (N, C), target (N,) int64 class index, C for background; reduction "mean" over all
    logits, "sum" or "none", (N,). Samples whose target is ignore_index count nowhere."""

{begin}{moves}
    def forward(self, logits: Tensor, target: Tensor, iou: Tensor | None = None) -> Tensor:
{fits}        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        kept = target != self.ignore_index
        logits = torch.where(kept.unsqueeze(-1), logits, 0.0)
        there = target.unsqueeze(-1) == torch.arange(logits.shape[1], device=logits.device)
        loss = softplus({margin} - torch.where(there, logits, -logits)).sum(-1)
        loss = torch.where(kept, loss, 0.0)
        if self.reduction == "none":
            return loss
        return loss.sum() if self.reduction == "sum" else loss.sum() / (kept.sum().clamp(min=1) * logits.shape[1])
'''


def sigmoid_source(space: SearchSigmoid, path: Tensor, facts: str) -> str:
    """The file of a path (epochs, K), or of the one loss of a path of one; `facts` stand in its docstring."""
    margins = space.margin(path).tolist()
    several = len(margins) > 1
    constant = f"\nMARGINS = {margins!r}\n" if several else f"\nMARGIN = {margins[0]!r}\n"
    return _FILE.format(
        facts=facts,
        constant=constant,
        margin="MARGINS[int(self.epoch)]" if several else "MARGIN",
        moves=moving(len(margins)),
        begin=BEGIN,
        fits=FITS,
    )
