"""Search-Softmax's one number as a margin on sigmoid heads.

Source of the family: "Loss Function Search for Face Recognition", Wang et al., ICML 2020; on sigmoid heads it is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from cse_autoloss.spaces.heads import CLS_BINARY
from cse_autoloss.spaces.search_softmax import Parameter, SearchSoftmax


class SearchSigmoid(SearchSoftmax):
    """L = Σ over the classes of −log(h(a, p)·p), p the probability of what is true of the class, σ(x) or 1 − σ(x).

    In logit space: log(1 + e^{δ − x}) where the class is there and log(1 + e^{δ + x}) where it is not, δ = log(1 − a):
    a margin on both sides. Searched is u, as of `SearchSoftmax`; its unit is 2, for plain logits.
    """

    name = "search-sigmoid"
    signature = CLS_BINARY
    whole = False

    def __init__(self, scale: float = 2.0, parameter: Parameter = "u") -> None:
        """As of `SearchSoftmax`."""
        super().__init__(scale, parameter)

    def loss(self, logits: Tensor, target: Tensor, theta: Tensor, iou: Tensor | None = None) -> Tensor:
        """The loss of each sample, (N,); target C is background, and the IoU is not read."""
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        there = target.unsqueeze(-1) == torch.arange(logits.shape[-1], device=logits.device)
        return softplus(self.margin(theta.to(logits.dtype)) - torch.where(there, logits, -logits)).sum(-1)
