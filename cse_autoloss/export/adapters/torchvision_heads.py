"""The heads behind `torchvision.with_losses`; importing this module needs torchvision.

A head keeps its class's network and only answers `compute_loss` in its own way: its class is exchanged for a
subclass, so that weights, hooks and optimisers stay valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.roi_heads import RoIHeads

from cse_autoloss.errors import ConfigError
from cse_autoloss.export.adapters.elements import LossSource, elements_of, paired_iou

Targets = list[dict[str, Tensor]]


@dataclass
class HeadLosses:
    """What a head computes; None where torchvision's own loss stays."""

    cls: nn.Module | None
    box: nn.Module | None
    cls_weight: float
    box_weight: float
    learns_iou: bool = False

    def classification(self, logits: Tensor, labels: Tensor, iou: Tensor) -> Tensor:
        """Sum over all elements."""
        assert self.cls is not None
        return self.cls_weight * self.cls(logits, labels, iou).sum()

    def boxes(self, pred: Tensor, target: Tensor) -> Tensor:
        """Sum over the positives."""
        assert self.box is not None
        return self.box_weight * self.box(pred, target).sum()


def put_losses(
    model: nn.Module,
    cls_loss: LossSource | None,
    box_loss: LossSource | None,
    cls_weight: float,
    box_weight: float,
    centerness: str,
) -> None:
    """See `torchvision.with_losses`."""
    head = next((m for m in model.modules() if isinstance(m, (RetinaNetHead, FCOSHead, RoIHeads))), None)
    if head is None:
        raise ConfigError(f"expected a RetinaNet, an FCOS or a Faster R-CNN, got a {type(model).__name__}")
    if centerness not in ("centerness", "iou"):
        raise ConfigError(f"centerness is 'centerness' or 'iou', got {centerness!r}")
    signature = "cls-multiclass" if isinstance(head, RoIHeads) else "cls-binary"
    losses = HeadLosses(
        None if cls_loss is None else elements_of(cls_loss, signature),
        None if box_loss is None else elements_of(box_loss, "reg"),
        cls_weight,
        box_weight,
        centerness == "iou",
    )
    for base, ours in _OURS.items():
        if isinstance(head, base):
            if type(head) not in (base, ours):
                raise ConfigError(f"the head is a {type(head).__name__}, a changed {base.__name__}")
            head.__class__ = ours
            head.__dict__["losses"] = losses


