"""A loss of the AP space as a file that imports torch alone: the space's own source, and the numbers of its curves."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

from torch import Tensor

from cse_autoloss.spaces import once, ranking, step_sums
from cse_autoloss.spaces.ap import ApRule, ApSpace
from cse_autoloss.spaces.step_sums import Curve

_FILE = '''"""A loss of detectors that is a smooth average precision, on all logits of a batch as one ranking.

Discovered by cse-autoloss. {facts}

{formula}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

{parts}

CURVES = {curves}
POWER = {power!r}


class SearchedLoss(nn.Module):
    """`loss(logits, target, iou)`: logits (N, C) of a sigmoid head, target (N,) int64 class index, C for background,
    iou (N,) of each positive's box with its object, without gradient, None for 1. Reduction "mean" over the samples
    with an object, "sum" or "none", (N,)."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction is \'mean\', \'sum\' or \'none\', got {{reduction!r}}")
        self.reduction = reduction

    def forward(self, logits: Tensor, target: Tensor, iou: Tensor | None = None) -> Tensor:
        fits = logits.dim() == 2 and logits.is_floating_point() and target.shape == logits.shape[:1]
        if not fits or target.dtype != torch.int64:
            got = f"{{tuple(logits.shape)}} {{logits.dtype}} and {{tuple(target.shape)}} {{target.dtype}}"
            raise ValueError(f"logits must be float (N, C) and target (N,) int64 class indices, got {{got}}")
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        curves = [Curve(*(torch.tensor(v, dtype=torch.float64, device=logits.device) for v in c)) for c in CURVES]
        loss = RankingLoss.apply(logits, target, iou, ApRule(*curves, POWER))
        if self.reduction == "none":
            return loss
        positives = (target < logits.shape[1]).sum().clamp(min=1)
        return loss.sum() if self.reduction == "sum" else loss.sum() / positives
'''


def ap_source(space: ApSpace, theta: Tensor, facts: str) -> str:
    """The file; `facts` stand in its docstring."""
    *curves, power = space.curves(theta)
    numbers = [tuple(part.tolist() for part in one) for one in curves if isinstance(one, Curve)]
    single = _body(once).replace("DataError(", "ValueError(")
    parts = (_body(step_sums), single, _body(ranking), inspect.getsource(ApRule).strip())
    formula = inspect.cleandoc(ApSpace.__doc__ or "").partition("\n\nθ = ")[0]
    return _FILE.format(
        facts=facts, formula=formula, parts="\n\n\n".join(parts), curves=repr(numbers), power=power
    )


def _body(module: ModuleType) -> str:
    """A module's source after its docstring and imports."""
    source = inspect.getsource(module)
    first = next(
        node
        for node in ast.parse(source).body
        if not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.Expr) and ast.get_docstring(ast.Module([node], [])))
    )
    start = min((first.lineno, *(one.lineno for one in getattr(first, "decorator_list", ()))))
    return "\n".join(source.splitlines()[start - 1 :]).strip()
