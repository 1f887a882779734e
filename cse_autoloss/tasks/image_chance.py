"""Folders of classes without splits: split by chance, always the same, and nothing that stands there twice parted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.classifiers.seeds import derived_seed
from cse_autoloss.errors import DataError
from cse_autoloss.tasks.image_files import LabelledImages
from cse_autoloss.tasks.image_listing import folders_of, list_images

TEST_SHARE = 0.2
"""Of each class's images."""
_LEAST = 3


def whole_folder(folder: Path) -> bool:
    """Whether a folder, in which none is called as a split, holds classes: two folders with images right in them.

    Folders in those may be splits under names that we don't know, so there it is not.
    """
    own = [place for place in folders_of(folder) if list_images(place).images]
    nested = any(list_images(inner).images for place in own for inner in folders_of(place))
    return len(own) >= 2 and not nested


def split_by_chance(
    images: LabelledImages, names: Sequence[str], where: str, val_share: float
) -> tuple[LabelledImages, LabelledImages, LabelledImages]:
    """Train, val and test, class by class; images that are equal to the last pixel stay together.

    Args:
        images: of all classes.
        names: of the classes, by label.
        where: they are, for errors.
        val_share: of each class for validation; `TEST_SHARE` is for test, and one image at least for each of the three.

    What decides are the pixels, by their checksums, and no file's name or order. An image that stands in two classes
    goes with the first.

    Raises:
        DataError: a class has fewer than three different images.
    """
    sums = np.array([hashlib.blake2b(one.tobytes(), digest_size=8).hexdigest() for one in images.pixels])
    placed: dict[str, int] = {}
    for label, name in enumerate(names):
        own = sorted(set(sums[images.labels == label]))
        if len(own) < _LEAST:
            count = "one image" if len(own) == 1 else f"{len(own)} different images"
            raise DataError(
                f"{where}: class {name!r} has {count}; {_LEAST} are needed, to learn, to validate and to test "
                "(if they are people, the task is faces)"
            )
        order = np.random.default_rng(derived_seed("splits", label)).permutation(own)
        test = max(1, round(TEST_SHARE * len(own)))
        val = min(max(1, round(val_share * len(own))), len(own) - test - 1)
        for at, checksum in enumerate(order):
            placed.setdefault(str(checksum), 1 if at < val else 2 if at < val + test else 0)
    part: NDArray[np.int64] = np.array([placed[one] for one in sums])
    train, validation, audit = (images.take(np.flatnonzero(part == which)) for which in range(3))
    return train, validation, audit
