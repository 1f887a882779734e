"""What a detector is to the rest of the package; `cse_autoloss.testing.detectors` tests whether one keeps to
it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Self

from torch import Tensor, nn

from cse_autoloss.detectors.assign import Assignment
from cse_autoloss.detectors.one_stage import ClassificationLoss, RegressionLoss
from cse_autoloss.detectors.selection import Detections


class Detector(Protocol):
    """A torch module that learns from two losses handed to it.

    One training step is `loss(self(images), targets of these images, …)`, one detection `decode(self(images),
    …)`. The boxes and labels of a whole data set go through `targets` once, before training.

    Attributes:
        signature: "cls-binary" (sigmoid head, C columns) or "cls-multiclass" (softmax head, C + 1 columns,
            background last): which losses it can be trained with.
        num_classes: C.
        stride: height and width of its images are multiples of it.
        stacks: true where several can be trained side by side: `torch.func.vmap` goes through their forward pass, and
            `loss` uses no weights. What a builder does not say is false.
    """

    signature: str
    num_classes: int
    stride: int

    def __call__(self, images: Tensor) -> Any:
        """What the network says of images (B, channels, H, W), normalised float32; any form that it likes."""

    def targets(self, boxes: Tensor, labels: Tensor, image_size: tuple[int, int]) -> Assignment:
        """What `loss` compares with, for N images; `loss` gets a batch's rows.

        Args:
            boxes: (N, K, 4) xyxy pixels, K >= 0.
            labels: (N, K) int64 class index; -1 where there is no object, `assign.IGNORED` for a crowd, a region
                that is no background either.
            image_size: (height, width) in pixels.

        Returns:
            Label (N, R) and box (N, R, 4); what the R rows mean is the detector's own affair.
        """

    def loss(
        self,
        prediction: Any,
        targets: Assignment,
        cls_loss: ClassificationLoss,
        reg_loss: RegressionLoss,
        box_weight: float = 1.0,
    ) -> Tensor:
        """own fixed losses + (cls + box_weight · reg) / P, a scalar; P is the batch's number of positives.

        Args:
            prediction: of B images.
            targets: of the same images.
            cls_loss: called once: (logits (M, columns), target (M,) with C for background, iou (M,)) -> sum.
                The IoU is that of a positive's predicted box with its object, detached, 0 elsewhere.
            reg_loss: called once: (predicted boxes (P, 4), objects' boxes (P, 4)) -> sum. Where its attribute
                `reads_score` is true, also with `score`: the chance (P,) of each box's own class, detached.
            box_weight: of the box loss.
        """

    def decode(self, prediction: Any, image_size: tuple[int, int]) -> Detections:
        """The best boxes of each of B images; see `cse_autoloss.detectors.selection.best_boxes`."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """As of any torch module, like what follows."""

    def state_dict(self) -> Any:
        """Weights and statistics by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Take weights and statistics over."""

    def train(self, mode: bool = True) -> Self:
        """Training mode on or off."""

    def eval(self) -> Self:
        """Training mode off."""

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """To another device or memory format."""


class DetectorBuilder(Protocol):
    """What a registry holds: a detector's class, or a function with an attribute `signature`."""

    signature: str

    def __call__(self, channels: int, num_classes: int) -> Detector:
        """A detector with fresh weights, drawn from torch's global generator.

        Args:
            channels: of the images: 1 or 3.
            num_classes: C >= 1.
        """
