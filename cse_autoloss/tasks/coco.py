"""Read a folder in COCO's format: JSON files of images, boxes and categories, and the images beside them.

Whatever is wrong with it ends in one line that names the file and the item. With `skip_bad`, what is wrong
with an item leaves that item out, and the line is kept; what is wrong with a whole file is an error always.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.errors import DataError, nearest, shorten
from cse_autoloss.tasks.splits import Split, pad_objects

OVERHANG = 1.0
"""Pixels that a box may stick out of its image: rounding, in real files. It is clipped; more is an error."""
SMALL_SHARE = 0.1
"""Share of objects smaller than a grid cell from which the reader is told."""
PADDING = 114
"""Grey level around images that do not fill the canvas."""


@dataclass(frozen=True)
class CocoFolder:
    """Where things are, and what to make of them.

    Attributes:
        root: the folder.
        train, val, test: names of the JSON files in it. Without a file called test.json, val is split in two.
        images: folder, below `root`, that the `file_name` of images starts from.
        image_size: images are scaled, whole and undistorted, so that their longer side has so many pixels.
        multiple: canvas sides are a multiple of this: the network's stride.
        skip_bad: leave out wrong items in place of raising an error.
        segments: keep the objects' outlines too, as the file has them.
    """

    root: Path
    train: str = "train.json"
    val: str = "val.json"
    test: str = "test.json"
    images: str = "."
    image_size: int = 128
    multiple: int = 8
    skip_bad: bool = False
    segments: bool = False


@dataclass(frozen=True)
class CocoData:
    """What was read.

    Attributes:
        splits: "train", "val", "test".
        class_names: by class index; classes are the categories of the train file by rising id.
        notes: what the reader of a report should know, a line each.
    """

    splits: dict[str, Split]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


class _BadItem(Exception):
    """Something is wrong with one item; becomes a DataError or a skipped line."""


class _Skips:
    """Turns a _BadItem into an error, or into a line to remember."""

    def __init__(self, file: Path, skip_bad: bool) -> None:
        self._file = file
        self._skip_bad = skip_bad
        self.lines: list[str] = []

    @contextmanager
    def item(self, what: str) -> Iterator[None]:
        try:
            yield
        except _BadItem as bad:
            line = f"{self._file}: {what}: {bad}"
            if not self._skip_bad:
                raise DataError(line) from None
            self.lines.append(line)


@dataclass(frozen=True)
class _Image:
    path: Path
    name: str
    width: int
    height: int


@dataclass(frozen=True)
class _Objects:
    """Boxes (xyxy, original pixels), category ids, crowd flags and, where asked for, outlines of one image."""

    boxes: list[tuple[float, float, float, float]]
    categories: list[int]
    crowd: list[bool]
    segments: list[Any]


@dataclass(frozen=True)
class CocoFile:
    """One JSON file, checked; made by `read_coco_file`.

    Attributes:
        path: the file.
        categories: names by id.
        images: by id.
        objects: by the id of their image.
        skips: what was left out.
    """

    path: Path
    categories: dict[int, str]
    images: dict[int, _Image]
    objects: dict[int, _Objects]
    skips: _Skips


def load_coco(folder: CocoFolder) -> CocoData:
    """Read the folder.

    Raises:
        DataError: with one line: the file, the item in it, what is wrong, what was expected.
    """
    root = folder.root
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    train_file = read_coco_file(root / folder.train, folder)
    val_file = read_coco_file(root / folder.val, folder)
    test_path = root / folder.test
    has_test = test_path.is_file() or folder.test != CocoFolder.test
    test_file = read_coco_file(test_path, folder) if has_test else None

    categories = learnable_classes(train_file)
    notes = []
    splits = {"train": _shuffled(_to_split(train_file, categories, folder))}
    for name, file in (("val", val_file), ("test", test_file)):
        if file is not None:
            check_same_categories(file, train_file)
            splits[name] = _to_split(file, categories, folder)
    if test_file is None:
        splits["val"], splits["test"] = _halves(splits["val"], val_file.path)
        notes.append(
            f"{test_path} does not exist: {val_file.path.name} was split in two halves, "
            f"{len(splits['val'])} images for the search and {len(splits['test'])} for the audit"
        )
    for name, split in splits.items():
        if split.skipped and not (name == "test" and test_file is None):
            items = "item" if len(split.skipped) == 1 else "items"
            notes.append(f"{name}: {len(split.skipped)} bad {items} skipped, the first: {split.skipped[0]}")
    notes += _small_objects(splits["train"], folder)
    return CocoData(splits, tuple(train_file.categories[number] for number in categories), tuple(notes))


def read_coco_file(path: Path, folder: CocoFolder) -> CocoFile:
    """Read and check one JSON file; images are looked for, not opened.

    Raises:
        DataError: in one line: the file, the item in it, what is wrong.
    """
    content = _read_json(path)
    skips = _Skips(path, folder.skip_bad)
    categories: dict[int, str] = {}
    for what, item in _items(content, "categories", path):
        with skips.item(what):
            number = _whole(item, "id")
            if number in categories:
                raise _BadItem(f"a second category with id {number}")
            categories[number] = str(_value(item, "name"))
    images: dict[int, _Image] = {}
    bad_images: set[int] = set()
    for what, item in _items(content, "images", path):
        with skips.item(what):
            number = _whole(item, "id")
            bad_images.add(number)
            if number in images:
                raise _BadItem(f"a second image with id {number}")
            images[number] = _image(item, folder)
            bad_images.discard(number)
    objects = {number: _Objects([], [], [], []) for number in images}
    for what, item in _items(content, "annotations", path):
        with skips.item(what):
            number = _whole(item, "image_id")
            if number in bad_images and number not in images:
                continue  # its image was counted already
            _add_annotation(item, number, images, categories, objects)
            if folder.segments:
                objects[number].segments.append(item.get("segmentation"))
    if not images:
        raise DataError(f"{path}: no usable image" + (f", e.g. {skips.lines[0]}" if skips.lines else ""))
    return CocoFile(path, categories, images, objects, skips)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        present = [other.name for other in path.parent.glob("*.json")] if path.parent.is_dir() else []
        close = nearest(path.name, present)
        raise DataError(f"{path}: no such file" + (f"; did you mean {close}?" if close else "")) from None
    except OSError as error:
        raise DataError(f"{path}: can not be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except (ValueError, RecursionError) as error:  # bytes that are no text; a number of thousands of digits
        raise DataError(f"{path}: broken JSON: {type(error).__name__}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object with images, annotations and categories")
    return content


def _items(content: dict[str, Any], key: str, path: Path) -> Iterator[tuple[str, Any]]:
    """The items of one list with a name for each: `images[3] (id 7)`."""
    if key not in content:
        close = nearest(key, content)
        hint = f"; did you mean {close!r}?" if close else ""
        raise DataError(f"{path}: missing key {key!r}{hint}")
    if not isinstance(content[key], list):
        raise DataError(f"{path}: {key}: expected a list, got {shorten(json.dumps(content[key]))}")
    for position, item in enumerate(content[key]):
        number = item.get("id") if isinstance(item, dict) else None
        yield f"{key}[{position}]" + (f" (id {shorten(str(number))})" if number is not None else ""), item


def _value(item: Any, key: str) -> Any:
    if not isinstance(item, dict):
        raise _BadItem(f"expected an object, got {shorten(json.dumps(item))}")
    if key not in item:
        raise _BadItem(f"missing key {key!r}")
    return item[key]


def _whole(item: Any, key: str) -> int:
    value = _value(item, key)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 63:
        raise _BadItem(f"{key}: expected a whole number, got {shorten(json.dumps(value))}")
    return value


def _image(item: Any, folder: CocoFolder) -> _Image:
    name = _value(item, "file_name")
    if not isinstance(name, str):
        raise _BadItem(f"file_name: expected text, got {shorten(json.dumps(name))}")
    width, height = _whole(item, "width"), _whole(item, "height")
    if width < 1 or height < 1:
        raise _BadItem(f"{shorten(name)}: a size of {width}x{height} pixels")
    base = (folder.root / folder.images).resolve()
    try:
        path = (base / name).resolve()
        there = path.is_file()
    except (OSError, ValueError):  # no name of a file: too long, NUL, half of a character
        raise _BadItem(f"file_name {shorten(repr(name))} is no name of a file") from None
    # a data set is outside data: its names must not reach files that are none of it
    if not path.is_relative_to(base):
        raise _BadItem(f"file_name {shorten(name)!r} leads out of {base}")
    if not there:
        raise _BadItem(f"image {shorten(str(path), 300)} does not exist")
    return _Image(path, name, width, height)


def _add_annotation(
    item: Any,
    image_id: int,
    images: dict[int, _Image],
    categories: dict[int, str],
    objects: dict[int, _Objects],
) -> None:
    category = _whole(item, "category_id")
    box = _value(item, "bbox")
    if image_id not in images:
        raise _BadItem(f"no image has id {image_id}")
    if category not in categories:
        raise _BadItem(f"no category has id {category}")
    objects[image_id].boxes.append(_checked_box(box, images[image_id]))
    objects[image_id].categories.append(category)
    objects[image_id].crowd.append(bool(item.get("iscrowd", 0)))


MOST_PIXELS = 1e9
"""No coordinate of a box is as large."""


def _checked_box(box: Any, image: _Image) -> tuple[float, float, float, float]:
    """COCO's [x, y, width, height] as xyxy, clipped to the image."""
    shown = shorten(json.dumps(box))
    is_numbers = isinstance(box, list) and all(isinstance(v, int | float) for v in box)
    if not is_numbers or len(box) != 4:
        raise _BadItem(f"bbox: expected [x, y, width, height], got {shown}")
    if not all(abs(value) < MOST_PIXELS for value in box):
        raise _BadItem(f"bbox {shown} is not finite, or beyond any image")
    x, y, width, height = (float(value) for value in box)
    if width <= 0 or height <= 0:
        raise _BadItem(f"bbox {shown} has no area")
    outside = max(-x, -y, x + width - image.width, y + height - image.height)
    if outside > OVERHANG:
        raise _BadItem(
            f"bbox {shown} sticks out of its image {image.name} ({image.width}x{image.height}) by {outside:g}"
        )
    clipped = (max(x, 0.0), max(y, 0.0), min(x + width, image.width), min(y + height, image.height))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise _BadItem(f"bbox {shown} lies outside its image {image.name} ({image.width}x{image.height})")
    return clipped


