"""`GraphLoss`: any loss expression as a torch module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cse_autoloss.graph import LossGraph, compile_graph, parse_formula
from cse_autoloss.losses.fused import FusedLoss, MulticlassKernel, kernel_of
from cse_autoloss.losses.reduction import ReducedLoss, check_alpha, reduce, share
from cse_autoloss.losses.taking import Taking
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.standing import (
    CHANCE,
    FREQUENCY,
    PROGRESS,
    standing_in,
    told_frequency,
)
from cse_autoloss.spaces.standing_form import StandingForm


class GraphLoss(ReducedLoss):
    """A loss expression, called as its signature is called.

    - cls-binary: `loss(logits, target, iou=None)`, logits (N, C), target (N,) int64 with C for background;
      one value for each logit, (N, C), before the reduction. Maps (N, C, d1, …) go with a target (N, d1, …).
    - cls-multiclass: the same with logits (N, C+1), background last; one value for each sample, (N,).
    - reg: `loss(pred_boxes, target_boxes)`, both (P, 4) xyxy in pixels; one value for each pair, (P,).
    - a user's: `loss(a, b)` in the order of the inputs or `loss(A=a, B=b)`; the inputs broadcast against each other,
      and gradients go to those that its walks move.

    - those that read the progress of the training: `set_progress(share)` before each step, or a fourth argument
      `progress`; without either it is 1, the training's end.
    - those that read the classes' frequencies: `set_frequency((C,))` before training; without it they are 1.
    - of boxes, those that read the chance of the box's class: `loss(pred_boxes, target_boxes, score=(P,))`; else 1.

    iou is (N,) in [0, 1], read at positives only, None for 1; no gradient flows through it. Half-precision
    inputs are computed in float32, and so is the answer.

    Attributes:
        graph: the expression.
        alpha: weight α·y + (1 − α)(1 − y) on each element of a cls-binary loss; None for no weighting.
        taking: what the targets of a classification loss are, and what counts.
        fused: use the fused form where the expression has one (see `fused.py`). Set it to False for
            torch.func transforms, which need the plain one; torch.compile takes the plain one by itself.
    """

    def __init__(
        self, graph: LossGraph, reduction: str = "mean", alpha: float | None = None, **taking: Any
    ) -> None:
        """Wrap `graph`; ConfigError for an alpha its signature can't use, UnknownNameError for a reduction.

        `taking`: `targets`, `ignore_index` and `weight` as of `Taking`.
        """
        super().__init__(reduction)
        self.taking = Taking.of(graph.signature, **taking)
        self.alpha = check_alpha(alpha, graph.signature)
        self.fused = True
        self.progress: Tensor | None
        self.frequency: Tensor | None
        for one in (PROGRESS, FREQUENCY):
            state = torch.tensor(1.0) if one in standing_in(graph) else None
            self.register_buffer(one.word, state, persistent=False)
        self._set_graph(graph)

    def _set_graph(self, graph: LossGraph) -> None:
        self.graph = graph
        self.signature = graph.signature
        self._form = form_of(graph.signature)
        self._evaluate = compile_graph(graph)
        self._kernel = kernel_of(graph, self.alpha)
        self._standing = self._form.asked if isinstance(self._form, StandingForm) else ()
        self._read = frozenset(one.name for one in standing_in(graph))

    @property
    def formula(self) -> str:
        """The expression in prefix notation."""
        return self.graph.formula

    def set_progress(self, share: float) -> None:
        """Say before each step what share of the training is done, in [0, 1]; most losses read it not."""
        if self.progress is not None:
            self.progress = torch.full_like(self.progress, share)

    def set_frequency(self, frequency: Tensor | Sequence[float] | float) -> None:
        """Say before training how often each class is, as objects of it over those of the most frequent one, (C,).

        In [0, 1]; less than 0.01 is taken for that. A softmax head's background has 1. DataError for other numbers.
        """
        if self.frequency is not None:
            self.frequency = told_frequency(frequency).to(self.frequency.device)

    @property
    def reads_score(self) -> bool:
        """Whether it is to be called with `score`, the chance that the detector gives each box's own class."""
        return CHANCE.name in self._read

    def _checked(self, args: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        for place, one in enumerate(self._standing):
            kept = self._buffers.get(one.word)
            if kept is not None and len(args) <= self._form.arguments + place and named.get(one.word) is None:
                named = {**named, one.word: kept}
        return self._form.check(*args, **named, **self.taking.read)

    def forward(self, *args: Tensor | None, **named: Tensor | None) -> Tensor:
        """The loss; DataError where shapes, types or values don't fit the signature."""
        checked = self._checked(args, named)
        if self._counts_all(checked):
            value = self._value(self.reduction, *checked)
        else:
            value = self._counted(self.reduction, partial(self._value, "none"), *checked)
        return value if self.reduction != "none" else self._form.shaped(value, *args, **named)

    def _counts_all(self, checked: tuple[Any, ...]) -> bool:
        return self.taking == Taking() or self.taking.counts_all(checked[1])

    def _counted(
        self,
        reduction: str,
        elements: Callable[..., Tensor],
        logits: Tensor,
        target: Tensor,
        iou: Tensor | None,
        *state: Tensor,
    ) -> Tensor:
        """The loss where its elements, which `elements` gives, do not count alike."""
        logits, target, iou, kept = self.taking.kept(logits, target, iou)
        values = elements(logits, target, iou, *state)
        factor = self.taking.factor(logits, target, per_sample=values.dim() == 1)
        return share(values, factor, kept, reduction)

    def _value(self, reduction: str, *checked: Any) -> Tensor:
        """The loss of what is checked."""
        if self._kernel is None or not self.fused or self.taking.targets != "index":
            return reduce(self._elements(*checked), reduction)
        prediction, target, quality, *state = checked
        if torch.compiler.is_compiling():
            # A compiler fuses by itself, but makes a one-hot target in memory.
            plain = self._kernel.elements if isinstance(self._kernel, MulticlassKernel) else self._elements
            return reduce(plain(prediction, target, quality, *state), reduction)
        slope = prediction.requires_grad and torch.is_grad_enabled()
        kernel: Any = self._kernel
        plain = self._elements
        read = {one.name: now for one, now in zip(self._standing, state) if one.name in self._read}
        if read:
            kernel = kernel.at(read)
            plain = partial(_followed, plain, tuple(state))
        result: Tensor = FusedLoss.apply(prediction, target, quality, kernel, plain, reduction, slope)
        return result

    def elements(self, *args: Tensor | None, **named: Tensor | None) -> Tensor:
        """The loss before the reduction: (N, C) in the cls-binary signature, else one a sample; never fused."""
        checked = self._checked(args, named)
        if self._counts_all(checked):
            values = self._elements(*checked)
        else:
            values = self._counted("none", self._elements, *checked)
        return self._form.shaped(values, *args, **named)

    def _elements(self, *args: Any) -> Tensor:
        return self._form.elements(self._evaluate, self.alpha, *args)

    def __getstate__(self) -> dict[str, Any]:
        # The compiled evaluator holds closures, so the formula travels in its place.
        state = dict(self.__dict__)
        del state["_evaluate"], state["_kernel"], state["_form"], state["_standing"], state["_read"]
        state["graph"] = self.graph.formula
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        graph = parse_formula(state["graph"], state["signature"])
        super().__setstate__({name: value for name, value in state.items() if name != "graph"})
        self._set_graph(graph)

    def extra_repr(self) -> str:
        weighting = "" if self.alpha is None else f", alpha={self.alpha}"
        settings = f"signature={self.signature.name!r}, reduction={self.reduction!r}{weighting}{self.taking}"
        return f"{self.formula!r}, {settings}"


def _followed(
    elements: Callable[..., Tensor],
    state: tuple[Tensor, ...],
    logits: Tensor,
    target: Tensor,
    iou: Tensor | None,
) -> Tensor:
    """The elements where the training was when the loss was taken, however far it is by now."""
    return elements(logits, target, iou, *state)
