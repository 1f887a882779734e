"""Images and boxes for full-size training, read from a folder in COCO's format as they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cse_autoloss.errors import DataError
from cse_autoloss.fullsize.outlines import check_outlines, filled
from cse_autoloss.fullsize.settings import TrainSettings
from cse_autoloss.tasks.photographs import Source, load_dataset
from cse_autoloss.tasks.photographs.annotations import Annotations
from cse_autoloss.tasks.photographs.dataset import digest_of
from cse_autoloss.tasks.photographs.pixels import read_photograph
from cse_autoloss.tasks.photographs.probing import Progress, nothing

LEAST_SIDE = 0.01
"""Pixels under which a box is not learned from: in float32, and scaled, it could have no area."""

Target = dict[str, Tensor]
Example = tuple[Tensor, Target]


class CocoImages(Dataset[Example]):
    """Image i and its boxes, mirrored or not: `dataset[i, mirrored]`.

    Attributes:
        path: the JSON file.
        categories: COCO's category ids by class index.
        class_names: by class index.
        image_ids: COCO's image ids in the dataset's order.
        masks: whether targets hold the objects' outlines.
    """

    def __init__(
        self, file: Annotations, categories: Sequence[int], first_label: int, masks: bool = False
    ) -> None:
        """DataError with `masks` where an object has no outline."""
        self.path: Path = file.path
        self.categories = list(categories)
        self.class_names = [file.categories.get(number, str(number)) for number in categories]
        self.image_ids = list(file.images)
        self.masks = masks
        self.images = file.images
        self.objects = file.objects
        self._label = {number: first_label + index for index, number in enumerate(categories)}
        if masks:
            check_outlines(file)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, key: tuple[int, bool]) -> Example:
        """Pixels (3, H, W) float32 in [0, 1]; boxes (K, 4) xyxy pixels, crowds left out; labels (K,); where asked
        for, masks (K, H, W) uint8."""
        index, mirrored = key
        number = self.image_ids[index]
        own = self.objects[number]
        image = self._pixels(number)
        height, width = image.shape[1:]
        rows = [
            row
            for row, category in enumerate(own.categories)
            if category in self._label and not own.crowd[row] and _least_side(own.boxes[row]) >= LEAST_SIDE
        ]
        target = {
            "boxes": torch.tensor([own.boxes[row] for row in rows], dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor([self._label[own.categories[row]] for row in rows], dtype=torch.int64),
        }
        if self.masks:
            shapes = [self.outline(number, row) for row in rows]
            stacked = np.stack(shapes) if shapes else np.zeros((0, height, width), dtype=np.uint8)
            target["masks"] = torch.from_numpy(stacked)
        if mirrored:
            image = image.flip(-1)
            x0, y0, x1, y1 = target["boxes"].unbind(1)
            target["boxes"] = torch.stack((width - x1, y0, width - x0, y1), dim=1)
            if self.masks:
                target["masks"] = target["masks"].flip(-1)
        return image, target

    def outline(self, number: int, row: int) -> np.ndarray:
        """(H, W) uint8, 1 inside the object of that row of image `number`."""
        entry = self.images[number]
        where = f"{self.path}: object {row + 1} of image {entry.name} (id {number})"
        return filled(self.objects[number].segments[row], entry.height, entry.width, where)

    def _pixels(self, number: int) -> Tensor:
        entry = self.images[number]
        pixels = np.array(read_photograph(entry.path, entry.upright))
        if pixels.shape[:2] != (entry.height, entry.width):
            raise DataError(f"{entry.path}: was {entry.width}x{entry.height} pixels when the training began")
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _least_side(box: tuple[float, float, float, float]) -> float:
    return min(box[2] - box[0], box[3] - box[1])


class Files(NamedTuple):
    """What a training reads.

    Attributes:
        train, val: the two splits.
        test: the third where it is to be scored.
        categories: ids by class index.
        notes: what the reader of the result should know.
        digest: of the training images and their objects.
    """

    train: Annotations
    val: Annotations
    test: Annotations | None
    categories: list[int]
    notes: tuple[str, ...]
    digest: str


def load_files(settings: TrainSettings, masks: bool = False, progress: Progress = nothing) -> Files:
    """Read and check the data, with `masks` the outlines too; every image is decoded once, and again when it is
    needed.

    Raises:
        DataError: with one line: the file, the item in it, what is wrong.
    """
    found = load_dataset(
        Source.of(
            settings.data,
            (settings.train_file, settings.val_file, settings.test_file),
            images={"train": settings.train_images, "val": settings.val_images, "test": settings.test_images},
            skip_bad=settings.skip_bad,
            segments=masks,
        ),
        progress=progress,
        test=settings.test,
    )
    return Files(
        found.splits["train"],
        found.splits["val"],
        found.splits.get("test") if settings.test else None,
        found.categories,
        found.notes,
        digest_of({"train": found.splits["train"]}, found.class_names),
    )


class StepBatches:
    """Which images each step of one epoch sees: a function of seed, epoch and step, whoever asks.

    So a training that goes on at step 700 sees what it would have seen, and processes share an epoch without
    talking.
    """

    def __init__(
        self, count: int, batch: int, *, seed: int, epoch: int, first: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        """
        Args:
            count: images of the data set.
            batch: images a step, of all processes together; the last, smaller batch of an epoch is left out.
            seed, epoch: of the order and of what is mirrored.
            first: step of the epoch to begin with.
            rank, world: this process, and how many there are.
        """
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(count, generator=generator).tolist()
        mirrored = (torch.rand(count, generator=generator) < 0.5).tolist()
        self._keys = list(zip(order, mirrored, strict=True))
        self._batch, self._first, self._rank, self._world = min(batch, count), first, rank, world

    def __len__(self) -> int:
        return len(self._keys) // self._batch - self._first

    def __iter__(self) -> Iterator[list[tuple[int, bool]]]:
        for step in range(self._first, len(self._keys) // self._batch):
            whole = self._keys[step * self._batch : (step + 1) * self._batch]
            yield whole[self._rank :: self._world]
