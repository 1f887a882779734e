"""Classification losses on logits: the signatures of sigmoid heads and of softmax heads, and how they are called.

Source: CSE-Autoloss (Liu et al., ICLR 2021); w is the IoU between a predicted box and its ground truth, detached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from cse_autoloss.errors import DataError
from cse_autoloss.graph import Input, Kind, Signature
from cse_autoloss.operators import OPERATORS
from cse_autoloss.spaces import head_grids, head_source
from cse_autoloss.spaces.checks import Targets, check_classification, check_shares, columns_of
from cse_autoloss.spaces.curves import Look, ProbeGrid
from cse_autoloss.spaces.form import Batch, Evaluate, Form, Need, Track, Uniform, View, Written, widened

IOUS = (0.25, 0.5, 0.75, 1.0)
"""w at which a loss that reads it is drawn."""

FAR_LOGIT = 30.0
"""Largest logit at which forms are compared; beyond it the S-curves are flat to float64's last digits."""

_CLASSES = 4


def binary_inputs(logits: Tensor, target: Tensor, iou: Tensor | None = None) -> dict[str, Tensor]:
    """Inputs of a sigmoid head's loss.

    Args:
        logits: (N, C).
        target: (N,) int64 class index; C means background. Or (N, C) floating point, which is PY itself.
        iou: in [0, 1], in the target's shape, read at positives only; None means 1. No gradient flows through it.

    Returns:
        X, Q, PY and NY, each (N, C) in the dtype of the logits.
    """
    if target.is_floating_point():
        quality = target if iou is None else target * iou.detach().to(logits.dtype)
        return {"X": logits, "Q": quality, "PY": target, "NY": 1 - target}
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
    """Inputs of a softmax head's loss.

    Args:
        logits: (N, C+1), background in the last column.
        target: (N,) int64 class index; C means background. Or (N, C+1) floating point, which is Y itself.
        iou: (N,) in [0, 1], read at positives only; None means 1. No gradient flows through it.

    Returns:
        X and Y (N, C+1), Z (N, 1), in the dtype of the logits.
    """
    if target.is_floating_point():
        return {"X": logits, "Y": target, "Z": torch.ones_like(logits[:, :1])}
    background = logits.shape[-1] - 1
    one_hot = torch.zeros_like(logits).scatter(-1, target.unsqueeze(-1), 1.0)
    ones = torch.ones(target.shape, dtype=logits.dtype, device=logits.device)
    weight = ones if iou is None else torch.where(target < background, iou.detach().to(logits.dtype), ones)
    return {"X": logits, "Y": one_hot, "Z": weight.unsqueeze(-1)}


