"""Labelled images from what people have on disk: idx files, folders of images. CIFAR is in `cifar.py`.

Every fault of a file is a `DataError` that names the file and the item.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.errors import DataError, nearest, printable
from cse_autoloss.tasks.image_listing import folders_of, list_images
from cse_autoloss.tasks.photographs.pixels import read_photograph
from cse_autoloss.tasks.photographs.probing import Progress, nothing

_MOST_BYTES = 4 << 30


@dataclass(frozen=True)
class LabelledImages:
    """N images of one size.

    Attributes:
        pixels: (N, channels, H, W) uint8.
        labels: (N,) int64 class index.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.labels.shape != self.pixels.shape[:1]:
            raise DataError(
                f"expected pixels (N, channels, H, W) and labels (N,), got {self.pixels.shape} and {self.labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64]) -> LabelledImages:
        """The images at `index`, in that order."""
        return LabelledImages(self.pixels[index], self.labels[index])


def check_labels(labels: NDArray[np.int64], classes: int, where: str) -> None:
    """DataError unless all labels lie in [0, classes)."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise DataError(
            f"{where}: item {wrong[0]} has label {labels[wrong[0]]}; labels run from 0 to {classes - 1}"
        )


def read_idx(folder: Path) -> tuple[LabelledImages, LabelledImages, tuple[str, ...]]:
    """Train, test and class names of files in MNIST's format.

    Args:
        folder: holds train-images-idx3-ubyte, train-labels-idx1-ubyte and the same of t10k, plain or .gz, right in it
            or in raw/, as torchvision keeps them; "train-images.idx3-ubyte" is as good.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    splits = []
    for name in ("train", "t10k"):
        pixels = _idx_file(_either(folder, f"{name}-images-idx3-ubyte"), 3)
        labels = _idx_file(_either(folder, f"{name}-labels-idx1-ubyte"), 1).astype(np.int64)
        if len(pixels) != len(labels):
            raise DataError(f"{folder}: {name} has {len(pixels)} images but {len(labels)} labels")
        splits.append(LabelledImages(pixels[:, None], labels))
    train, test = splits
    classes = int(train.labels.max()) + 1 if len(train) else 0
    check_labels(test.labels, classes, f"{folder}: t10k labels")
    return train, test, tuple(str(i) for i in range(classes))


def _either(folder: Path, name: str) -> Path:
    """The file of that name, packed where it is there packed; DataError where there is none."""
    for place in (folder, folder / "raw"):
        for spelt in (name, name.replace("-idx", ".idx")):
            for path in (place / f"{spelt}.gz", place / spelt):
                if path.is_file():
                    return path
    raise DataError(f"{folder}: no {name} or {name}.gz here or in raw")


def _idx_file(path: Path, dimensions: int) -> NDArray[np.uint8]:
    raw = read_bytes(path)
    if path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError) as error:
            raise DataError(f"{path}: not a whole gzip file: {error}") from None
    head = 4 + 4 * dimensions
    if len(raw) < head or raw[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(f"{path}: not an idx file of bytes in {dimensions} dimensions")
    shape = tuple(int(n) for n in np.frombuffer(raw, ">u4", dimensions, 4))
    if len(raw) - head != math.prod(shape):
        raise DataError(
            f"{path}: expected {math.prod(shape)} values for shape {shape}, got {len(raw) - head}"
        )
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)


def read_folder(
    folder: Path,
    size: int,
    grey: bool = False,
    classes: Sequence[str] | None = None,
    progress: Progress = nothing,
) -> tuple[LabelledImages, tuple[str, ...]]:
    """Images and class names of a folder that has one folder for each class.

    Args:
        folder: FOLDER/CLASS/IMAGE, or with further folders in a class's; systems' own files are passed over.
        size: images are scaled to size x size pixels.
        grey: one channel in place of three.
        classes: names that are expected, in the order of their labels; by default those found, sorted.
        progress: told of each image that was read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = [path.name for path in folders_of(folder)]
    if not found:
        raise DataError(f"{folder}: expected one folder for each class, found none")
    for name in found:
        if name.encode(errors="replace").decode() != name:
            raise DataError(
                f"{folder}: the class {printable(name)!r} has a name that is no Unicode; rename its folder"
            )
    names = list(classes) if classes is not None else found
    unknown = sorted(set(found) - set(names))
    if unknown:
        close = nearest(unknown[0], names)
        hint = f"; did you mean {close!r}?" if close else ""
        raise DataError(f"{folder / unknown[0]}: a class that the training images do not have{hint}")
    paths = [list_images(folder / name).images for name in names]
    labels = np.repeat(np.arange(len(names)), [len(own) for own in paths])
    if not len(labels):
        raise DataError(f"{folder}: no images")
    pixels = read_images([path for own in paths for path in own], (size, size), grey, progress)
    return LabelledImages(pixels, labels.astype(np.int64)), tuple(names)


def read_images(
    paths: Sequence[Path], size: tuple[int, int], grey: bool = False, progress: Progress = nothing
) -> NDArray[np.uint8]:
    """Images (N, channels, H, W), scaled to size (H, W)."""
    pixels = np.empty((len(paths), 1 if grey else 3, *size), dtype=np.uint8)
    for index, path in enumerate(paths):
        pixels[index] = read_image(path, size, grey)
        progress(index + 1, len(paths))
    return pixels


def read_image(
    path: Path, size: tuple[int, int], grey: bool = False, upright: bool = True
) -> NDArray[np.uint8]:
    """An image (channels, H, W), scaled to size (H, W); orientation, 16 bits and the like as `read_photograph` says."""
    from PIL import Image

    image = read_photograph(path, upright)
    whole = (image.convert("L") if grey else image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    array = np.asarray(whole, dtype=np.uint8)
    return array[None] if grey else array.transpose(2, 0, 1)


def read_bytes(path: Path) -> bytes:
    """A file's content; DataError where it can't be read or is larger than 4 GiB."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path}: larger than {_MOST_BYTES >> 30} GiB")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
