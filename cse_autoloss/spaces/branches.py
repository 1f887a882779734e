"""The three branches of a detector's loss, and how their variables are made from what a training step has.

Source: CSE-Autoloss (Liu et al., ICLR 2021); w is the IoU between a predicted box and its ground truth, detached.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from cse_autoloss.errors import UnknownNameError
from cse_autoloss.graph import Kind, LossGraph, Signature, Variable, parse_formula
from cse_autoloss.operators import OPERATORS

BOX_EPSILON = 1e-7
"""Added to the union and to the enclosing area, so that a quotient by them is finite."""

_C, _S = Kind.PER_CLASS, Kind.PER_SAMPLE
_INF = float("inf")


def _signature(name: str, result: Kind, without: frozenset[str], *variables: Variable) -> Signature:
    operators = tuple(operator for operator in OPERATORS if operator not in without)
    return Signature(name, {v.name: v for v in variables}, operators, result)


CLS_BINARY = _signature(
    "cls-binary",
    _C,
    frozenset({"Dot"}),
    Variable("X", _C, -_INF, _INF, "x", "logit, (N, C)"),
    Variable("Q", _C, 0.0, 1.0, "q", "w, the IoU, at a positive's class, else 0, (N, C)"),
    Variable("PY", _C, 0.0, 1.0, "y", "one-hot target, all 0 for background, (N, C)"),
    Variable("NY", _C, 0.0, 1.0, r"\bar{y}", "1 − y, (N, C)"),
)
"""Sigmoid heads, one-stage detectors."""

CLS_MULTICLASS = _signature(
    "cls-multiclass",
    _S,
    frozenset(),
    Variable("X", _C, -_INF, _INF, "x", "logits, background last, (N, C+1)"),
    Variable("Y", _C, 0.0, 1.0, "y", "one-hot target, (N, C+1)"),
    Variable("Z", _S, 0.0, 1.0, "w", "w, the IoU, for positives and 1 for all others, (N, 1)"),
)
"""Softmax heads, two-stage detectors."""

REG = _signature(
    "reg",
    _S,
    frozenset({"Softmax", "Dot", "Serf", "Erfc", "Salf", "Sgdf"}),
    Variable("I", _S, 0.0, _INF, "i", "area of the intersection, square pixels, (N,)"),
    Variable("U", _S, BOX_EPSILON, _INF, "u", "area of the union plus 1e-7, square pixels, (N,)"),
    Variable(
        "E", _S, BOX_EPSILON, _INF, "e", "area of the smallest enclosing box plus 1e-7, square pixels, (N,)"
    ),
)
"""Box branch of both families."""

BRANCHES: Mapping[str, Signature] = MappingProxyType({s.name: s for s in (CLS_BINARY, CLS_MULTICLASS, REG)})
"""The branches by name."""


def branch(name: str) -> Signature:
    """The branch of that name; UnknownNameError offers the nearest one."""
    if name not in BRANCHES:
        raise UnknownNameError.of("branch", name, BRANCHES)
    return BRANCHES[name]


def parse(formula: str, branch: str = "cls-binary") -> LossGraph:
    """Parse a loss in prefix notation.

    Args:
        formula: for example `Neg(Dot(Y,Log(Softmax(X))))`.
        branch: "cls-binary", "cls-multiclass" or "reg".

    Raises:
        FormulaError: with the position and what was expected there.
        UnknownNameError: no such branch.
    """
    if branch not in BRANCHES:
        raise UnknownNameError.of("branch", branch, BRANCHES)
    return parse_formula(formula, BRANCHES[branch])


def binary_inputs(logits: Tensor, target: Tensor, iou: Tensor | None = None) -> dict[str, Tensor]:
    """Variables of the binary branch.

    Args:
        logits: (N, C).
        target: (N,) int64 class index; C means background.
        iou: (N,) in [0, 1], read at positives only; None means 1. No gradient flows through it.

    Returns:
        X, Q, PY and NY, each (N, C) in the dtype of the logits.
    """
    classes = logits.shape[-1]
    one_hot = torch.zeros_like(logits)
    positive = target < classes
    column = torch.where(positive, target, torch.zeros_like(target)).unsqueeze(-1)
    mark = positive.to(logits.dtype).unsqueeze(-1)
    one_hot = one_hot.scatter(-1, column, mark)
    if iou is None:
        quality = one_hot
    else:
        quality = one_hot * iou.detach().to(logits.dtype).unsqueeze(-1)
    return {"X": logits, "Q": quality, "PY": one_hot, "NY": 1 - one_hot}


def multiclass_inputs(logits: Tensor, target: Tensor, iou: Tensor | None = None) -> dict[str, Tensor]:
    """Variables of the multi-class branch.

    Args:
        logits: (N, C+1), background in the last column.
        target: (N,) int64 class index; C means background.
        iou: (N,) in [0, 1], read at positives only; None means 1. No gradient flows through it.

    Returns:
        X and Y (N, C+1), Z (N, 1), in the dtype of the logits.
    """
    background = logits.shape[-1] - 1
    one_hot = torch.zeros_like(logits).scatter(-1, target.unsqueeze(-1), 1.0)
    ones = torch.ones(target.shape, dtype=logits.dtype, device=logits.device)
    weight = ones if iou is None else torch.where(target < background, iou.detach().to(logits.dtype), ones)
    return {"X": logits, "Y": one_hot, "Z": weight.unsqueeze(-1)}


def box_inputs(pred_boxes: Tensor, target_boxes: Tensor) -> dict[str, Tensor]:
    """Variables of the box branch: areas in square pixels.

    Args:
        pred_boxes: (N, 4) xyxy; a side of negative length counts as length 0.
        target_boxes: (N, 4) xyxy.

    Returns:
        I, U and E, each (N,); 1e-7 is added to U and E.
    """
    p_low, p_high = pred_boxes[..., :2], pred_boxes[..., 2:]
    t_low, t_high = target_boxes[..., :2], target_boxes[..., 2:]
    overlap = (torch.minimum(p_high, t_high) - torch.maximum(p_low, t_low)).clamp(min=0)
    enclosing = (torch.maximum(p_high, t_high) - torch.minimum(p_low, t_low)).clamp(min=0)
    pred = (p_high - p_low).clamp(min=0)
    target = (t_high - t_low).clamp(min=0)
    intersection = overlap[..., 0] * overlap[..., 1]
    union = pred[..., 0] * pred[..., 1] + target[..., 0] * target[..., 1] - intersection
    return {
        "I": intersection,
        "U": union + BOX_EPSILON,
        "E": enclosing[..., 0] * enclosing[..., 1] + BOX_EPSILON,
    }
