"""Read a JSON file in COCO's format: lists of images, annotations and categories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cse_autoloss.errors import DataError, nearest
from cse_autoloss.tasks.photographs.annotations import Annotations, Entry, Objects
from cse_autoloss.tasks.photographs.faults import BadItem, Faults, shown
from cse_autoloss.tasks.photographs.names import ImageFinder
from cse_autoloss.tasks.photographs.values import Numbers, flag, label, read_json, value, whole


def read_coco(path: Path, finder: ImageFinder, skip_bad: bool = False, segments: bool = False) -> Annotations:
    """The split of one file; images are looked for, not opened. `segments` keeps the objects' outlines.

    Raises:
        DataError: in one line: the file, the item in it, what is wrong.
    """
    content = read_json(path)
    found = Annotations(path, Faults(path, skip_bad))
    image_ids, category_ids = Numbers(), Numbers()
    bad_categories = _categories(content, found, category_ids)
    bad = _images(content, found, image_ids, finder)
    gone = set(bad)
    for what, item in _items(content, "annotations", path):
        number: int | None = None
        with found.faults.item(what):  # without its image there is nothing to leave out
            number = image_ids.of(item, "image_id")
            if number not in found.images and number not in bad:
                raise BadItem("unknown image_id", f"no image has id {shown(item['image_id'])}")
        if number is None or number in bad or number not in found.images:
            continue  # its image was counted already
        with found.faults.item(what, gone, number):
            category = category_ids.of(item, "category_id")
            if category not in found.categories or category in bad_categories:
                raise BadItem(
                    "unknown category_id",
                    f"no category has id {shown(item['category_id'])}"
                    if category not in bad_categories
                    else f"two categories have id {category}",
                )
            crowd, segment = flag(item, "iscrowd"), item.get("segmentation") if segments else None
            found.add(number, value(item, "bbox"), category, crowd, what, corners=False, segment=segment)
    found.leave_out(gone)
    return found


def _categories(content: dict[str, Any], found: Annotations, ids: Numbers) -> set[int]:
    """Fill in the categories; the ids that two of them have."""
    twice: set[int] = set()
    for what, item in _items(content, "categories", found.path):
        with found.faults.item(what):
            number, name = ids.of(item, "id"), label(value(item, "name"))
            if found.categories.get(number, name) != name:
                twice.add(number)
                raise BadItem("category twice", f"a second category with id {number}")
            found.categories[number] = name
    return twice


def _images(content: dict[str, Any], found: Annotations, ids: Numbers, finder: ImageFinder) -> set[int]:
    """Fill in the images; the ids of those that are left out. Of two with one id nobody knows whose objects
    are whose: both go."""
    bad: set[int] = set()
    numbered: list[tuple[str, Any, int]] = []
    for what, item in _items(content, "images", found.path):
        with found.faults.item(what):
            numbered.append((what, item, ids.of(item, "id")))
    found.gone += len(content["images"]) - len(numbered)  # they have no number by which they could go
    for what, item, number in numbered:
        with found.faults.item(what, bad, number):
            if number in found.images or number in bad:
                raise BadItem("image id twice", f"a second image with id {shown(item['id'])}")
            name = value(item, "file_name")
            if not isinstance(name, str) or not name:
                raise BadItem("wrong file_name", f"file_name: expected a text, got {shown(name)}")
            width, height = _size(item, "width"), _size(item, "height")
            found.images[number] = Entry(finder.find(name), name, what, width, height)
            found.objects[number] = Objects()
    return bad


def _size(item: dict[str, Any], key: str) -> int:
    """Pixels; 0 where the file does not tell."""
    if item.get(key) is None:
        return 0
    size = whole(item, key)
    if size < 1:
        raise BadItem("wrong size", f"{key}: expected at least 1 pixel, got {shown(item[key])}")
    return size


def _items(content: dict[str, Any], key: str, path: Path) -> Iterator[tuple[str, Any]]:
    """The items of one list with a name for each: `images[3] (id 7)`."""
    if key not in content:
        close = nearest(key, content)
        hint = f"; did you mean {close!r}?" if close else ""
        raise DataError(f"{path}: missing key {key!r}{hint}")
    if not isinstance(content[key], list):
        raise DataError(f"{path}: {key}: expected a list, got {shown(content[key])}")
    for position, item in enumerate(content[key]):
        number = item.get("id") if isinstance(item, dict) else None
        yield f"{key}[{position}]" + (f" (id {shown(number)})" if number is not None else ""), item
