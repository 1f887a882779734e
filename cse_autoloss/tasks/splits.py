"""A split: images and their boxes as arrays, whatever they were read from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """N images of one size with up to K objects each, in pixels of the network's input.

    Attributes:
        images: (N, channels, H, W) uint8.
        boxes: (N, K, 4) float32 xyxy; rows past an image's last object are 0.
        labels: (N, K) int64 class index; -1 past an image's last object.
        crowd: (N, K) bool, COCO's `iscrowd`: regions neither to learn from nor to be scored on.
    """

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: NDArray[np.int64]) -> Split:
        """The images at `index`, in that order."""
        return Split(self.images[index], self.boxes[index], self.labels[index], self.crowd[index])


def pad_objects(
    boxes: list[NDArray[np.float32]], labels: list[NDArray[np.int64]]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Stack each image's boxes (k, 4) and labels (k,) into (N, K, 4) and (N, K), padded with 0 and -1."""
    most = max((len(own) for own in labels), default=0)
    all_boxes = np.zeros((len(labels), most, 4), dtype=np.float32)
    all_labels = np.full((len(labels), most), -1, dtype=np.int64)
    for row, (own_boxes, own_labels) in enumerate(zip(boxes, labels, strict=True)):
        all_boxes[row, : len(own_labels)] = own_boxes
        all_labels[row, : len(own_labels)] = own_labels
    return all_boxes, all_labels
