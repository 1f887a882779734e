"""Images with masks: folders of them, and the embedded scenes with the digits' ink as the foreground."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.classifiers.seeds import derived_seed
from cse_autoloss.errors import DataError
from cse_autoloss.settings.tasks.detection import SceneSettings
from cse_autoloss.tasks.data_digest import shared_files
from cse_autoloss.tasks.image_files import read_image
from cse_autoloss.tasks.image_listing import left_out, list_images, split_folders
from cse_autoloss.tasks.photographs.pixels import decode, inspect_photograph
from cse_autoloss.tasks.photographs.probing import Progress, nothing
from cse_autoloss.tasks.scenes import INK, SPLITS, load_scenes

if TYPE_CHECKING:
    from PIL import Image

SHARES = (0.6, 0.2, 0.2)
"""Of a folder without splits: of train, val and test."""
WHOLE = "all"
"""In place of splits, where there are none."""
FEWEST_GREYS = 10
"""Values from which on masks are taken for greys; fewer are several classes, or a value for what does not count."""
GREY = 0.2
"""Share of pixels between black and white up to which it is a mask, and no picture."""


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


def read_masked(
    folder: Path, size: int, grey: bool, seed: int, progress: Progress = nothing
) -> dict[str, Masked]:
    """Train, val and test of a folder.

    Args:
        folder: holds train, val and test, each with images/ and masks/, or images/ and masks/, each with train, val and
            test; or images/ and masks/ alone, which the seed splits 60/20/20. A mask is called as its image but for
            the suffix and a `_mask` behind the name. All masks together hold two values, the higher is foreground; or
            greys as JPEG leaves them, from 128 on.
        size: images and masks are scaled to size x size pixels.
        grey: one channel in place of three.
        seed: of the split.
        progress: told of each image that was read.

    Raises:
        DataError: in one line.
    """
    pairs = {name: _pairs(*places) for name, places in _places(folder).items()}
    found = dict(zip(pairs, _read(list(pairs.values()), size, grey, progress), strict=True))
    if WHOLE in found:
        whole = found[WHOLE]
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


def notes_on(folder: Path) -> tuple[str, ...]:
    """What of a folder is left out, and which images stand in two splits; DataError as of `read_masked`."""
    places = _places(folder)
    told = [note for images, _ in places.values() for note in left_out(images, list_images(images).others)]
    for images, masks in places.values():
        spare = sorted(_by_name(masks).keys() - _by_name(images).keys())
        if spare:
            told.append(f"{masks}: {len(spare)} masks of no image are left out, the first: {spare[0]}")
    return (*told, *shared_files({name: list_images(images).images for name, (images, _) in places.items()}))


def _places(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Split, or `WHOLE` -> the folders of its images and of its masks."""
    apart, beside = split_folders(folder), split_folders(folder / "images")
    if "train" in apart and (apart["train"] / "images").is_dir():
        places = {name: (place / "images", place / "masks") for name, place in apart.items()}
    elif "train" in beside:
        places = {name: (place, folder / "masks" / place.name) for name, place in beside.items()}
    else:
        places = {WHOLE: (folder / "images", folder / "masks")}
    for pair in places.values():
        for place in pair:
            if not place.is_dir():
                raise DataError(f"{place}: no such folder")
    missing = [name for name in SPLITS if name not in places] if WHOLE not in places else []
    if missing:
        raise DataError(f"{folder}: no {missing[0]} split beside {', '.join(places)}")
    return places


