"""Scenes of real handwriting: digits that people wrote, scattered over noisy canvases, with tight boxes.

The digits are those of `handwriting`. Train, validation and test scenes are made of the digits of other forms, whatever
the seed, so that a detector is scored on digits of people whose digits it has not learnt from, as far as is known.
Clutter is made of fragments of digits of the same split: strokes as real as the objects'.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.settings.tasks.detection import SceneSettings
from cse_autoloss.tasks.handwriting import handwriting_parts, load_handwriting
from cse_autoloss.tasks.splits import Split, pad_objects

SPLITS = ("train", "val", "test")
INK = 0.25
"""A pixel of at least this share of full ink belongs to the object."""
FORMAT = 2
"""Part of the cache's key: raise it when the same settings make other scenes."""
CLASS_NAMES = tuple(str(digit) for digit in range(10))


def make_scenes(settings: SceneSettings) -> dict[str, Split]:
    """Train, val and test scenes for these settings; the same settings always give the same pixels."""
    scans, labels = load_handwriting()
    digits = (scans / 16).astype(np.float32)
    pools = _disjoint_pools(labels)
    scenes = {}
    for number, (name, count) in enumerate(zip(SPLITS, settings.counts, strict=True)):
        rng = np.random.default_rng([settings.seed, number])
        scenes[name] = _make_split(digits, labels, pools[number], count, settings, rng)
    return scenes


def load_scenes(settings: SceneSettings, cache: Path | None = None) -> dict[str, Split]:
    """`make_scenes`, kept on disk.

    Args:
        settings: what to make.
        cache: folder for the files; None is `$XDG_CACHE_HOME/cse-autoloss`, else `~/.cache/cse-autoloss`. A
            folder that can not be written, or a damaged file in it, costs the seconds to make them anew, no
            more.
    """
    folder = default_cache() if cache is None else cache
    key = json.dumps({"format": FORMAT, **settings.model_dump()}, sort_keys=True)
    path = folder / f"scenes-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    stored = _read_cache(path, key)
    if stored is not None:
        return stored
    scenes = make_scenes(settings)
    _write_cache(path, key, scenes)
    return scenes


def default_cache() -> Path:
    """The user's cache folder, by the XDG base directory rules."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cse-autoloss"


def _disjoint_pools(labels: NDArray[np.int64]) -> list[list[NDArray[np.int64]]]:
    """For each split, for each class, the indices of the digits that it may draw."""
    return [
        [part[labels[part] == digit] for digit in range(len(CLASS_NAMES))]
        for part in handwriting_parts(len(labels))
    ]


def _make_split(
    digits: NDArray[np.float32],
    labels: NDArray[np.int64],
    pools: list[NDArray[np.int64]],
    count: int,
    settings: SceneSettings,
    rng: np.random.Generator,
) -> Split:
    frequency = np.arange(1, len(CLASS_NAMES) + 1, dtype=float) ** -settings.class_exponent
    frequency /= frequency.sum()
    images = np.empty((count, 1, settings.canvas, settings.canvas), dtype=np.uint8)
    boxes, classes = [], []
    for row in range(count):
        canvas = np.zeros((settings.canvas, settings.canvas), dtype=np.float32)
        for _ in range(rng.integers(0, settings.clutter + 1)):
            source = digits[rng.choice(pools[rng.integers(len(pools))])]
            _place(canvas, _fragment(source, settings, rng), [], settings, rng)
        own_boxes: list[tuple[int, int, int, int]] = []
        own_classes = []
        for _ in range(rng.integers(settings.digits[0], settings.digits[1] + 1)):
            digit = int(rng.choice(len(pools), p=frequency))
            glyph = _scaled(_cropped(digits[rng.choice(pools[digit])]), settings, rng)
            box = _place(canvas, glyph, own_boxes, settings, rng)
            if box is not None:
                own_boxes.append(box)
                own_classes.append(digit)
        noisy = canvas + rng.normal(0.0, settings.noise, canvas.shape)
        images[row, 0] = np.round(np.clip(0.1 + 0.85 * noisy, 0, 1) * 255).astype(np.uint8)
        boxes.append(np.array(own_boxes, dtype=np.float32).reshape(-1, 4))
        classes.append(np.array(own_classes, dtype=np.int64))
    all_boxes, all_labels = pad_objects(boxes, classes)
    return Split(images, all_boxes, all_labels, np.zeros(all_labels.shape, dtype=bool))


def _cropped(digit: NDArray[np.float32]) -> NDArray[np.float32]:
    """The digit without its empty border."""
    rows = np.flatnonzero((digit >= INK).any(axis=1))
    columns = np.flatnonzero((digit >= INK).any(axis=0))
    return digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _scaled(
    glyph: NDArray[np.float32], settings: SceneSettings, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The glyph with its longer side brought to a random length, brightness drawn at random."""
    from PIL import Image

    side = int(rng.integers(settings.size[0], settings.size[1] + 1))
    factor = side / max(glyph.shape)
    width, height = (max(1, round(length * factor)) for length in glyph.shape[::-1])
    image = Image.fromarray(glyph).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image, dtype=np.float32), 0, 1) * np.float32(rng.uniform(*settings.contrast))


def _fragment(
    digit: NDArray[np.float32], settings: SceneSettings, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Part of a digit, half its height or width or less, scaled as the whole digit would be."""
    whole = _scaled(_cropped(digit), settings, rng)
    height, width = whole.shape
    if rng.random() < 0.5:
        tall = max(2, round(height * rng.uniform(0.25, 0.5)))
        top = rng.integers(0, height - tall + 1)
        return whole[top : top + tall]
    wide = max(2, min(width, round(width * rng.uniform(0.25, 0.5))))
    left = rng.integers(0, width - wide + 1)
    return whole[:, left : left + wide]


def _place(
    canvas: NDArray[np.float32],
    glyph: NDArray[np.float32],
    taken: list[tuple[int, int, int, int]],
    settings: SceneSettings,
    rng: np.random.Generator,
) -> tuple[int, int, int, int] | None:
    """Paint the glyph where it overlaps no box in `taken` too much.

    Returns:
        The box of its ink, or None when 20 tries found no place.
    """
    ink = glyph >= INK * glyph.max(initial=0.0)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    height, width = glyph.shape
    for _ in range(20):
        y = int(rng.integers(0, settings.canvas - height + 1))
        x = int(rng.integers(0, settings.canvas - width + 1))
        box = (x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1)
        if all(_covered(box, other) <= settings.overlap for other in taken):
            region = canvas[y : y + height, x : x + width]
            np.maximum(region, glyph, out=region)
            return box
    return None


def _covered(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Intersection over the smaller of the two boxes."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return width * height / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def _read_cache(path: Path, key: str) -> dict[str, Split] | None:
    try:
        # opened here: np.load leaves its own handle open when the file turns out to be damaged
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            if str(file["key"]) != key:
                return None
            return {
                name: Split(*(file[f"{name}_{part}"] for part in ("images", "boxes", "labels", "crowd")))
                for name in SPLITS
            }
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write_cache(path: Path, key: str, scenes: dict[str, Split]) -> None:
    arrays: dict[str, Any] = {"key": np.array(key)}
    for name, split in scenes.items():
        arrays |= {
            f"{name}_images": split.images,
            f"{name}_boxes": split.boxes,
            f"{name}_labels": split.labels,
            f"{name}_crowd": split.crowd,
        }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
