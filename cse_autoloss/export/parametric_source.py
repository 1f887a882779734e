"""A parametric loss as a file that imports torch alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cse_autoloss.errors import UnknownNameError
from cse_autoloss.export.own_source import BEGIN, FITS, moving
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
        z = {scale} * (self.t_slope{at}.to(x)[piece] * u + self.t_bias{at}.to(x)[piece])
        log_p = log_softmax(logits.scatter(-1, column, z), -1).gather(-1, column).squeeze(-1)
        piece = (log_p.detach().exp() * {intervals}).nan_to_num(0.0).clamp(0, {last}).long()
        slope, bias = self.tau_slope{at}.to(x)[piece], self.tau_bias{at}.to(x)[piece]
"""

_BOUNDED = """        # Where exp(log_p) may underflow the bias is 0 or more: stay in logarithms.
        first, positive = piece == 0, bias > 0
        log_bias = torch.where(positive, torch.where(positive, bias, 1.0).log(), -torch.inf)
        near_zero = torch.logaddexp(slope.log() + log_p, log_bias)
        loss = -torch.where(first, near_zero, torch.where(first, 1.0, slope * log_p.exp() + bias).log())"""

_UNBOUNDED = """        loss = -(slope * log_p + bias)"""

_MARGIN = """        z = x - {margin}
        loss = -log_softmax(logits.scatter(-1, column, z), -1).gather(-1, column).squeeze(-1)"""


def parametric_forms(loss: ParametricLoss, provenance: Mapping[str, Any] | None = None) -> dict[str, str]:
    """What a file of each suffix holds: .json, which `load_loss` reads, and .py but for a space of the user's own."""
    told = dict(loss.provenance if provenance is None else provenance)
    document = {**loss.to_dict(), "provenance": told}
    forms = {".json": json.dumps(document, indent=2, ensure_ascii=False) + "\n"}
    if isinstance(loss.space, AmLfs | SearchSoftmax | ApSpace):
        path = loss.path if isinstance(loss, ParametricSchedule) else loss.theta.unsqueeze(0)
        forms[".py"] = schedule_source(loss.space, path.tolist(), told)
    return forms


def schedule_source(
    space: ParametricSpace, path: Sequence[Sequence[float]], provenance: Mapping[str, Any] | None = None
) -> str:
    """Python source of a standalone module `SearchedLoss` that equals the space's losses at the θs of a path.

    Its tables have a row for each epoch, and `set_epoch` or `set_progress` chooses; of a single θ it stays.

    Args:
        space: whose losses they are.
        path: (epochs, K) θ by epoch from 0.
        provenance: where it comes from.

    Raises:
        UnknownNameError: a space of your own has no source form here.
    """
    given = torch.tensor([list(theta) for theta in path], dtype=torch.float64)
    settled = space.settle(given)
    # What comes in from a run's names must not end the docstring it is put into.
    facts = json.dumps(dict(provenance or {}), sort_keys=True).replace('"""', "").replace("\\", "/")
    if isinstance(space, ApSpace):
        return ap_source(space, settled, facts)
    if isinstance(space, SearchSigmoid):
        return sigmoid_source(space, settled, facts)
    if isinstance(space, AmLfs):
        tables = [torch.stack(rows) for rows in zip(*map(space.tables, given), strict=True)]
        return _am_lfs(space, tables, facts)
    if isinstance(space, SearchSoftmax):
        return _margin(space, space.margin(settled), facts)
    raise UnknownNameError.of("space with a source form", space.name, ("am-lfs", "search-softmax"))


def _margin(space: SearchSoftmax, margins: Tensor, facts: str) -> str:
    """`margins`: (epochs,)."""
    (first, *others), epochs = margins.tolist(), len(margins)
    formula = f"-log p, the target's logit lowered by {first:.6g}, a = 1 - exp({first:.6g})"
    if others:
        formula = "-log p, the target's logit lowered by m = margin[epoch], a = 1 - exp(m)"
    return _HEAD.format(
        begin=BEGIN,
        fits=FITS,
        title=f"{space.name}: softmax cross-entropy with a margin on the target's logit{_by_epoch(epochs)}.",
        facts=facts,
        formula=formula,
        scale=space.scale,
        tables=_tables({"margin": margins}) if others else "",
        body=_MARGIN.format(margin="self.margin[self.epoch].to(x)" if others else repr(first)),
    )


def _am_lfs(space: AmLfs, groups: Sequence[Tensor], facts: str) -> str:
    """`groups`: slopes and biases of t, then of τ, each (epochs, M)."""
    epochs = len(groups[0])
    names = ("t_slope", "t_bias", "tau_slope", "tau_bias")
    numbers = {
        "scale": space.scale,
        "half": space.intervals / 2,
        "last": space.intervals - 1,
        "intervals": space.intervals,
        "at": "[self.epoch]" if epochs > 1 else "",
    }
    bounded = space.form == "bounded"
    title = f"AM-LFS loss: t and tau linear on {space.intervals} equal intervals each{_by_epoch(epochs)}."
    return _HEAD.format(
        begin=BEGIN,
        fits=FITS,
        title=title,
        facts=facts,
        formula=("-log tau(p)" if bounded else "-tau(log p)")
        + ", p the softmax with s * t(x / s) at the target",
        scale=space.scale,
        tables=_tables(dict(zip(names, groups, strict=True))),
        body=_AM_LFS.format(**numbers) + (_BOUNDED if bounded else _UNBOUNDED),
    )


def _by_epoch(epochs: int) -> str:
    return f", {epochs} losses one after another" if epochs > 1 else ""


def _tables(tables: Mapping[str, Tensor]) -> str:
    """Buffers (epochs, ...), and who chooses the row; of a single epoch the row itself."""
    epochs = len(next(iter(tables.values())))
    rows = (
        f'        self.register_buffer("{name}", torch.tensor({told!r}, dtype=torch.float64))\n'
        for name, values in tables.items()
        for told in (values.tolist() if epochs > 1 else values[0].tolist(),)
    )
    return "".join(rows) + moving(epochs)