def _pairs(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    paths, known = _by_name(images), _by_name(masks)
    if not paths:
        raise DataError(f"{images}: no images")
    missing = [path.name for name, path in paths.items() if name not in known]
    if missing:
        raise DataError(f"{masks}: no mask for {missing[0]}")
    return [(path, known[name]) for name, path in paths.items()]


def _by_name(folder: Path) -> dict[str, Path]:
    """The images of a folder by their names in it, without suffix and `_mask`."""
    found: dict[str, Path] = {}
    for path in list_images(folder).images:
        name = path.relative_to(folder).with_suffix("").as_posix().removesuffix("_mask")
        if name in found:
            raise DataError(f"{folder}: {found[name].name} and {path.name} have one name")
        found[name] = path
    return found


def _read(parts: list[list[tuple[Path, Path]]], size: int, grey: bool, progress: Progress) -> list[Masked]:
    """What is foreground is told by all masks of all parts together."""
    counts, first = Counter[int](), dict[int, Path]()
    images: list[list[NDArray[np.uint8]]] = []
    values: list[list[NDArray[np.int64]]] = []
    for pairs in parts:
        images.append([])
        values.append([])
        for done, (path, mask) in enumerate(pairs, 1):
            upright, whole = _mask(path, mask)
            images[-1].append(read_image(path, (size, size), grey, upright))
            for value, count in zip(*np.unique(whole, return_counts=True), strict=True):
                counts[int(value)] += int(count)
                first.setdefault(int(value), mask)
            rows, columns = (((np.arange(size) + 0.5) * side / size).astype(int) for side in whole.shape)
            values[-1].append(whole[rows[:, None], columns])
            progress(done, len(pairs))
    least = _least_foreground(counts, first)
    return [
        Masked(np.stack(own), np.stack(masks) >= least) for own, masks in zip(images, values, strict=True)
    ]


def _least_foreground(counts: Mapping[int, int], first: Mapping[int, Path]) -> int:
    """The least value of foreground, by how many pixels have which value."""
    values = sorted(counts)
    if len(values) <= 2:
        return max(values[-1], 1)
    highest = 255 if values[-1] <= 255 else 65535
    between = sum(counts[value] for value in values if highest / 8 < value < highest * 7 / 8)
    if (
        len(values) >= FEWEST_GREYS
        and values[-1] > highest * 7 / 8
        and between <= GREY * sum(counts.values())
    ):
        return (highest + 1) // 2
    shown = ", ".join(map(str, values[:4])) + (", …" if len(values) > 4 else "")
    raise DataError(
        f"{first[values[2]]}: the masks hold {len(values)} values ({shown}); expected two, of background and "
        "foreground"
    )


def _mask(path: Path, mask: Path) -> tuple[bool, NDArray[np.int64]]:
    """Whether the image is to be turned upright, as its mask is, and the values of the mask (H, W).

    Of a palette of greys they are the greys, whose order in the palette differs from file to file; of any other they
    are its indices, and black is 0; of colours they must be greys.
    """
    values = np.asarray(decode(mask, _values)[1]).astype(np.int64)
    height, width = values.shape
    picture = inspect_photograph(path)
    if (width, height) == (picture.width, picture.height) != picture.upright:
        return False, values
    right, below = picture.upright
    if abs(height - below * width / right) > 1:
        raise DataError(f"{mask}: {width}x{height} pixels, but its image has {right}x{below}")
    return True, values


def _values(image: Image.Image) -> Image.Image:
    from PIL import Image

    bands = np.asarray(image)
    if image.mode == "P":
        bands = _of_palette(image, bands)
    if image.mode == "F":
        bands = np.round(bands * (255 if bands.max() <= 1 else 1))
    if bands.ndim == 3:
        colours = bands[..., : max(1, bands.shape[2] - (image.mode in ("RGBA", "LA")))]
        if (colours != colours[..., :1]).any():
            raise ValueError("a mask in colours; expected black and white, or a palette's indices")
        bands = colours[..., 0]
    if not np.isfinite(bands).all() or bands.min() < 0 or bands.max() > 65535:
        raise ValueError("a mask with values below 0, above 65,535 or without a number")
    return Image.fromarray(bands.astype(np.int32))


def _of_palette(image: Image.Image, indices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What viewers show at the indices of a palette of greys.

    Of any other palette, or one that shows two of the indices alike, the indices; where the palette has colours, and
    the one index that it shows as black is not 0, that one and 0 change places: black is background.
    """
    palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    used = np.unique(indices)
    if used[-1] >= len(palette):
        return indices
    if (palette != palette[:, :1]).any():
        # A mask that is all foreground shows no black, but its palette does.
        among = [*used, 1] if used.tolist() == [0] and len(palette) > 1 else used
        black = [int(index) for index in among if not palette[index].any()]
        if len(black) != 1:
            return indices
        places = np.arange(256, dtype=np.uint8)
        places[[0, black[0]]] = black[0], 0
        return places[indices]
    shown = palette[:, 0]
    return shown[indices] if len(np.unique(shown[used])) == len(used) else indices


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
