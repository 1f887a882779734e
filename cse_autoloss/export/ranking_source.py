"""Losses that see a batch as one ranking as files that import torch alone: AP loss, aLRP, Rank & Sort, the AP space."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from torch import Tensor

from cse_autoloss.export.own_source import BEGIN, FITS, body_of, moving
from cse_autoloss.losses import ranking as error_driven
from cse_autoloss.losses.ranking import ErrorDriven
from cse_autoloss.spaces import once, ranking, step_sums
from cse_autoloss.spaces.ap import ApRule, ApSpace
from cse_autoloss.spaces.step_sums import Curve

_FILE = '''"""{title}

{formula}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

{parts}

{constants}


class {name}(nn.Module):
    """`loss(logits, target, iou)`: logits (N, C) of a sigmoid head, target (N,) int64 class index, C for background,
    iou (N,) of each positive's box with its object, without gradient, None for 1. Reduction "mean" over the samples
    with an object, "sum" or "none", (N,). Samples whose target is ignore_index stand in no ranking."""

{begin}
    def forward(self, logits: Tensor, target: Tensor, iou: Tensor | None = None) -> Tensor:
{fits}        if iou is not None and iou.shape != target.shape:
            raise ValueError(f"iou must be (N,), got {{tuple(iou.shape)}}")
        kept = target != self.ignore_index
        logits, own, iou = logits[kept], target[kept], None if iou is None else iou[kept]
        if bool(((own < 0) | (own > logits.shape[1])).any()):
            raise ValueError(f"targets must lie in [0, C], C = {{logits.shape[1]}} is background, or be ignore_index")
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
{rule}
        found = RankingLoss.apply(logits, own, iou, rule)
        loss = found.new_zeros(target.shape).masked_scatter(kept, found)
        if self.reduction == "none":
            return loss
        positives = (own < logits.shape[1]).sum().clamp(min=1)
        return loss.sum() if self.reduction == "sum" else loss.sum() / positives
'''

_CURVES = """\
        exact = {{"dtype": torch.float64, "device": logits.device}}
        curves = [Curve(*(torch.tensor(values, **exact) for values in one)) for one in {curves}]
        rule = ApRule(*curves, {power})"""


def ap_source(space: ApSpace, path: Tensor, facts: str) -> str:
    """The file of points of the AP space, (epochs, K), or of the one point; `facts` stand in its docstring."""
    points = [space.curves(theta) for theta in path]
    numbers = [
        [tuple(part.tolist() for part in one) for one in own if isinstance(one, Curve)] for own in points
    ]
    powers, epochs = [own[-1] for own in points], len(points)
    several = epochs > 1
    constants = f"CURVES = {numbers[0]!r}\nPOWER = {powers[0]!r}"
    rule = {"curves": "CURVES", "power": "POWER"}
    if several:
        constants = f"CURVES = {numbers!r}\nPOWERS = {powers!r}"
        rule = {"curves": "CURVES[int(self.epoch)]", "power": "POWERS[int(self.epoch)]"}
    kind = "A loss of detectors that is a smooth average precision, on all logits of a batch as one ranking"
    return _written(
        f"{kind}; {epochs} one after another." if several else f"{kind}.",
        f"Discovered by cse-autoloss. {facts}\n\n"
        + inspect.cleandoc(ApSpace.__doc__ or "").partition("\n\nθ = ")[0],
        [inspect.getsource(ApRule).strip()],
        constants,
        name="SearchedLoss",
        rule=_CURVES.format(**rule),
        moves=moving(epochs),
    )


def error_driven_source(loss: ErrorDriven) -> str:
    """Python source of a standalone module `DiscoveredLoss` that equals the loss."""
    parts = [inspect.getsource(one).strip() for one in (error_driven._Rule, error_driven._Sorting)]
    return _written(
        f"The loss {loss.kind}, on all logits of a batch as one ranking. Written by cse-autoloss.",
        inspect.cleandoc(error_driven.__doc__ or ""),
        [f"Kind = str\nPAIRS = {error_driven.PAIRS}", *parts],
        f"KIND, DELTA = {loss.kind!r}, {loss.delta!r}",
        name="DiscoveredLoss",
        rule="        rule = _Rule(KIND, DELTA)",
    )


def _written(
    title: str, formula: str, parts: Sequence[str], constants: str, *, name: str, rule: str, moves: str = ""
) -> str:
    single = body_of(once).replace("DataError", "ValueError")
    whole = "\n\n\n".join((body_of(step_sums), single, body_of(ranking), *parts))
    given = {"parts": whole, "constants": constants, "name": name, "rule": rule, "begin": BEGIN + moves}
    return _FILE.format(title=title, formula=formula, fits=FITS, **given)
