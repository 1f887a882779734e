"""Images with masks: folders of them, and the embedded scenes with the digits' ink as the foreground."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.classifiers.seeds import derived_seed
from cse_autoloss.errors import DataError
from cse_autoloss.settings.tasks.detection import SceneSettings
from cse_autoloss.tasks.image_files import read_image, read_images
from cse_autoloss.tasks.image_listing import list_images
from cse_autoloss.tasks.scenes import INK, SPLITS, load_scenes

SHARES = (0.6, 0.2, 0.2)
"""Of a folder without splits: of train, val and test."""


@dataclass(frozen=True)
class Masked:
    """N images of one size, and which of their pixels are foreground.

    Attributes:
        images: (N, channels, H, W) uint8.
        masks: (N, H, W) bool.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.images)


def read_masked(folder: Path, size: int, grey: bool, seed: int) -> dict[str, Masked]:
    """Train, val and test of a folder.

    Args:
        folder: holds train, val and test, each with images/ and masks/; or images/ and masks/ alone, which the seed
            splits 60/20/20. A mask is called as its image but for the suffix; what is bright in it is foreground
            (from 128 on, or anything above 0 in a mask of zeros and ones).
        size: images and masks are scaled to size x size pixels.
        grey: one channel in place of three.
        seed: of the split.

    Raises:
        DataError: in one line.
    """
    if (folder / "train").is_dir():
        found = {name: _read(folder / name, size, grey) for name in SPLITS}
    else:
        whole = _read(folder, size, grey)
        order = np.random.default_rng(derived_seed("masks", seed)).permutation(len(whole))
        ends = np.round(np.cumsum(SHARES) * len(whole)).astype(int)[:-1]
        parts = np.split(order, ends)
        if min(map(len, parts)) == 0:
            raise DataError(f"{folder}: {len(whole)} images; five are needed, to train, validate and test")
        found = {
            name: Masked(whole.images[part], whole.masks[part])
            for name, part in zip(SPLITS, parts, strict=True)
        }
    for name, part in found.items():
        if not part.masks.any() or part.masks.all():
            kind = "foreground" if not part.masks.any() else "background"
            raise DataError(f"{folder}: the masks of {name} have no {kind}")
    return found


def _read(folder: Path, size: int, grey: bool) -> Masked:
    for name in ("images", "masks"):
        if not (folder / name).is_dir():
            raise DataError(f"{folder / name}: no such folder")
    paths = _by_name(folder / "images")
    if not paths:
        raise DataError(f"{folder / 'images'}: no images")
    known = _by_name(folder / "masks")
    missing = [path.name for name, path in paths.items() if name not in known]
    if missing:
        raise DataError(f"{folder / 'masks'}: no mask for {missing[0]}")
    images = read_images(list(paths.values()), (size, size), grey)
    masks = np.stack([_mask(known[name], size) for name in paths])
    return Masked(images, masks)


def _by_name(folder: Path) -> dict[Path, Path]:
    """The images of a folder by their names in it, without suffix."""
    return {path.relative_to(folder).with_suffix(""): path for path in list_images(folder).images}


def _mask(path: Path, size: int) -> NDArray[np.bool_]:
    values = read_image(path, (size, size), grey=True, smooth=False)[0]
    return values >= (128 if values.max() > 1 else 1)


def scene_masks(settings: SceneSettings, cache: Path | None = None) -> dict[str, Masked]:
    """The embedded scenes: a digit's ink is foreground; the noise, the rest and fragments of digits are background."""
    seen = load_scenes(settings, cache)
    # The noise is drawn after a scene is painted, so that without it the very same scene comes out.
    clean = load_scenes(settings.model_copy(update={"noise": 0.0}), cache)
    return {
        name: Masked(seen[name].images, _ink(clean[name].images[:, 0], clean[name].boxes)) for name in SPLITS
    }


def _ink(images: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    masks = np.zeros(images.shape, dtype=bool)
    ink = (images / 255 - 0.1) / 0.85
    for row, own in enumerate(boxes.astype(int)):
        for left, top, right, bottom in own:
            region = ink[row, top:bottom, left:right]
            masks[row, top:bottom, left:right] |= region >= INK * region.max(initial=0.0)
    return masks