class HeadForm(Form):
    """Losses of logits (N, C), a class index (N,) and, if wanted, the IoU (N,) of each positive."""

    moving = frozenset({"X"})
    accepted = (
        "falls towards the right answer at all {points} points looked at (w from 0.02), "
        "and its gradient vanishes"
    )
    noun = "classification"
    ignores = True
    properties = (
        ("Reads the logit and the target", frozenset({"ignores-logit", "ignores-target"})),
        ("Finite for logits from −100 to 100", frozenset({"not-finite"})),
        (
            "Falls towards the right answer, at w = 1",
            frozenset({"constant", "rises-with-logit", "falls-with-logit", "oscillates", "jumps"}),
        ),
        (
            "Moves with every logit that should move",
            frozenset(
                {"ignores-positives", "ignores-negatives", "ignores-background", "ignores-other-classes"}
            ),
        ),
        ("Gradient vanishes towards the right answer", frozenset({"gradient-does-not-vanish"})),
        (
            "For w < 1 falls, or aims at a logit that rises with w",
            frozenset({"aim-not-single", "aim-does-not-rise"}),
        ),
    )
    background: ClassVar[str]
    extra: ClassVar[int]
    """Columns that stand for no class: a softmax head has one for the background."""

    @staticmethod
    def inputs(logits: Tensor, target: Tensor, iou: Tensor | None = None) -> dict[str, Tensor]:
        """The signature's inputs from what a training step has."""
        raise NotImplementedError

    def check(
        self,
        logits: Tensor,
        target: Tensor,
        iou: Tensor | None = None,
        progress: Tensor | float | None = None,
        *,
        frequency: Tensor | float | None = None,
        targets: Targets = "index",
        ignore_index: int | None = None,
    ) -> tuple[Any, ...]:
        # Progress and frequency are for those that read them, so that a training script can call all losses alike.
        columns = columns_of(logits)
        highest = columns - self.extra
        meaning = self.background.format(highest)
        check_classification(
            logits, target, iou, highest=highest, meaning=meaning, maps=True, targets=targets,
            ignore_index=ignore_index,
        )  # fmt: skip
        maps = logits.dim()
        logits = widened(_rows(logits, maps))
        target = _rows(target, maps) if targets == "index" else _rows(target, maps).to(logits.dtype)
        if targets == "soft" and self.extra:
            check_shares(target)
            if iou is not None:
                raise DataError(
                    "iou is of samples with one class each; soft targets of softmax heads take none"
                )
        return logits, target, None if iou is None else _rows(iou.detach(), maps)

    def shaped(
        self, values: Tensor, logits: Tensor, *others: Tensor | None, **named: Tensor | None
    ) -> Tensor:
        if logits.dim() == 2:
            return values
        places = logits.shape[:1] + logits.shape[2:]
        if values.dim() == 1:
            return values.reshape(places)
        return values.reshape(*places, logits.shape[1]).movedim(-1, 1)

    def sample(self, count: int, uniform: Uniform, dtype: torch.dtype) -> dict[str, Tensor]:
        """Logits within ±30, half of them within ±3; IoUs 0, 1 and between; one sample in three background."""
        reach = torch.where(uniform(count, 1) < 0.5, 3.0, FAR_LOGIT)
        logits = ((2 * uniform(count, _CLASSES + self.extra) - 1) * reach).to(dtype)
        target = torch.arange(count) % 6
        target = torch.where(target < _CLASSES, target, _CLASSES)
        return self.inputs(logits, target, (1.4 * uniform(count) - 0.2).clamp(0, 1).to(dtype))

    def _marks(self, inputs: Mapping[str, Tensor], tangents: Mapping[str, Tensor]) -> ProbeGrid:
        # Farther out, rounding in 1 - σ(x) would tell apart what is equal.
        near = inputs["X"] * (head_grids.END / FAR_LOGIT)
        return super()._marks({**inputs, "X": near}, tangents)

    def batch(self, uniform: Callable[..., Tensor]) -> Batch:
        classes, columns = torch.arange(96) % 4, 3 + self.extra
        logits = uniform(96, columns, low=-6.0, high=6.0)
        iou = uniform(96, low=0.0, high=1.0)
        own = torch.nn.functional.one_hot(classes, 4)[:, :columns].bool()
        return Batch((logits, classes, iou), split=own if self.weighted else None)

    def example(self, read: Iterable[str]) -> dict[str, tuple[Tensor, Mapping[int, str]]]:
        found: dict[str, tuple[Tensor, Mapping[int, str]]] = {
            "logits": (torch.zeros(6, 5), {0: "N", 1: "C"}),
            "target": (torch.zeros(6, dtype=torch.int64), {0: "N"}),
        }
        if {"Q", "Z"} & set(read):
            found["iou"] = (torch.ones(6), {0: "N"})
        return found

    def views(self, loss: Callable[..., Tensor]) -> tuple[View, ...]:
        names = self.view_names
        ious = IOUS if _reads_iou(loss) else (1.0,)
        own = tuple(self._track(True, w, f"w = {w:g}" if len(ious) > 1 else "") for w in ious)
        return (
            View(names[0], names[2], "∂L/∂x", own),
            View(names[1], names[2], "∂L/∂x", (self._track(False, 1.0, ""),)),
        )

    view_names: ClassVar[tuple[str, str, str]]

    def _track(self, own: bool, w: float, label: str) -> Track:
        x = torch.linspace(-6, 6, 481, dtype=torch.float64).requires_grad_()
        logits = torch.stack([x, *[torch.zeros_like(x)] * (2 * self.extra)], -1)
        target = torch.full((len(x),), 0 if own else 1)
        args = (logits, target, torch.full((len(x),), w, dtype=torch.float64))
        return Track(x.detach(), args, x, None, label, w, w == 1.0)

    def forward(self, written: Written) -> list[str]:
        return head_source.forward(written, sigmoid=self.head == "sigmoid")

    def helpers(self, read: Iterable[str]) -> str:
        return head_source.ROWS


def _rows(values: Tensor, axes: int) -> Tensor:
    """Samples first: what belongs to logits of so many axes as (M, C) where it has the classes, else (M,)."""
    if axes == 2:
        return values
    return values.movedim(1, -1).flatten(0, -2) if values.dim() == axes else values.flatten()


def _reads_iou(loss: Callable[..., Tensor]) -> bool:
    logits = torch.tensor([[0.7, -0.4, 0.2]], dtype=torch.float64)
    low, high = (loss(logits, torch.tensor([0]), torch.tensor([w])) for w in (0.3, 0.8))
    return not torch.equal(low, high)


_LOGIT = Need(frozenset({"X"}), "ignores-logit", "formula does not read X, so there is nothing to train")
_PICTURE = (
    "Where a line names w, that is the IoU of a positive's predicted box with its ground truth. Below stands the "
    "slope: how hard, and which way, a training step pushes the logit."
)


