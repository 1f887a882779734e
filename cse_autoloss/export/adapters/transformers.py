"""Hugging Face Transformers' DETR and its kin, trained with our losses.

    model = AutoModelForObjectDetection.from_pretrained("facebook/detr-resnet-50")
    with_losses(model, cls_loss="cse-autoloss-a-cls", box_loss="cse-autoloss-b-reg")

The network, auxiliary layers, denoising queries, L1 loss and coefficients of the library stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeVar

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from cse_autoloss.errors import ConfigError
from cse_autoloss.export.adapters.elements import LossSource, elements_of, paired_iou

Model = TypeVar("Model", bound=nn.Module)
Target = Mapping[str, Tensor]
"""An image's `class_labels` (T,) and `boxes` (T, 4): centre and size, in parts of the image."""
Indices = Sequence[tuple[Tensor, Tensor]]
"""For each image the matched queries and their targets."""

_KNOWN = {
    "ForObjectDetectionLoss": ("ImageLoss", "cls-multiclass"),
    "DeformableDetrForObjectDetectionLoss": ("DeformableDetrImageLoss", "cls-binary"),
    "RTDetrForObjectDetectionLoss": ("RTDetrLoss", "cls-binary"),
}
"""The library's loss function -> the class that it computes with, and the signature of our losses that fits."""


@dataclass(frozen=True)
class _Losses:
    """What a criterion computes; None where the library's own loss stays."""

    cls: nn.Module | None
    box: nn.Module | None
    cls_weight: float
    box_weight: float
    pixels: float

    def corners(self, boxes: Tensor) -> Tensor:
        """(N, 4) boxes of the library as x1, y1, x2, y2 in pixels, in at least float32."""
        boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
        centre, half = boxes[:, :2], boxes[:, 2:] / 2
        return self.pixels * torch.cat([centre - half, centre + half], 1)


def with_losses(
    model: Model,
    cls_loss: LossSource | None = None,
    box_loss: LossSource | None = None,
    *,
    cls_weight: float = 1.0,
    box_weight: float = 1.0,
    match: bool = False,
    pixels: float = 640.0,
) -> Model:
    """Put our losses into a detector of Transformers, in place.

    The box loss takes the place of GIoU; the L1 loss beside it stays. Normalised as the library does: a DETR's
    classification is the mean with the no-object class weighted by `eos_coefficient`, that of the others the sum by
    the number of objects. IoUs are those of each matched box with its object.

    Args:
        model: DETR, Conditional, DAB or Deformable DETR, RT-DETR or one that shares their loss function.
        cls_loss: cls-multiclass for a DETR (no object is its last class, as ours), cls-binary for the others; None
            keeps the library's.
        box_loss: reg; None keeps GIoU.
        cls_weight, box_weight: factors on the two, beside the library's coefficients.
        match: the matcher's costs come from these two losses as well: of class, what a query loses as this object
            less what it loses as background; of box, the box loss. The library's factors of costs and its L1 stay.
        pixels: length of an image's side. Losses that depend on nothing but IoUs do not depend on it.

    Returns:
        The model.

    Raises:
        AutoLossError: another model, or a loss of another signature.
    """
    theirs = getattr(model, "loss_function", None)
    name = getattr(theirs, "__name__", "")
    if not isinstance(theirs, FunctionType) or name not in _KNOWN:
        raise ConfigError(
            "expected a DETR, Conditional, DAB or Deformable DETR or an RT-DETR of Transformers, "
            f"got a {type(model).__name__}"
        )
    if match and (cls_loss is None or box_loss is None):
        raise ConfigError("match=True takes the matcher's costs from both losses: give cls_loss and box_loss")
    criterion, signature = _KNOWN[name]
    losses = _Losses(
        None if cls_loss is None else elements_of(cls_loss, signature),
        None if box_loss is None else elements_of(box_loss, "reg"),
        cls_weight,
        box_weight,
        pixels,
    )
    # The library's function as it is, which finds our criterion under the name of its own.
    names = {**theirs.__globals__, criterion: _criterion(theirs.__globals__[criterion], losses, match)}
    model.loss_function = FunctionType(  # type: ignore[assignment]
        theirs.__code__, names, name, theirs.__defaults__, theirs.__closure__
    )
    return model


