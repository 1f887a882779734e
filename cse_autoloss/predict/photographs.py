"""What is drawn on: images of the run's data or of another folder, and single photographs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cse_autoloss.errors import DataError
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.image_listing import list_images
from cse_autoloss.tasks.matching import Objects as Boxes
from cse_autoloss.tasks.matching import objects_on
from cse_autoloss.tasks.photographs import PADDING
from cse_autoloss.tasks.photographs.annotations import Entry, Objects
from cse_autoloss.tasks.photographs.pixels import read_photograph
from cse_autoloss.tasks.protocol import SplitName

SHOWN = 640
"""Longer side of a picture, pixels."""


@dataclass(frozen=True)
class Picture:
    """Something to draw on.

    Attributes:
        title: stands below it.
        image: RGB.
        scale: its pixels for each of the network's.
        truth: the objects, in the network's pixels; None where they are not known.
        name: of the photograph.
        original: the photograph's pixels for each of the network's.
        size: of the photograph, (width, height) pixels.
    """

    title: str
    image: Image.Image
    scale: float
    truth: Boxes | None
    name: str = ""
    original: float = 1.0
    size: tuple[int, int] = (0, 0)


def of_split(task: DetectionTask, name: SplitName, count: int) -> list[Picture]:
    """The first images of a split, at a size for people where there is one."""
    split = task.split(name)
    height, width = split.images.shape[2:]
    entries = [] if task.settings.embedded else list(task.photographs.splits[name].images.values())
    pictures = []
    for row in range(min(count, len(split))):
        truth = objects_on(split, row)
        if entries:
            one = entries[row]
            image = _scaled(read_photograph(one.path, one.upright), SHOWN)
            title, side = f"{name} {row + 1}, {Path(one.name).name}", task.settings.image_size
            original = max(one.width, one.height) / side
            size = one.width, one.height
            pictures.append(Picture(title, image, SHOWN / side, truth, one.name, original, size))
        else:
            scale = SHOWN / max(height, width)
            image = Image.fromarray(_pixels(split.images[row]))
            image = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
            title = f"{name} {row + 1}"
            pictures.append(Picture(title, image, scale, truth, title, 1.0, (width, height)))
    return pictures


def expanded(images: Sequence[str | Path]) -> list[Path]:
    """Photographs by name, in folders, or matching a pattern with `*`.

    Raises:
        DataError: there is none.
    """
    found: list[Path] = []
    for one in images:
        path = Path(one)
        if path.is_dir():
            own = list_images(path).images
        elif not path.exists() and any(sign in path.name for sign in "*?["):
            own = sorted(path.parent.glob(path.name)) if path.parent.is_dir() else []
        else:
            own = [path] if path.is_file() else []
        if not own:
            raise DataError(f"{path}: {'no images in this folder' if path.is_dir() else 'no such file'}")
        found += own
    return found


def of_entry(entry: Entry, own: Objects, index: Mapping[int, int]) -> Picture:
    """A photograph of a data set; a crowd has class -1, other classes are by category id as in `index`."""
    image = _scaled(read_photograph(entry.path, entry.upright), SHOWN)
    labels = [-1 if crowd else index[n] for n, crowd in zip(own.categories, own.crowd, strict=True)]
    boxes = np.array(own.boxes, dtype=np.float32).reshape(-1, 4)
    title = f"{Path(entry.name.replace(chr(92), '/')).name}: {len(labels)} objects"
    truth = Boxes(boxes, np.array(labels, dtype=np.int64))
    return Picture(title, image, SHOWN / max(entry.width, entry.height), truth)


def of_files(
    paths: Sequence[Path], channels: int, longer_side: int, multiple: int
) -> list[tuple[Picture, Tensor]]:
    """Photographs with what the network is given of them: (1, channels, H, W) uint8 each.

    Args:
        paths: image files of any size.
        channels: 1 or 3.
        longer_side: pixels that the network's images have.
        multiple: the network's stride.

    Raises:
        DataError: a file is missing or no image.
    """
    found = []
    for path in paths:
        image = read_photograph(path)
        small = _scaled(image, longer_side)
        pixels = np.asarray(small.convert("L" if channels == 1 else "RGB"))
        pixels = pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
        height, width = (math.ceil(side / multiple) * multiple for side in pixels.shape[1:])
        canvas = np.full((1, channels, height, width), PADDING, dtype=np.uint8)
        canvas[0, :, : pixels.shape[1], : pixels.shape[2]] = pixels
        shown, original = _scaled(image, SHOWN), max(image.size) / longer_side
        picture = Picture(path.name, shown, SHOWN / longer_side, None, str(path), original, image.size)
        found.append((picture, torch.from_numpy(canvas)))
    return found


def _scaled(image: Image.Image, longer_side: int) -> Image.Image:
    factor = longer_side / max(image.size)
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(channels, H, W) to (H, W, 3)."""
    return np.ascontiguousarray(np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0))
