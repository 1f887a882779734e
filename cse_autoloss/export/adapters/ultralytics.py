"""Ultralytics' YOLO detectors (YOLOv8, YOLO11, YOLO26), trained with our losses.

    trainer = trainer_with(cls_loss="cse-autoloss-b-cls", box_loss="cse-autoloss-b-reg")
    YOLO("yolo11n.pt").train(trainer=trainer, data="mine.yaml")

The library's network, assignment of anchors, distribution loss, gains and normalisation stay as they are. Nothing of it
is imported before one of the functions is called.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cse_autoloss.errors import ConfigError, MissingExtraError
from cse_autoloss.export.adapters.elements import LossSource, elements_of

Model = TypeVar("Model", bound=nn.Module)


def with_losses(
    model: Model,
    cls_loss: LossSource | None = None,
    box_loss: LossSource | None = None,
    *,
    cls_weight: float = 1.0,
    box_weight: float = 1.0,
) -> Model:
    """Put our losses into a detector of Ultralytics, in place, for a training loop of your own.

    As the library does, values are summed and divided by the sum of the assigned scores, and a positive's box counts as
    much as its score. The classification loss sees a positive's score as its IoU w: the assigner makes it from class
    score and overlap, and scales it so that an object's best anchor has its IoU.

    Args:
        model: a DetectionModel whose `args` are set (`YOLO(…).model`, once the gains box, cls and dfl stand there).
        cls_loss: cls-binary; None keeps the library's cross-entropy with soft targets.
        box_loss: reg, on boxes in pixels of the network's input; None keeps CIoU. The distribution loss stays.
        cls_weight, box_weight: factors on the two, beside the library's gains.

    Returns:
        The model; what it is saved as holds nothing of ours.

    Raises:
        MissingExtraError: ultralytics is not installed, or not with a torchvision that fits the installed torch.
        AutoLossError: another model, or a loss of another signature.
    """
    library = _library()
    make = getattr(model, "init_criterion", None)
    criterion: Any = make() if make is not None and hasattr(model, "args") else None
    if any(type(part) is not library.v8DetectionLoss for part in _parts(criterion)):
        raise ConfigError(
            "expected a YOLO detector of Ultralytics (YOLOv8, YOLO11, YOLO26) with its args, "
            f"got a {type(model).__name__}"
        )
    _put(criterion, *_read(cls_loss, box_loss), cls_weight, box_weight)
    model.criterion = criterion
    return model


def trainer_with(
    cls_loss: LossSource | None = None,
    box_loss: LossSource | None = None,
    *,
    cls_weight: float = 1.0,
    box_weight: float = 1.0,
) -> Any:
    """The library's trainer of detectors with our losses: `YOLO(…).train(trainer=…)`; arguments as of `with_losses`.

    On one device: for several the library starts processes that can't find a class made here.
    """
    _library()
    from ultralytics.models.yolo.detect import DetectionTrainer

    # Read here, so that a wrong name is told before the library has read the data.
    ours = (*_read(cls_loss, box_loss), cls_weight, box_weight)

    class AutoLossTrainer(DetectionTrainer):
        def set_model_attributes(self) -> None:
            super().set_model_attributes()
            with_losses(self.model, *ours[:2], cls_weight=cls_weight, box_weight=box_weight)

        def resume_training(self, ckpt: Any) -> None:
            """A resumed YOLO26 gets a new criterion, which counts its epochs."""
            before = self.model.criterion
            super().resume_training(ckpt)
            if self.model.criterion is not before:
                _put(self.model.criterion, *ours)

    return AutoLossTrainer


def _library() -> Any:
    """The library's module of losses."""
    try:
        from ultralytics.utils import loss
    except (ImportError, RuntimeError):  # RuntimeError: torchvision's operators do not fit this torch
        raise MissingExtraError("the Ultralytics adapter needs it: pip install ultralytics") from None
    return loss


def _read(
    cls_loss: LossSource | None, box_loss: LossSource | None
) -> tuple[nn.Module | None, nn.Module | None]:
    return (
        None if cls_loss is None else elements_of(cls_loss, "cls-binary"),
        None if box_loss is None else elements_of(box_loss, "reg"),
    )


def _parts(criterion: Any) -> list[Any]:
    """A YOLO26 has two heads, with a criterion each."""
    return [criterion.one2many, criterion.one2one] if hasattr(criterion, "one2many") else [criterion]


def _put(
    criterion: Any, cls: nn.Module | None, box: nn.Module | None, cls_weight: float, box_weight: float
) -> None:
    for part in _parts(criterion):
        if cls is not None:
            part.bce = _Classification(cls, cls_weight).to(part.device)
        if box is not None:
            part.bbox_loss = _Boxes(box, part.bbox_loss, box_weight).to(part.device)


class _Classification(nn.Module):
    """Called as BCEWithLogitsLoss without reduction: logits and soft targets (B, A, C) to values (B, A, C)."""

    def __init__(self, loss: nn.Module, weight: float) -> None:
        super().__init__()
        self.loss, self.weight = loss, weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The class with a score above 0 is the target, its score w; without one it is background, C."""
        score, label = target.flatten(0, 1).max(-1)
        label = torch.where(score > 0, label, target.shape[-1])
        values = self.loss(logits.flatten(0, 1).float(), label, score.float())
        return self.weight * values.view(*logits.shape[:2], -1)


class _Boxes(nn.Module):
    """Called as the library's BboxLoss, whose distribution loss is kept."""

    def __init__(self, loss: nn.Module, theirs: nn.Module, weight: float) -> None:
        super().__init__()
        self.loss, self.theirs, self.weight = loss, theirs, weight

    def forward(
        self, distances: Tensor, pred: Tensor, anchors: Tensor, goal: Tensor, scores: Tensor, total: Tensor,
        positive: Tensor, size: Tensor, stride: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Boxes (B, A, 4) in strides (A, 1); `positive` (B, A). Box loss and distribution loss, each a scalar."""
        _, of_distances = self.theirs(distances, pred, anchors, goal, scores, total, positive, size, stride)
        weight = scores[positive].sum(-1)
        values = self.loss((pred * stride)[positive].float(), (goal * stride)[positive].float())
        return self.weight * (values * weight).sum() / total, of_distances
