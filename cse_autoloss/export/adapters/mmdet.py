"""MMDetection's call: `loss(pred, target, weight=None, avg_factor=None, reduction_override=None)`.

    from cse_autoloss.export.adapters.mmdet import register
    register()
    # then, in a config:
    loss_cls=dict(type="AutoLossClassification", loss="cse-autoloss-b-cls", use_sigmoid=True, loss_weight=1.0)
    loss_bbox=dict(type="AutoLossBox", loss="cse-autoloss-b-reg", loss_weight=1.0)

Only `register` needs mmdet; the classes are plain torch modules.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cse_autoloss.errors import ConfigError, DataError, MissingExtraError
from cse_autoloss.export.adapters.elements import LossSource, elements_of
from cse_autoloss.losses.reduction import check_reduction, reduce
from cse_autoloss.losses.taking import IGNORED


class _Weighted(nn.Module):
    """What both kinds share: weighting, and the mean over `avg_factor`."""

    def __init__(self, loss: nn.Module, reduction: str, loss_weight: float) -> None:
        super().__init__()
        self.loss = loss
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight

    def _reduced(self, values: Tensor, avg_factor: float | Tensor | None, override: str | None) -> Tensor:
        reduction = self.reduction if override is None else check_reduction(override)
        values = values * self.loss_weight
        if reduction == "none":
            return values
        if reduction == "sum":
            if avg_factor is not None:
                raise ConfigError("avg_factor divides a mean; with reduction 'sum' there is none")
            return values.sum()
        if avg_factor is None:
            return reduce(values, "mean")
        return values.sum() / (avg_factor + torch.finfo(torch.float32).eps)


class AutoLossClassification(_Weighted):
    """A classification loss in MMDetection's call.

    A sigmoid loss (cls-binary) reads pred (N, C); target is one of
    - (N,) class indices, C means background;
    - a pair (indices (N,), IoU scores (N,)), as for quality focal loss;
    - (N, C) with the IoU at a positive's class and 0 elsewhere, as for varifocal loss.
    A softmax loss (cls-multiclass) reads pred (N, C + 1) and target (N,) or the pair.
    """

    def __init__(
        self,
        loss: LossSource = "cse-autoloss-b-cls",
        use_sigmoid: bool = True,
        reduction: str = "mean",
        loss_weight: float = 1.0,
    ) -> None:
        """Wrap a loss.

        Args:
            loss: a catalogue name, a formula, a loss.json, a graph or one of our modules.
            use_sigmoid: what the heads ask for: True for a cls-binary loss, False for a cls-multiclass one.
            reduction: "mean", "sum" or "none".
            loss_weight: factor on the loss.

        Raises:
            AutoLossError: no such loss, or its signature does not fit `use_sigmoid`.
        """
        signature = "cls-binary" if use_sigmoid else "cls-multiclass"
        super().__init__(elements_of(loss, signature), reduction, loss_weight)
        self.use_sigmoid = use_sigmoid

    def forward(
        self,
        pred: Tensor,
        target: Tensor | tuple[Tensor, Tensor],
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """The loss.

        Args:
            pred: logits.
            target: see the class.
            weight: (N,), or of the shape of pred.
            avg_factor: what a mean divides by, in place of the number of elements.
            reduction_override: reduction of this call.
        """
        labels, iou = self._split(pred, target)
        values = self.loss(pred, labels, iou)
        if weight is not None:
            values = values * _fitted(weight, values)
        if avg_factor is None and (reduction_override or self.reduction) == "mean":
            values = values[labels != IGNORED]
        return self._reduced(values, avg_factor, reduction_override)

    def _split(self, pred: Tensor, target: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
        if isinstance(target, (tuple, list)):
            labels, iou = target
            return labels.long(), iou
        if target.dim() == 1:
            return target.long(), None
        if not self.use_sigmoid or target.shape != pred.shape:
            raise DataError(
                f"target must be (N,), or for a sigmoid loss a pair or {tuple(pred.shape)}, "
                f"got {tuple(target.shape)}"
            )
        iou, labels = target.max(-1)
        return torch.where(iou > 0, labels, target.shape[-1]), iou


class AutoLossBox(_Weighted):
    """A box loss in MMDetection's call: pred and target (N, 4) xyxy in pixels."""

    def __init__(
        self, loss: LossSource = "cse-autoloss-b-reg", reduction: str = "mean", loss_weight: float = 1.0
    ) -> None:
        """Wrap a loss: a catalogue name, a formula, a loss.json, a graph or one of our modules."""
        super().__init__(elements_of(loss, "reg"), reduction, loss_weight)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """The loss; weight is (N,), or (N, 4), of which the mean counts. The mean of no boxes is 0."""
        values = self.loss(pred, target)
        if weight is not None:
            weight = weight.mean(-1) if weight.dim() == 2 else weight
            values = values * _fitted(weight, values)
        return self._reduced(values, avg_factor, reduction_override)


def register() -> None:
    """Enter both classes in MMDetection's registry of models, under their own names.

    Raises:
        MissingExtraError: mmdet is not installed.
    """
    try:
        from mmdet.registry import MODELS  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise MissingExtraError("the registry needs MMDetection 3: pip install mmdet") from None
    for module in (AutoLossClassification, AutoLossBox):
        MODELS.register_module(module=module, force=True)


def _fitted(weight: Tensor, values: Tensor) -> Tensor:
    if weight.dim() == 1 and values.dim() == 2:
        weight = weight.unsqueeze(-1)
    if weight.dim() != values.dim() or weight.shape[0] != values.shape[0]:
        raise DataError(f"weight {tuple(weight.shape)} does not fit the loss {tuple(values.shape)}")
    return weight
