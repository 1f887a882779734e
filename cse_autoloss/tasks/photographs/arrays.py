"""A data set as arrays: what the proxies train and are scored on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.tasks.photographs.annotations import Annotations, Entry
from cse_autoloss.tasks.photographs.dataset import Dataset
from cse_autoloss.tasks.photographs.pixels import read_photograph
from cse_autoloss.tasks.splits import Split, pad_objects

SMALL_SHARE = 0.1
"""Share of objects smaller than a grid cell from which the reader is told."""
PADDING = 114
"""Grey level around images that do not fill the canvas."""


def to_splits(data: Dataset, image_size: int, multiple: int) -> dict[str, Split]:
    """Images and boxes; train in a fixed random order, so that its first n images are a fair sample.

    Args:
        data: from `load_dataset`.
        image_size: images are scaled, whole and undistorted, so that their longer side has so many pixels.
        multiple: canvas sides are a multiple of this: the network's stride.

    Raises:
        DataError: an image can not be read any more.
    """
    splits = {
        name: _to_split(found, data.categories, image_size, multiple) for name, found in data.splits.items()
    }
    order = np.random.default_rng(0).permutation(len(splits["train"]))
    return {**splits, "train": splits["train"].take(order)}


def _to_split(found: Annotations, categories: list[int], image_size: int, multiple: int) -> Split:
    index = {number: position for position, number in enumerate(categories)}
    pixels, boxes, labels = [], [], []
    for number, entry in found.images.items():
        own = found.objects[number]
        pixels.append(_scaled(entry, image_size))
        scale = np.array(_size(entry, image_size) * 2, dtype=np.float64) / ((entry.width, entry.height) * 2)
        corners = np.array(own.boxes, dtype=np.float32).reshape(-1, 4)
        boxes.append(corners * scale.astype(np.float32))
        labels.append(np.array([index[category] for category in own.categories], dtype=np.int64))
    all_boxes, all_labels = pad_objects(boxes, labels)
    crowd = np.zeros(all_labels.shape, dtype=bool)
    for row, number in enumerate(found.images):
        flags = found.objects[number].crowd
        crowd[row, : len(flags)] = flags
    return Split(_stack(pixels, multiple), all_boxes, all_labels, crowd)


def _size(entry: Entry, longer_side: int) -> tuple[int, int]:
    factor = longer_side / max(entry.width, entry.height)
    return max(1, round(entry.width * factor)), max(1, round(entry.height * factor))


def _scaled(entry: Entry, longer_side: int) -> NDArray[np.uint8]:
    """RGB pixels (3, h, w)."""
    from PIL import Image

    image = read_photograph(entry.path, entry.upright)
    scaled = image.resize(_size(entry, longer_side), Image.Resampling.BILINEAR)
    return np.asarray(scaled, dtype=np.uint8).transpose(2, 0, 1)


def _stack(pixels: list[NDArray[np.uint8]], multiple: int) -> NDArray[np.uint8]:
    """All images on canvases of one size, each in the upper left corner, so that boxes need no shift."""
    height, width = (
        math.ceil(max(image.shape[axis] for image in pixels) / multiple) * multiple for axis in (1, 2)
    )
    stacked = np.full((len(pixels), 3, height, width), PADDING, dtype=np.uint8)
    for row, image in enumerate(pixels):
        stacked[row, :, : image.shape[1], : image.shape[2]] = image
    return stacked


def small_objects(train: Annotations, image_size: int, cell: int) -> list[str]:
    """A hint, when many objects may fall between the cells of the network's finest grid, `cell` pixels wide."""
    small = count = 0
    for number, entry in train.images.items():
        factor = image_size / max(entry.width, entry.height)
        for x0, y0, x1, y1 in train.objects[number].boxes:
            small += min(x1 - x0, y1 - y0) * factor < cell
            count += 1
    if small <= SMALL_SHARE * count:
        return []
    return [
        f"{small / count:.0%} of the training boxes have a side under {cell} pixels at image_size {image_size}, "
        "too small to learn well: a larger image_size may help"
    ]
