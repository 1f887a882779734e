"""A parametric loss as a file that imports torch alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cse_autoloss.errors import UnknownNameError
from cse_autoloss.export.own_source import BEGIN, FITS
from cse_autoloss.export.ranking_source import ap_source
from cse_autoloss.export.sigmoid_source import sigmoid_source
from cse_autoloss.losses.parametric import ParametricLoss, ParametricSchedule
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.spaces.ap import ApSpace
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.spaces.search_sigmoid import SearchSigmoid
from cse_autoloss.spaces.search_softmax import SearchSoftmax

_HEAD = '''"""{title}

Discovered by cse-autoloss. {facts}

L = {formula}
Logits are s * cosine where features and weights are normalised (s = {scale}), else plain.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax


class SearchedLoss(nn.Module):
    """`loss(logits, target)`: logits (N, C), target (N,) class index in [0, C); reduction "mean", "sum" or
    "none". Samples whose target is ignore_index count neither in the sum nor in the mean."""

{begin}{tables}
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
{fits}        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        kept = target != self.ignore_index
        logits = torch.where(kept.unsqueeze(-1), logits, 0.0)
        column = torch.where(kept, target, 0).unsqueeze(-1)
        x = logits.gather(-1, column)
{body}
        loss = torch.where(kept, loss, 0.0)
        if self.reduction == "none":
            return loss
        return loss.sum() if self.reduction == "sum" else loss.sum() / kept.sum().clamp(min=1)
'''

_AM_LFS = """        u = x / {scale}
        piece = ((u.detach() + 1) * {half}).nan_to_num(0.0).clamp(0, {last}).long()
        z = {scale} * (self.t_slope.to(x)[piece] * u + self.t_bias.to(x)[piece])
        log_p = log_softmax(logits.scatter(-1, column, z), -1).gather(-1, column).squeeze(-1)
        piece = (log_p.detach().exp() * {intervals}).nan_to_num(0.0).clamp(0, {last}).long()
        slope, bias = self.tau_slope.to(x)[piece], self.tau_bias.to(x)[piece]
"""

_BOUNDED = """        # Where exp(log_p) may underflow the bias is 0 or more: stay in logarithms.
        first, positive = piece == 0, bias > 0
        log_bias = torch.where(positive, torch.where(positive, bias, 1.0).log(), -torch.inf)
        near_zero = torch.logaddexp(slope.log() + log_p, log_bias)
        loss = -torch.where(first, near_zero, torch.where(first, 1.0, slope * log_p.exp() + bias).log())"""

_UNBOUNDED = """        loss = -(slope * log_p + bias)"""

_MARGIN = """        z = x - {margin!r}
        loss = -log_softmax(logits.scatter(-1, column, z), -1).gather(-1, column).squeeze(-1)"""


def parametric_forms(loss: ParametricLoss, provenance: Mapping[str, Any] | None = None) -> dict[str, str]:
    """What a file of each suffix holds: .json, which `load_loss` reads, and .py but for a space of the user's own and a
    schedule."""
    told = dict(loss.provenance if provenance is None else provenance)
    document = {**loss.to_dict(), "provenance": told}
    forms = {".json": json.dumps(document, indent=2, ensure_ascii=False) + "\n"}
    # A schedule has no one loss that a file could be.
    if isinstance(loss.space, AmLfs | SearchSoftmax | ApSpace) and not isinstance(loss, ParametricSchedule):
        forms[".py"] = torch_source(loss.space, loss.theta.tolist(), told)
    return forms


def torch_source(
    space: ParametricSpace, theta: Sequence[float], provenance: Mapping[str, Any] | None = None
) -> str:
    """Python source of a standalone module `SearchedLoss` that equals the space's loss at θ.

    Raises:
        UnknownNameError: a space of your own has no source form here.
    """
    given = torch.tensor(list(theta), dtype=torch.float64)
    settled = space.settle(given)
    # What comes in from a run's names must not end the docstring it is put into.
    facts = json.dumps(dict(provenance or {}), sort_keys=True).replace('"""', "").replace("\\", "/")
    if isinstance(space, ApSpace):
        return ap_source(space, settled, facts)
    if isinstance(space, SearchSigmoid):
        return sigmoid_source(space, settled, facts)
    if isinstance(space, AmLfs):
        return _am_lfs(space, space.tables(given), facts)
    if isinstance(space, SearchSoftmax):
        margin = float(space.margin(settled))
        return _HEAD.format(
            begin=BEGIN,
            fits=FITS,
            title=f"{space.name}: softmax cross-entropy with a margin on the target's logit.",
            facts=facts,
            formula=f"-log p, the target's logit lowered by {margin:.6g}, a = 1 - exp({margin:.6g})",
            scale=space.scale,
            tables="",
            body=_MARGIN.format(margin=margin),
        )
    raise UnknownNameError.of("space with a source form", space.name, ("am-lfs", "search-softmax"))


def _am_lfs(space: AmLfs, groups: Sequence[torch.Tensor], facts: str) -> str:
    tables = "".join(
        f'        self.register_buffer("{name}", torch.tensor({values.tolist()!r}, dtype=torch.float64))\n'
        for name, values in zip(("t_slope", "t_bias", "tau_slope", "tau_bias"), groups, strict=True)
    )
    numbers = {
        "scale": space.scale,
        "half": space.intervals / 2,
        "last": space.intervals - 1,
        "intervals": space.intervals,
    }
    bounded = space.form == "bounded"
    return _HEAD.format(
        begin=BEGIN,
        fits=FITS,
        title=f"AM-LFS loss: t and tau linear on {space.intervals} equal intervals each.",
        facts=facts,
        formula=("-log tau(p)" if bounded else "-tau(log p)")
        + ", p the softmax with s * t(x / s) at the target",
        scale=space.scale,
        tables=tables,
        body=_AM_LFS.format(**numbers) + (_BOUNDED if bounded else _UNBOUNDED),
    )