def _criterion(theirs: Any, losses: _Losses, match: bool) -> type[nn.Module]:
    class Criterion(theirs):
        matcher: nn.Module

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if match:
                self.matcher = _Matcher(
                    self.matcher, losses, self.num_classes, getattr(self, "eos_coef", 1.0)
                )

        def loss_labels(self, outputs: Any, targets: Any, indices: Any, num_boxes: float) -> Any:
            if losses.cls is None:
                return super().loss_labels(outputs, targets, indices, num_boxes)
            return {"loss_ce": self._classification(outputs, targets, indices, num_boxes)}

        def loss_labels_vfl(self, outputs: Any, targets: Any, indices: Any, num_boxes: float) -> Any:
            if losses.cls is None:
                return super().loss_labels_vfl(outputs, targets, indices, num_boxes)
            return {"loss_vfl": self._classification(outputs, targets, indices, num_boxes)}

        def loss_boxes(self, outputs: Any, targets: Any, indices: Any, num_boxes: float) -> Any:
            found = super().loss_boxes(outputs, targets, indices, num_boxes)
            if losses.box is not None:
                values = losses.box(*self._pairs(outputs, targets, indices))
                found["loss_giou"] = losses.box_weight * values.sum() / num_boxes
            return found

        def _pairs(self, outputs: Any, targets: Any, indices: Indices) -> tuple[Tensor, Tensor]:
            pred = outputs["pred_boxes"][self._get_source_permutation_idx(indices)]
            true = torch.cat([target["boxes"][j] for target, (_, j) in zip(targets, indices, strict=True)])
            return losses.corners(pred), losses.corners(true)

        def _classification(self, outputs: Any, targets: Any, indices: Indices, num_boxes: float) -> Tensor:
            assert losses.cls is not None
            logits, matched = outputs["logits"], self._get_source_permutation_idx(indices)
            labels = torch.full(logits.shape[:2], self.num_classes, device=logits.device)
            labels[matched] = torch.cat(
                [target["class_labels"][j] for target, (_, j) in zip(targets, indices, strict=True)]
            )
            softmax = logits.shape[-1] > self.num_classes
            iou = torch.full(labels.shape, float(softmax), device=logits.device)
            iou[matched] = paired_iou(*self._pairs(outputs, targets, indices))
            values = losses.cls(logits.flatten(0, 1), labels.flatten(), iou.flatten())
            if not softmax:
                return losses.cls_weight * values.sum() / num_boxes
            weight = self.empty_weight[labels.flatten()]
            return losses.cls_weight * (values * weight).sum() / weight.sum()

    return Criterion


class _Matcher(nn.Module):
    """The assignment of queries to objects that loses least, by our losses and the library's factors."""

    def __init__(self, theirs: Any, losses: _Losses, background: int, background_weight: float) -> None:
        super().__init__()
        self.factors = theirs.class_cost, theirs.bbox_cost, theirs.giou_cost
        self.losses, self.background, self.background_weight = losses, background, background_weight

    @torch.no_grad()
    def forward(self, outputs: Any, targets: Sequence[Target]) -> list[tuple[Tensor, Tensor]]:
        """For each image the matched queries and their targets."""
        found = []
        for logits, boxes, target in zip(outputs["logits"], outputs["pred_boxes"], targets, strict=True):
            costs = torch.nan_to_num(self._costs(logits, boxes, target), nan=1e30, posinf=1e30, neginf=-1e30)
            queries, objects = linear_sum_assignment(costs.cpu().numpy())
            found.append((torch.as_tensor(queries), torch.as_tensor(objects)))
        return found

    def _costs(self, logits: Tensor, boxes: Tensor, target: Target) -> Tensor:
        """(Q, T)."""
        assert self.losses.cls is not None
        assert self.losses.box is not None
        labels, true = target["class_labels"], target["boxes"].to(boxes.dtype)
        shape = queries, objects = len(boxes), len(true)
        if not objects:
            return boxes.new_zeros(shape)
        pred = self.losses.corners(boxes).repeat_interleave(objects, 0)
        goal = self.losses.corners(true).repeat(queries, 1)
        softmax = logits.shape[-1] > self.background
        rows, iou = logits.repeat_interleave(objects, 0), paired_iou(pred, goal)
        as_object = self.losses.cls(rows, labels.repeat(queries), iou).view(*shape, -1).sum(-1)
        nothing = torch.full((queries,), self.background, device=logits.device)
        as_nothing = self.losses.cls(logits, nothing, torch.full_like(nothing, int(softmax), dtype=iou.dtype))
        as_nothing = as_nothing.view(queries, -1).sum(-1, keepdim=True)
        by_class = as_object - (self.background_weight if softmax else 1.0) * as_nothing
        by_box = self.losses.box(pred, goal).view(shape)
        of_class, of_l1, of_box = self.factors
        return of_class * by_class + of_l1 * torch.cdist(boxes, true, p=1) + of_box * by_box
