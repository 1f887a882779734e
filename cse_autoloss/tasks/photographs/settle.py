"""Bring annotations and files together: sizes, orientation, boxes inside their images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cse_autoloss.tasks.photographs.annotations import Annotations, Box, Entry, Objects
from cse_autoloss.tasks.photographs.faults import BadItem
from cse_autoloss.tasks.photographs.meaning import check_form
from cse_autoloss.tasks.photographs.pixels import Picture

ROUNDING = 1.0
"""Pixels that a box may stick out of its image untold: rounding, in real files."""
GRID = 64
"""Boxes in parts of an image are brought to 1/64 pixel: their writers' six digits tell no more."""


def settle(found: Annotations, pictures: Mapping[Path, Picture | str]) -> None:
    """Fill in sizes, turn boxes into pixels and clip them to their images.

    Raises:
        DataError: an image does not decode or has another size than its entry, or a box lies outside.
    """
    bad: set[int] = set()
    stored = 0
    for number, entry in found.images.items():
        with found.faults.item(entry.where, bad, number):
            picture = pictures[entry.path]
            if isinstance(picture, str):
                raise BadItem("image does not decode", picture)
            _take_size(entry, picture)
            stored += not entry.upright
    found.leave_out(bad)
    check_form(found)
    bad = set()
    for number, entry in found.images.items():
        _settle_objects(found, number, entry, bad)
    _without_twins(found)
    if stored:
        found.faults.remarks.append(
            f"{stored} images have an EXIF orientation, but sizes as they are stored: read as they are stored"
        )
    found.leave_out(bad)


def _take_size(entry: Entry, picture: Picture) -> None:
    """The entry's size where it has none; BadItem where it has another than the file."""
    stored, given = (picture.width, picture.height), (entry.width, entry.height)
    entry.checksum = picture.checksum
    if 0 in given or given == picture.upright:
        entry.width, entry.height = picture.upright
    elif given == stored:
        entry.upright = False
    else:
        width, height = picture.upright
        raise BadItem(
            "other size",
            f"{entry.name} is {width}x{height} pixels, but {entry.width}x{entry.height} by its entry",
        )


def _settle_objects(found: Annotations, number: int, entry: Entry, bad: set[int]) -> None:
    own = found.objects[number]
    for row, box in enumerate(own.boxes):
        where = own.where[row]
        with found.faults.item(where, bad, number):
            pixels = _in_pixels(box, entry) if found.shares else box
            own.boxes[row] = _clipped(pixels, entry)
            outside = max(-pixels[0], -pixels[1], pixels[2] - entry.width, pixels[3] - entry.height)
            if outside > ROUNDING:
                found.faults.clipped.append(
                    f"{found.path}: {where}: sticks out of its image {entry.name} ({entry.width}x{entry.height}) "
                    f"by {outside:g}"
                )


def _without_twins(found: Annotations) -> None:
    """Take an object once that stands twice on its image: of two with one box, one could never be found."""
    twins: list[str] = []
    for own in found.objects.values():
        first: dict[tuple[Box, int, bool], int] = {}
        for row, one in enumerate(zip(own.boxes, own.categories, own.crowd, strict=True)):
            if first.setdefault(one, row) != row:
                twins.append(own.where[row])
        if len(first) < len(own.boxes):
            own.keep(list(first.values()))
    if twins:
        found.faults.remarks.append(
            f"{len(twins)} objects stand on their image a second time, with the same class and box: taken once, the "
            f"first: {twins[0]}"
        )


def _in_pixels(box: Box, entry: Entry) -> Box:
    x0, y0, x1, y1 = (
        round(part * side * GRID) / GRID
        for part, side in zip(box, (entry.width, entry.height) * 2, strict=True)
    )
    return x0, y0, x1, y1


def _clipped(box: Box, entry: Entry) -> Box:
    clipped = (
        max(box[0], 0.0),
        max(box[1], 0.0),
        min(box[2], float(entry.width)),
        min(box[3], float(entry.height)),
    )
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        shown = ", ".join(f"{one:g}" for one in (box[0], box[1], box[2] - box[0], box[3] - box[1]))
        raise BadItem(
            "bbox outside",
            f"bbox [{shown}] lies outside its image {entry.name} ({entry.width}x{entry.height})",
        )
    return clipped


def without_repeats(found: Annotations) -> None:
    """Look for files that are listed twice: with the same objects that is told, with others an error, for what one
    entry has as an object is background in the other.

    Raises:
        DataError: two entries of one file do not have the same objects.
    """
    first: dict[Path, int] = {}
    bad: set[int] = set()
    same: list[Entry] = []
    for number, entry in found.images.items():
        other = first.setdefault(entry.path, number)
        if other == number:
            continue
        before = found.images[other]
        if _objects_of(found.objects[other]) == _objects_of(found.objects[number]):
            same.append(entry)
            continue
        with found.faults.item(entry.where, bad, number):
            bad.add(other)
            raise BadItem(
                "file listed twice", f"{entry.name} is the file of {before.where}, with other objects"
            )
    if same:
        found.faults.remarks.append(
            f"{len(same)} entries list a file a second time, the first: {same[0].where}, {same[0].name}"
        )
    found.leave_out(bad)


def _objects_of(own: Objects) -> list[tuple[Box, int]]:
    return sorted(zip(own.boxes, own.categories, strict=True))