class SigmoidForm(HeadForm):
    """One logit a class, each by itself; the target C is background."""

    head: ClassVar[Literal["sigmoid", "softmax"] | None] = "sigmoid"
    weighted = True
    background, extra = "{} is background", 0
    inputs = staticmethod(binary_inputs)
    needs = (
        _LOGIT,
        Need(
            frozenset({"PY", "NY", "Q"}), "ignores-target",
            "formula reads none of PY, NY or Q, so it can't know the answer",
        ),
    )  # fmt: skip
    title = "classification, sigmoid heads (cls-binary)"
    reading = f"Each line is the loss of one logit. {_PICTURE}"
    baselines = (("BCE", "bce"), ("focal", "focal"))
    summary = "Classification loss on the logits of a sigmoid head."
    view_names = ("Positive: y = 1", "Negative: y = 0", "logit x")

    def grid(self, look: Look) -> ProbeGrid:
        return head_grids.sigmoid_grid(binary_inputs, look)

    def class_counts(self, coupled: bool) -> tuple[int, ...]:
        return head_grids.CLASS_COUNTS if coupled else ()

    def marks(self, coupled: bool) -> ProbeGrid:
        grid = super().marks(coupled)
        if coupled:
            return grid
        # Classes that don't see each other are samples of their own: none can hide behind another.
        alone = (
            {name: value.flatten() for name, value in part.items()} for part in (grid.inputs, grid.tangents)
        )
        return ProbeGrid.scattered(f"{grid.name}, alone", *alone)

    def elements(self, evaluate: Evaluate, alpha: float | None, *args: Any) -> Tensor:
        prediction, target, iou = args
        if iou is not None:
            # binary_inputs multiplies by iou everywhere; a NaN beside background must not leak in.
            read = target > 0 if target.is_floating_point() else target < prediction.shape[-1]
            iou = torch.where(read, iou, torch.zeros_like(iou))
        inputs = binary_inputs(prediction, target, iou)
        values = evaluate(inputs).expand(prediction.shape)
        return values if alpha is None else values * (alpha * inputs["PY"] + (1 - alpha) * inputs["NY"])


class SoftmaxForm(HeadForm):
    """One logit a class, all against each other; the last column is background."""

    head: ClassVar[Literal["sigmoid", "softmax"] | None] = "softmax"
    background, extra = "the last column is background", 1
    inputs = staticmethod(multiclass_inputs)
    needs = (
        _LOGIT,
        Need(frozenset({"Y"}), "ignores-target", "formula does not read Y, so it can't know the answer"),
    )
    title = "classification, softmax heads (cls-multiclass)"
    reading = f"Three classes; one logit moves and the others stand at 0. {_PICTURE}"
    baselines = (("CE", "cross-entropy"), ("focal", "softmax-focal"))
    summary = "Classification loss on the logits of a softmax head."
    view_names = ("The true class's logit", "A wrong class's logit", "logit x, all others 0")

    def grid(self, look: Look) -> ProbeGrid:
        return head_grids.softmax_grid(multiclass_inputs, look)

    def class_counts(self, coupled: bool) -> tuple[int, ...]:
        return head_grids.CLASS_COUNTS

    def elements(self, evaluate: Evaluate, alpha: float | None, *args: Any) -> Tensor:
        values = evaluate(multiclass_inputs(*args))
        return values.expand(args[0].shape[0], 1).squeeze(-1)


def _of_class(name: str, latex: str, meaning: str, code: str, low: float = 0.0, **more: Any) -> Input:
    return Input(name, low, 1.0 if low == 0.0 else -low, meaning, Kind.PER_CLASS, latex, code, **more)


_LOGITS = _of_class("X", "x", "logits", "logits", -float("inf"))

CLS_BINARY = Signature(
    "cls-binary",
    (
        _LOGITS,
        _of_class("Q", "q", "IoU at a positive's class, else 0", "quality"),
        _of_class("PY", "y", "one-hot target", "positive"),
        _of_class("NY", r"\bar{y}", "1 - y", "negative", complement="PY"),
    ),
    tuple(name for name in OPERATORS if name != "Dot"),
    "Neg(Add(Mul(PY,Log(Sig(X))),Mul(NY,Log(Sub(1,Sig(X))))))",
    result=Kind.PER_CLASS,
    form=SigmoidForm(),
)
"""Sigmoid heads, one-stage detectors; the default is binary cross-entropy."""

CLS_MULTICLASS = Signature(
    "cls-multiclass",
    (
        _LOGITS,
        _of_class("Y", "y", "one-hot target", "one_hot", one_hot=True),
        Input("Z", 0.0, 1.0, "IoU of a positive, else 1", Kind.PER_SAMPLE, "w", "quality"),
    ),
    tuple(OPERATORS),
    "Neg(Dot(Y,Log(Softmax(X))))",
    form=SoftmaxForm(),
)
"""Softmax heads, two-stage detectors; the default is cross-entropy."""
