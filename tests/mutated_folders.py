"""Folders of labelled images, DIR/SPLIT/CLASS/IMAGE, changed in one way each, from a seed: see `mutated_data.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cse_autoloss.errors import DataError
from cse_autoloss.tasks.image_splits import load_splits

COUNTS = {"train": 4, "val": 2, "test": 2}
"""Images of each class."""
SIDE = 8
Change = Callable[[Path], Any]
"""What is done to a folder that was written."""


def write(root: Path, seed: int) -> None:
    """Grey images of two classes, no two alike, as PNGs."""
    rng = np.random.default_rng([11, seed])
    for split, count in COUNTS.items():
        for name in ("bolt", "nut"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"é{number}.png", compress_level=1)


def _again(suffix: str, to: Callable[[Image.Image], Image.Image], **options: Any) -> Change:
    """One image written anew, as `to` makes it."""

    def change(root: Path) -> None:
        path = root / "train" / "nut" / "é1.png"
        image = Image.open(path)
        image.load()
        path.unlink()
        to(image).save(path.with_suffix(suffix), **options)

    return change


def _turned() -> Change:
    exif = Image.Exif()
    exif[0x0112] = 8
    return _again(".png", lambda image: image.transpose(Image.Transpose.ROTATE_270), exif=exif)


def _moved(before: str, after: str) -> Change:
    def change(root: Path) -> None:
        (root / after).parent.mkdir(parents=True, exist_ok=True)
        (root / before).rename(root / after)

    return change


def _put(name: str, content: bytes) -> Change:
    def change(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return change


def _linked(root: Path) -> None:
    (root / "train" / "nut").rename(root / "store")
    (root / "train" / "nut").symlink_to(root / "store", target_is_directory=True)


def _emptied(split: str) -> Change:
    def change(root: Path) -> None:
        for path in (root / split / "nut").iterdir():
            path.unlink()

    return change


def _deep(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


HARMLESS: dict[str, Change] = {
    "as it is": lambda root: None,
    "valid": _moved("val", "valid"),
    "upper case": _moved("train", "TRAIN"),
    "training": _moved("train", "training"),
    "nested": _moved("train/nut/é1.png", "train/nut/part/2/é1.png"),
    "suffix": _moved("train/nut/é1.png", "train/nut/é1.PNG"),
    "jfif": _moved("train/nut/é1.png", "train/nut/é1.jfif"),
    "link": _linked,
    "system's": _put("train/nut/._é1.png", b"\0\5"),
    "of an archive": _put("train/__MACOSX/nut/é1.png", b"\0"),
    "others": _put("test/nut/list.txt", b"x"),
    "tif": _again(".tif", lambda image: image),
    "bmp": _again(".bmp", lambda image: image),
    "16 bits": _again(".png", _deep),
    "float": _again(".tif", lambda image: Image.fromarray(np.asarray(image).astype(np.float32))),
    "alpha": _again(".png", lambda image: image.convert("RGBA")),
    "colour": _again(".png", lambda image: image.convert("RGB")),
    "palette": _again(".png", lambda image: image.convert("P")),
    "turned": _turned(),
}
FAULTS: dict[str, Change] = {
    "text": _put("train/nut/é1.png", b"no image"),
    "empty": _put("test/bolt/é1.png", b""),
    "no train": _moved("train", "other"),
    "two vals": _put("validation/nut/é1.png", b""),
    "other class": _moved("test/nut", "test/screw"),
    "class without images": _emptied("train"),
    "one class": lambda root: [_moved(f"{split}/nut", f"nuts/{split}")(root) for split in COUNTS],
    "below 0": _again(".tif", lambda image: Image.fromarray(np.asarray(image).astype(np.float32) - 300)),
}


def arrays(root: Path) -> list[list[tuple[bytes, str]]]:
    """Pixels and class of each image of train, val and test."""
    found = load_splits(f"folder:{root}", image_size=SIDE, grey=True)
    parts = (found.train, found.val, found.test)
    return [
        sorted((i.tobytes(), found.class_names[n]) for i, n in zip(part.pixels, part.labels, strict=True))
        for part in parts
    ]


def verdict(name: str, seed: int, folder: Path) -> str:
    """What is wrong with how a case ends; empty where all is right."""
    clean, root = folder / "clean", folder / "mutated"
    write(clean, seed)
    write(root, seed)
    (HARMLESS | FAULTS)[name](root)
    try:
        found = arrays(root)
    except DataError as error:
        if name in HARMLESS:
            return f"refused: {error}"
        return "" if "\n" not in str(error) and str(root) in str(error) else f"names no file: {error}"
    if name in FAULTS:
        return "was read"
    return "" if found == arrays(clean) else "reads as other arrays"
