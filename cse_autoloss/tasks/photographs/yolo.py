"""Read YOLO's layout: `data.yaml` names the classes and the folders of images; each image has a text file of its own.

A line is `class cx cy width height` in parts of the image's sides, or `class x y x y x y …`, the corners of an outline,
whose surrounding box is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cse_autoloss.errors import ConfigError, DataError
from cse_autoloss.settings.plain_yaml import read_yaml
from cse_autoloss.tasks.image_listing import SPLIT_WORDS, list_images
from cse_autoloss.tasks.photographs.annotations import Annotations, Box, Entry, Objects
from cse_autoloss.tasks.photographs.faults import BadItem, Faults, shown
from cse_autoloss.tasks.photographs.names import ImageFinder, is_file
from cse_autoloss.tasks.photographs.values import four_numbers, label

SLACK = 1e-3
"""By how much of a side a number may leave 0 to 1: rounding, by the programs that write six digits."""


def yolo_classes(file: Path) -> dict[int, str]:
    """Names by number, of `data.yaml` (a list, or numbers with their names) or of a `classes.txt`.

    Raises:
        DataError: they are not there.
    """
    if file.suffix == ".txt":
        listed: Any = [line for line in _text(file).splitlines() if line.strip()]
    else:
        listed = _yaml(file).get("names")
    if isinstance(listed, list):
        listed = dict(enumerate(listed))
    if not isinstance(listed, dict) or not listed:
        raise DataError(f"{file}: names: expected the classes, got {shown(listed)}")
    found: dict[int, str] = {}
    for number, name in listed.items():
        if not str(number).isdecimal():
            raise DataError(f"{file}: names: expected whole numbers for keys, got {shown(number)}")
        try:
            found[int(number)] = label(name)
        except BadItem as bad:
            raise DataError(f"{file}: names[{number}]: {bad}") from None
    return found


def yolo_places(file: Path) -> dict[str, list[Path]]:
    """Split -> folders of images, or lists of their names, that `data.yaml` names and that are there.

    Raises:
        DataError: a place that it names is not there.
    """
    content = _yaml(file)
    found: dict[str, list[Path]] = {}
    home = content.get("path")
    bases = [file.parent / home] if isinstance(home, str) else []
    bases.append(file.parent)
    for split, keys in SPLIT_WORDS.items():
        named = next((content[key] for key in keys if content.get(key)), None)
        places = [one for one in (named if isinstance(named, list) else [named]) if isinstance(one, str)]
        for place in places:
            path = _place(bases, place)
            if path is None and split != "test":
                raise DataError(f"{file}: {split}: {place}: no such folder below {file.parent}")
            if path is not None:
                found.setdefault(split, []).append(path)
    return found


def read_yolo(
    places: Sequence[Path], root: Path, classes: dict[int, str], names: Path, skip_bad: bool = False
) -> Annotations:
    """The split of the images in some folders, or of text files that list images.

    Raises:
        DataError: in one line: the file, the line in it, what is wrong.
    """
    found = Annotations(places[0], Faults(places[0], skip_bad), dict(classes), shares=True)
    bad: set[int] = set()
    for number, image in enumerate(_images(places, root)):
        found.images[number] = Entry(image, image.relative_to(root).as_posix(), "image")
        found.objects[number] = Objects()
        file = _label_file(image)
        if file is None:
            continue
        for row, line in enumerate(_text(file).splitlines(), 1):
            if line.strip():
                where = f"{file.relative_to(root)}: line {row}"
                with found.faults.item(where, bad, number):
                    category, box = _object(line)
                    if category not in classes:
                        raise BadItem("unknown class", f"class {category}: {names.name} has {len(classes)}")
                    found.add(number, box, category, False, where, corners=True)
    if not found.images:
        raise DataError(f"{places[0]}: no images")
    found.leave_out(bad)
    return found


def _object(line: str) -> tuple[int, Box]:
    """Class, and box xyxy in parts of the image."""
    words = line.split()
    try:
        category = float(words[0])
        numbers = [float(word) for word in words[1:]]
    except ValueError:
        raise BadItem("no numbers", f"expected class cx cy width height, got {shown(line.strip())}") from None
    if not category.is_integer() or category < 0:
        raise BadItem("wrong class", f"expected a whole number for the class, got {words[0]}")
    outline = len(numbers) >= 6 and len(numbers) % 2 == 0
    if not outline and len(numbers) not in (4, 5):  # the fifth is a score
        raise BadItem("wrong count", f"expected class cx cy width height, got {shown(line.strip())}")
    if outline:
        x, y = numbers[::2], numbers[1::2]
        box = (min(x), min(y), max(x), max(y))
    else:
        cx, cy, width, height = four_numbers(numbers[:4], "cx cy width height")
        if width <= 0 or height <= 0:
            raise BadItem("bbox without area", f"{shown(line.strip())}: a box without area")
        box = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    if max(numbers[:4]) > 1 + SLACK or min(numbers[:4]) < -SLACK:
        raise BadItem("not in parts", f"expected parts of the image from 0 to 1, got {shown(line.strip())}")
    return int(category), box


def _images(places: Sequence[Path], root: Path) -> list[Path]:
    found: list[Path] = []
    for place in places:
        if place.suffix == ".txt":
            finder = ImageFinder((root, place.parent))
            for row, line in enumerate(_text(place).splitlines(), 1):
                if line.strip():
                    try:
                        found.append(finder.find(line.strip()))
                    except BadItem as bad:
                        raise DataError(f"{place}: line {row}: {bad}") from None
        else:
            found += list_images(place).images
    return found


def _label_file(image: Path) -> Path | None:
    """The text file of an image: beside it, or where `labels` stands for `images` in its path."""
    candidates = [image.with_suffix(".txt")]
    parts = list(image.parts)
    for at in reversed([i for i, part in enumerate(parts[:-1]) if part == "images"]):
        candidates.append(Path(*parts[:at], "labels", *parts[at + 1 :]).with_suffix(".txt"))
        candidates.append(Path(*parts[:at], "labels", parts[-1]).with_suffix(".txt"))
    return next((one for one in candidates if is_file(one)), None)


def _place(bases: Sequence[Path], place: str) -> Path | None:
    """Where a place of `data.yaml` is: below the file's folder, whatever way its writer meant it."""
    parts = [part for part in place.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for base in bases:
        for first in range(len(parts) or 1):
            for end in ((), ("images",)) if parts[-1:] != ["images"] else ((),):
                path = base.joinpath(*parts[first:], *end)
                if (path.is_dir() and list_images(path).images) or (path.suffix == ".txt" and is_file(path)):
                    return path
    return None


def _yaml(file: Path) -> dict[str, Any]:
    try:
        return read_yaml(file)
    except ConfigError as error:
        raise DataError(str(error)) from None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: can not be read: {error}") from None
