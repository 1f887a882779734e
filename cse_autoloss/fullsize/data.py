"""Images and boxes for full-size training, read from a folder in COCO's format as they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from cse_autoloss.errors import DataError
from cse_autoloss.fullsize.settings import TrainSettings
from cse_autoloss.tasks.coco import (
    CocoFile,
    CocoFolder,
    check_same_categories,
    learnable_classes,
    read_coco_file,
)

Target = dict[str, Tensor]
Example = tuple[Tensor, Target]


class CocoImages(Dataset[Example]):
    """Image i and its boxes, mirrored or not: `dataset[i, mirrored]`.

    Attributes:
        path: the JSON file.
        categories: COCO's category ids by class index.
        class_names: by class index.
        image_ids: COCO's image ids in the dataset's order.
    """

    def __init__(self, file: CocoFile, categories: Sequence[int], first_label: int) -> None:
        self.path: Path = file.path
        self.categories = list(categories)
        self.class_names = [file.categories.get(number, str(number)) for number in categories]
        self.image_ids = list(file.images)
        self._images = file.images
        self._objects = file.objects
        self._label = {number: first_label + index for index, number in enumerate(categories)}

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, key: tuple[int, bool]) -> Example:
        """Pixels (3, H, W) float32 in [0, 1]; boxes (K, 4) xyxy pixels, crowds left out; labels (K,)."""
        index, mirrored = key
        number = self.image_ids[index]
        entry, own = self._images[number], self._objects[number]
        try:
            with Image.open(entry.path) as opened:
                pixels = np.array(opened.convert("RGB"))
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{entry.path}: can not be read: {' '.join(str(error).split())}") from None
        height, width = pixels.shape[:2]
        if (width, height) != (entry.width, entry.height):
            raise DataError(
                f"{entry.path}: is {width}x{height} pixels, but {entry.width}x{entry.height} by its entry in "
                f"{self.path}"
            )
        image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        rows = [
            row
            for row, category in enumerate(own.categories)
            if category in self._label and not own.crowd[row]
        ]
        boxes = torch.tensor([own.boxes[row] for row in rows], dtype=torch.float32).reshape(-1, 4)
        labels = torch.tensor([self._label[own.categories[row]] for row in rows], dtype=torch.int64)
        if mirrored:
            image = image.flip(-1)
            boxes = torch.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), dim=1)
        return image, {"boxes": boxes, "labels": labels}


def load_images(settings: TrainSettings) -> tuple[CocoFile, CocoFile, list[int]]:
    """The training file, the validation file, and the category ids by class index.

    Raises:
        DataError: with one line: the file, the item in it, what is wrong.
    """
    root = Path(settings.root).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    train = read_coco_file(
        root / settings.train_file,
        CocoFolder(root, images=settings.train_images, skip_bad=settings.skip_bad),
    )
    val = read_coco_file(
        root / settings.val_file, CocoFolder(root, images=settings.val_images, skip_bad=settings.skip_bad)
    )
    categories = learnable_classes(train)
    check_same_categories(val, train)
    return train, val, categories


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