def learnable_classes(train: CocoFile) -> list[int]:
    """Category ids by class index: rising, and only such as can be learned."""
    seen = {category for own in train.objects.values() for category in own.categories}
    for number, name in train.categories.items():
        if number not in seen:
            with train.skips.item(f"category {name!r} (id {number})"):
                raise _BadItem("no box has this category, so it can not be learned")
    if not seen:
        raise DataError(f"{train.path}: no box to learn from")
    return sorted(seen)


def check_same_categories(file: CocoFile, train: CocoFile) -> None:
    """Refuse, or skip, a category that the train file does not have or calls otherwise."""
    for number, name in file.categories.items():
        with file.skips.item(f"category {name!r} (id {number})"):
            if number not in train.categories:
                raise _BadItem(f"{train.path.name} has no category with this id")
            if train.categories[number] != name:
                raise _BadItem(f"{train.path.name} calls this id {train.categories[number]!r}")


def _to_split(file: CocoFile, categories: list[int], folder: CocoFolder) -> Split:
    index = {number: position for position, number in enumerate(categories)}
    pixels, boxes, labels, crowd = [], [], [], []
    for number, image in file.images.items():
        with file.skips.item(f"image {image.name} (id {number})"):
            scaled, scale = _read_image(image, folder.image_size)
            own = file.objects[number]
            known = [row for row, category in enumerate(own.categories) if category in index]
            corners = np.array([own.boxes[row] for row in known], dtype=np.float32).reshape(-1, 4)
            pixels.append(scaled)
            boxes.append(corners * np.array([*scale, *scale], dtype=np.float32))
            labels.append(np.array([index[own.categories[row]] for row in known], dtype=np.int64))
            crowd.append([own.crowd[row] for row in known])
    if not pixels:
        raise DataError(f"{file.path}: no usable image, e.g. {file.skips.lines[0]}")
    all_boxes, all_labels = pad_objects(boxes, labels)
    all_crowd = np.zeros(all_labels.shape, dtype=bool)
    for row, flags in enumerate(crowd):
        all_crowd[row, : len(flags)] = flags
    return Split(_stack(pixels, folder.multiple), all_boxes, all_labels, all_crowd, tuple(file.skips.lines))