class _RetinaNetHead(RetinaNetHead):
    losses: HeadLosses

    def compute_loss(
        self,
        targets: Targets,
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        losses = self.losses
        cls_sum = head_outputs["cls_logits"].new_zeros((), dtype=torch.float32)
        box_sum = cls_sum.clone()
        for image, target in enumerate(targets):
            matched, logits = matched_idxs[image], head_outputs["cls_logits"][image]
            positive = matched >= 0
            count = positive.sum().clamp(min=1)
            true = target["boxes"][matched[positive]]
            codes = head_outputs["bbox_regression"][image][positive]
            pred = self.regression_head.box_coder.decode_single(codes, anchors[image][positive])
            if losses.cls is not None:
                labels = torch.full_like(matched, logits.shape[-1])
                labels[positive] = target["labels"][matched[positive]]
                iou = torch.zeros_like(logits[:, 0], dtype=torch.float32)
                iou[positive] = paired_iou(pred, true)
                counts = matched != self.classification_head.BETWEEN_THRESHOLDS
                cls_sum = cls_sum + losses.classification(logits[counts], labels[counts], iou[counts]) / count
            if losses.box is not None:
                box_sum = box_sum + losses.boxes(pred, true) / count
        images = max(len(targets), 1)
        found: dict[str, Tensor] = {}
        if losses.cls is not None:
            found["classification"] = cls_sum / images
        else:
            found["classification"] = self.classification_head.compute_loss(
                targets, head_outputs, matched_idxs
            )
        if losses.box is not None:
            found["bbox_regression"] = box_sum / images
        else:
            found["bbox_regression"] = self.regression_head.compute_loss(
                targets, head_outputs, anchors, matched_idxs
            )
        return found


class _FCOSHead(FCOSHead):
    losses: HeadLosses

    def compute_loss(
        self,
        targets: Targets,
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        losses = self.losses
        # What of torchvision's own is not replaced comes from torchvision.
        found: dict[str, Tensor] = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        logits = head_outputs["cls_logits"].flatten(0, 1)
        matched = torch.stack(matched_idxs)
        positive = (matched >= 0).flatten()
        count = positive.sum().clamp(min=1)
        true = torch.cat([t["boxes"][m[m >= 0]] for t, m in zip(targets, matched, strict=True)])
        classes = torch.cat([t["labels"][m[m >= 0]] for t, m in zip(targets, matched, strict=True)])
        codes = head_outputs["bbox_regression"].flatten(0, 1)[positive].float()
        pred = self.box_coder.decode(codes, torch.cat(anchors)[positive])
        overlap = paired_iou(pred, true)
        if losses.cls is not None:
            labels = torch.full_like(matched, logits.shape[-1]).flatten()
            labels[positive] = classes
            iou = torch.zeros_like(logits[:, 0], dtype=torch.float32)
            iou[positive] = overlap
            found["classification"] = losses.classification(logits, labels, iou) / count
        if losses.box is not None:
            found["bbox_regression"] = losses.boxes(pred, true) / count
        if losses.learns_iou:
            centre = head_outputs["bbox_ctrness"].flatten()[positive].float()
            found["bbox_ctrness"] = (
                binary_cross_entropy_with_logits(centre, overlap.clamp(0, 1), reduction="sum") / count
            )
        return found


class _RoIHeads(RoIHeads):
    losses: HeadLosses

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Targets | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        if not self.training:
            return super().forward(features, proposals, image_shapes, targets)
        # torchvision's forward calls a function for its losses: let it run, watch what passes, replace the answer.
        seen: list[tuple[Tensor, Tensor]] = []
        hook = self.box_predictor.register_forward_hook(lambda module, args, output: seen.append(output))
        try:
            result, found = super().forward(features, proposals, image_shapes, targets)
            self._replace(found, *seen[0])
        finally:
            hook.remove()
            self.__dict__.pop("sampled", None)
        return result, found

    def select_training_samples(self, proposals: list[Tensor], targets: Targets | None) -> Any:
        self.__dict__["sampled"] = super().select_training_samples(proposals, targets)
        return self.__dict__["sampled"]

    def _replace(self, found: dict[str, Tensor], class_logits: Tensor, box_regression: Tensor) -> None:
        losses = self.losses
        proposals, _, label_lists, code_lists = self.__dict__["sampled"]
        labels, rows = torch.cat(label_lists), torch.cat(proposals)
        positive = labels > 0
        codes = box_regression.unflatten(-1, (-1, 4))[positive, labels[positive]]
        pred = self._decoded(codes, rows[positive])
        true = self._decoded(torch.cat(code_lists)[positive], rows[positive])
        if losses.cls is not None:
            background = class_logits.shape[-1] - 1
            iou = torch.ones_like(class_logits[:, 0], dtype=torch.float32)
            iou[positive] = paired_iou(pred, true)
            # torchvision has background first, we have it last.
            logits = class_logits.roll(-1, dims=-1)
            target = torch.where(positive, labels - 1, background)
            found["loss_classifier"] = losses.classification(logits, target, iou) / max(labels.numel(), 1)
        if losses.box is not None:
            found["loss_box_reg"] = losses.boxes(pred, true) / max(labels.numel(), 1)

    def _decoded(self, codes: Tensor, boxes: Tensor) -> Tensor:
        return self.box_coder.decode_single(codes.float(), boxes.float())


_OURS: dict[type[nn.Module], type[nn.Module]] = {
    RetinaNetHead: _RetinaNetHead,
    FCOSHead: _FCOSHead,
    RoIHeads: _RoIHeads,
}
