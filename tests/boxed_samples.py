"""Small data sets with boxes, made from a seed and written in COCO's, YOLO's and Pascal VOC's layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("bolt", "nut")
COUNTS = {"train": 5, "val": 3, "test": 2}
SIZE = (48, 32)
Content = dict[str, Any]
Rng = np.random.Generator


@dataclass
class Sample:
    """A data set before it is written.

    Attributes:
        images: split -> name -> pixels (H, W, 3).
        boxes: split -> name -> rows of class, x, y, width, height.
    """

    images: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    boxes: dict[str, dict[str, list[tuple[int, float, float, float, float]]]] = field(default_factory=dict)


def sample(seed: int) -> Sample:
    """Rectangles of a few colours on images of one size; the last of train has none."""
    rng, made, (width, height) = np.random.default_rng([7, seed]), Sample(), SIZE
    for split, count in COUNTS.items():
        made.images[split], made.boxes[split] = {}, {}
        for number in range(count):
            pixels = np.full((height, width, 3), 40 + 10 * number, dtype=np.uint8)
            pixels[0, : len(split) * 3 + number] = (
                number * 9,
                len(split) * 20,
                seed % 200,
            )  # no two are alike
            rows = []
            for row in range(0 if split == "train" and number == count - 1 else 2):
                w, h = (int(side) for side in rng.integers(8, 16, 2))
                x, y = int(rng.integers(24 * row, 24 * row + 24 - w)), int(rng.integers(2, height - h))
                pixels[y : y + h, x : x + w] = (230, 30)[row]
                rows.append((row, float(x), float(y), float(w), float(h)))
            name = f"{split}_é{number}.png"
            made.images[split][name], made.boxes[split][name] = pixels, rows
    return made


# -- writers ---------------------------------------------------------------------------------------------------


def coco_content(made: Sample, split: str, prefix: str = "") -> Content:
    """One split as COCO's JSON has it."""
    images, annotations = [], []
    for number, (name, rows) in enumerate(made.boxes[split].items(), 1):
        images.append({"id": number, "file_name": prefix + name, "width": SIZE[0], "height": SIZE[1]})
        for label, *box in rows:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": box,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


PLACES: dict[str, tuple[str, str, str]] = {
    "plain": ("{split}.json", "", ""),
    "images": ("{split}.json", "images", "images/"),
    "roboflow": ("{valid}/_annotations.coco.json", "{valid}", ""),
    "coco": ("annotations/instances_{split}2017.json", "{split}2017", ""),
    "cvat": ("annotations/instances_{split}.json", "images/{split}", ""),
    "inner": ("annotations/{split}.json", "images", ""),
}
"""COCO's layout -> JSON file, folder of images, what stands before an image's name."""


def write_coco(made: Sample, root: Path, layout: str, change: Callable[[str, Content, Path], Any]) -> None:
    """`change` gets the split, its content and the folder of its images before the JSON is written."""
    for split in COUNTS:
        names = {"split": split, "valid": "valid" if split == "val" else split}
        file, folder, prefix = (text.format(**names) for text in PLACES[layout])
        save_images(made, split, root / folder)
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        content = coco_content(made, split, prefix)
        written = change(split, content, root / folder)
        if not isinstance(written, bytes):
            written = json.dumps(content).encode()
        (root / file).write_bytes(written)


def save_images(made: Sample, split: str, folder: Path) -> None:
    """As PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in made.images[split].items():
        Image.fromarray(pixels).save(folder / name, compress_level=1)


def write_yolo(
    made: Sample, root: Path, change: Callable[[str, str, list[str]], Any], nested: bool = False
) -> None:
    """`change` gets the split, the image's name and the lines of its text file."""
    for split in COUNTS:
        pictures, labels = (
            root / split / kind if nested else root / kind / split for kind in ("images", "labels")
        )
        save_images(made, split, pictures)
        labels.mkdir(parents=True)
        for name, rows in made.boxes[split].items():
            lines = [
                f"{label} {(x + w / 2) / SIZE[0]:.6f} {(y + h / 2) / SIZE[1]:.6f} {w / SIZE[0]:.6f} {h / SIZE[1]:.6f}"
                for label, x, y, w, h in rows
            ]
            change(split, name, lines)
            (labels / name).with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    places = {split: f"{split}/images" if nested else f"images/{split}" for split in COUNTS}
    text = "".join(f"{split}: {place}\n" for split, place in places.items())
    (root / "data.yaml").write_text(f"{text}nc: 2\nnames: [bolt, nut]\n", encoding="utf-8")


def write_voc(made: Sample, root: Path, change: Callable[[str, str, str], str]) -> None:
    """`change` gets the split, the image's name and the text of its XML file, and gives the text to write."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split in COUNTS:
        save_images(made, split, root / "JPEGImages")
        for name, rows in made.boxes[split].items():
            objects = "".join(
                f"<object><name>{CLASSES[label]}</name><bndbox><xmin>{x:g}</xmin><ymin>{y:g}</ymin>"
                f"<xmax>{x + w:g}</xmax><ymax>{y + h:g}</ymax></bndbox></object>"
                for label, x, y, w, h in rows
            )
            size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
            text = f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"
            file = (root / "Annotations" / name).with_suffix(".xml")
            file.write_text(change(split, name, text), encoding="utf-8")
        listed = "\n".join(Path(name).stem for name in made.boxes[split])
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(listed + "\n", encoding="utf-8")


# -- changes ---------------------------------------------------------------------------------------------------