def _read_image(image: _Image, longer_side: int) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """RGB pixels (3, h, w) and the scale in x and y."""
    from PIL import Image

    try:
        with Image.open(image.path) as opened:
            if opened.size != (image.width, image.height):
                raise _BadItem(
                    f"is {opened.width}x{opened.height} pixels, but {image.width}x{image.height} by its entry"
                )
            factor = longer_side / max(opened.size)
            size = tuple(max(1, round(side * factor)) for side in opened.size)
            scaled = opened.convert("RGB").resize((size[0], size[1]), Image.Resampling.BILINEAR)
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise _BadItem(f"{image.path} does not decode: {error}") from None
    pixels = np.asarray(scaled, dtype=np.uint8).transpose(2, 0, 1)
    return pixels, (size[0] / image.width, size[1] / image.height)


def _stack(pixels: list[NDArray[np.uint8]], multiple: int) -> NDArray[np.uint8]:
    """All images on canvases of one size, each in the upper left corner, so that boxes need no shift."""
    height, width = (
        math.ceil(max(image.shape[axis] for image in pixels) / multiple) * multiple for axis in (1, 2)
    )
    stacked = np.full((len(pixels), 3, height, width), PADDING, dtype=np.uint8)
    for row, image in enumerate(pixels):
        stacked[row, :, : image.shape[1], : image.shape[2]] = image
    return stacked


def _small_objects(train: Split, folder: CocoFolder) -> list[str]:
    """A hint, when many objects may fall between the cells of the network's grid."""
    sides = (train.boxes[..., 2:] - train.boxes[..., :2]).min(axis=-1)[train.labels >= 0]
    share = float((sides < folder.multiple).mean())
    if share <= SMALL_SHARE:
        return []
    return [
        f"{share:.0%} of the training boxes have a side under {folder.multiple} pixels at "
        f"image_size {folder.image_size}, too small to learn well: a larger image_size may help"
    ]


def _shuffled(split: Split) -> Split:
    """In a fixed random order, so that the first n images are a fair sample of a file sorted by class."""
    return split.take(np.random.default_rng(0).permutation(len(split)))


def _halves(split: Split, path: Path) -> tuple[Split, Split]:
    if len(split) < 2:
        raise DataError(f"{path}: 1 usable image can not be split into validation and test; add a test.json")
    order = np.random.default_rng(0).permutation(len(split))
    half = (len(split) + 1) // 2
    return split.take(np.sort(order[:half])), split.take(np.sort(order[half:]))
