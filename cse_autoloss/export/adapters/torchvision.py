"""torchvision's detectors, trained with our losses: RetinaNet, FCOS, Faster R-CNN, and Mask and Keypoint R-CNN.

    model = retinanet_resnet50_fpn_v2(num_classes=21)
    with_losses(model, cls_loss="cse-autoloss-b-cls", box_loss="cse-autoloss-b-reg")

The network, its weights and its way to match boxes stay as they are.
"""

from __future__ import annotations

from typing import Literal, TypeVar

from torch import nn

from cse_autoloss.errors import MissingExtraError
from cse_autoloss.export.adapters.elements import LossSource

Model = TypeVar("Model", bound=nn.Module)


def with_losses(
    model: Model,
    cls_loss: LossSource | None = None,
    box_loss: LossSource | None = None,
    *,
    cls_weight: float = 1.0,
    box_weight: float = 1.0,
    centerness: Literal["centerness", "iou"] = "centerness",
) -> Model:
    """Put our losses into a torchvision detector, in place.

    Normalised as torchvision does: RetinaNet and FCOS divide the sums by the number of positives (a RetinaNet image
    by image), Faster R-CNN takes the mean over the sampled proposals. IoUs are those of each positive's decoded box
    with its object. Classes are columns: C for a RetinaNet or FCOS; a Faster R-CNN's background moves from the
    first column to the last, where our losses have it.

    Args:
        model: RetinaNet, FCOS, or a model with RoIHeads (Faster R-CNN and its kin), from torchvision.
        cls_loss: cls-binary for RetinaNet and FCOS, cls-multiclass for Faster R-CNN; None keeps torchvision's.
        box_loss: reg; None keeps torchvision's.
        cls_weight, box_weight: factors on the two losses.
        centerness: what FCOS's centre-ness head learns: torchvision's centre-ness, or the IoU, as the paper of the
            searched losses does.

    Returns:
        The model.

    Raises:
        MissingExtraError: torchvision is not installed, or does not fit the installed torch.
        AutoLossError: another model, or a loss of another signature.
    """
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # RuntimeError: its operators do not fit this torch
        raise MissingExtraError.of("the torchvision adapter", "torchvision") from None
    from cse_autoloss.export.adapters.torchvision_heads import put_losses

    put_losses(model, cls_loss, box_loss, cls_weight, box_weight, centerness)
    return model
