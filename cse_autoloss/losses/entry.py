"""What a catalogue entry is: a loss that declares its own truth, so that one generic test checks each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from cse_autoloss.errors import ConfigError
from cse_autoloss.graph import Signature, parse_formula
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.losses.reduction import ReducedLoss, check_alpha
from cse_autoloss.losses.taking import Taking

Property = Literal["non-negative", "monotone", "convex", "scale-invariant", "iou-aware", "aims-at-iou"]
"""What may be declared of a loss.

- non-negative: no value is below 0.
- monotone: classification: falls as the target's logit (or cosine) rises and rises with any other. reg:
  falls as an overlapping box moves straight towards its target.
- convex: in the logits.
- scale-invariant: reg: the same when all coordinates are multiplied by one number.
- iou-aware: classification: depends on the IoU of a positive.
- aims-at-iou: a positive of IoU < 1 has its least loss at one finite logit, which rises with the IoU.
"""


Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Point:
    """A sample, and the loss's value and gradient there.

    Attributes:
        prediction: logits of one sample (cls), cosines (margin) or the predicted box xyxy (reg).
        target: class index, or the target box.
        value: of the loss before the reduction: one number a class in cls-binary, else one.
        gradient: of the values' sum by the prediction.
        iou: for classification; None means 1.
    """

    prediction: Numbers
    target: int | Numbers
    value: Numbers
    gradient: Numbers
    iou: float | None = None


@dataclass(frozen=True)
class Entry:
    """One loss of the catalogue.

    Attributes:
        name: kebab-case, what `load_loss` takes.
        title: for people, so that it stands well inside a sentence.
        signature: what it reads.
        source: paper and year.
        formula: prefix notation; None where the loss is a plain torch module.
        factory: makes the module of a loss without a formula, from the reduction.
        alpha: class weighting of a cls-binary loss, used unless the caller says otherwise.
        points: the declared values and gradients.
        infimum: greatest lower bound of the values, over all logits or cosines; for boxes, over those of at
            least one square pixel; None where it depends on the number of classes.
        properties: what holds of it; see `Property`.
        note: what a reader should know besides.
        seed: whether a search starts from it, where it is an expression. What is added to the catalogue later is no
            seed, or every search would find something else than it did before.
        whole: whether a batch is one whole: such a loss has no points, and is compared with no loss of single samples.
    """

    name: str
    title: str
    signature: Signature
    source: str
    formula: str | None = None
    factory: Callable[[str], ReducedLoss] | None = None
    alpha: float | None = None
    points: tuple[Point, ...] = ()
    infimum: float | None = 0.0
    properties: frozenset[Property] = field(default_factory=frozenset)
    note: str = ""
    seed: bool = True
    whole: bool = False

    def make(
        self, reduction: str = "mean", alpha: float | Literal["default"] | None = "default", **taking: Any
    ) -> ReducedLoss:
        """The loss as a torch module; ConfigError for an alpha that the loss has no use for, or a `taking`."""
        if self.formula is None:
            assert self.factory is not None
            if alpha != "default":
                check_alpha(alpha, self.signature)
            taken = Taking.of(self.signature, **taking)
            loss = self.factory(reduction)
            if self.whole:
                if alpha not in ("default", None) or taken != Taking(ignore_index=taken.ignore_index):
                    raise ConfigError(f"{self.name}: takes class indices alone: no alpha, targets or weight")
                loss.taking = taken  # type: ignore[assignment]
            return loss
        weight = self.alpha if alpha == "default" else alpha
        return GraphLoss(parse_formula(self.formula, self.signature), reduction, weight, **taking)
