"""`GraphLoss`: any loss expression as a torch module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cse_autoloss.graph import LossGraph, compile_graph
from cse_autoloss.losses.checks import check_boxes, check_classification
from cse_autoloss.losses.fused import FusedLoss, MulticlassKernel, kernel_of
from cse_autoloss.losses.reduction import ReducedLoss, check_alpha, reduce
from cse_autoloss.spaces import binary_inputs, box_inputs, multiclass_inputs, parse


class GraphLoss(ReducedLoss):
    """A loss expression, called as its branch is called.

    - cls-binary: `loss(logits, target, iou=None)`, logits (N, C), target (N,) int64 with C for background;
      one value for each logit, (N, C), before the reduction.
    - cls-multiclass: the same with logits (N, C+1), background last; one value for each sample, (N,).
    - reg: `loss(pred_boxes, target_boxes)`, both (P, 4) xyxy in pixels; one value for each pair, (P,).

    iou is (N,) in [0, 1], read at positives only, None for 1; no gradient flows through it. Half-precision
    inputs are computed in float32, and so is the answer.

    Attributes:
        graph: the expression.
        alpha: weight α·y + (1 − α)(1 − y) on each element of a cls-binary loss; None for no weighting.
        fused: use the fused form where the expression has one (see `fused.py`). Set it to False for
            torch.func transforms, which need the plain one; torch.compile takes the plain one by itself.
    """

    def __init__(self, graph: LossGraph, reduction: str = "mean", alpha: float | None = None) -> None:
        """Wrap `graph`; ConfigError for an alpha its branch can't use, UnknownNameError for a reduction."""
        super().__init__(reduction)
        self.alpha = check_alpha(alpha, graph.branch)
        self.fused = True
        self._set_graph(graph)

    def _set_graph(self, graph: LossGraph) -> None:
        self.graph = graph
        self.branch = graph.branch
        self._evaluate = compile_graph(graph)
        self._kernel = kernel_of(graph, self.alpha)

    @property
    def formula(self) -> str:
        """The expression in prefix notation."""
        return self.graph.formula

    def forward(self, prediction: Tensor, target: Tensor, iou: Tensor | None = None) -> Tensor:
        """The loss; DataError where shapes, types or values don't fit the branch."""
        if self._kernel is None or not self.fused:
            return reduce(self.elements(prediction, target, iou), self.reduction)
        self._check(prediction, target, iou)
        quality = None if iou is None else iou.detach()
        wide = _widen(prediction)
        if torch.compiler.is_compiling():
            # A compiler fuses by itself, but makes a one-hot target in memory.
            plain = self._kernel.elements if isinstance(self._kernel, MulticlassKernel) else self._elements
            return reduce(plain(wide, target, quality), self.reduction)
        slope = wide.requires_grad and torch.is_grad_enabled()
        result: Tensor = FusedLoss.apply(
            wide, target, quality, self._kernel, self._elements, self.reduction, slope
        )
        return result

    def elements(self, prediction: Tensor, target: Tensor, iou: Tensor | None = None) -> Tensor:
        """The loss before the reduction: (N, C) in the cls-binary branch, else (N,); never fused."""
        self._check(prediction, target, iou)
        return self._elements(_widen(prediction), target, iou)

    def _check(self, prediction: Tensor, target: Tensor, iou: Tensor | None) -> None:
        if self.branch == "reg":
            check_boxes(prediction, target)
            return
        columns = prediction.shape[-1] if prediction.dim() else 0
        highest = columns if self.branch == "cls-binary" else columns - 1
        meaning = (
            f"{highest} is background" if self.branch == "cls-binary" else "the last column is background"
        )
        check_classification(prediction, target, iou, highest=highest, meaning=meaning)

    def _elements(self, prediction: Tensor, target: Tensor, iou: Tensor | None) -> Tensor:
        if self.branch == "reg":
            values = self._evaluate(box_inputs(prediction, _widen(target)))
            return values.expand(prediction.shape[:1])
        if self.branch == "cls-multiclass":
            values = self._evaluate(multiclass_inputs(prediction, target, iou))
            return values.expand(prediction.shape[0], 1).squeeze(-1)
        if iou is not None:
            # binary_inputs multiplies by iou everywhere; a NaN beside background must not leak in.
            iou = torch.where(target < prediction.shape[-1], iou, torch.zeros_like(iou))
        inputs = binary_inputs(prediction, target, iou)
        values = self._evaluate(inputs).expand(prediction.shape)
        if self.alpha is None:
            return values
        return values * (self.alpha * inputs["PY"] + (1 - self.alpha) * inputs["NY"])

    def __getstate__(self) -> dict[str, Any]:
        # The compiled evaluator holds closures, so the formula travels in its place.
        state = dict(self.__dict__)
        del state["_evaluate"], state["_kernel"]
        state["graph"] = self.graph.formula
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        graph = parse(state["graph"], state["branch"])
        super().__setstate__({name: value for name, value in state.items() if name != "graph"})
        self._set_graph(graph)

    def extra_repr(self) -> str:
        weighting = "" if self.alpha is None else f", alpha={self.alpha}"
        return f"{self.formula!r}, branch={self.branch!r}, reduction={self.reduction!r}{weighting}"


def _widen(tensor: Tensor) -> Tensor:
    """Half precision to float32: the ε = 1e-20 of Log and Div is 0 in it."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
