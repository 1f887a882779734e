"""What a data set that reads well may still have wrong: boxes in another form, splits that share images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cse_autoloss.errors import DataError
from cse_autoloss.tasks.data_digest import shared
from cse_autoloss.tasks.photographs.annotations import Annotations, Box, Entry

MOST_SCORED = 100
"""Detections an image that COCO's AP counts."""
OVERHANGING = 0.2
"""Share of boxes that stick out from which [x1, y1, x2, y2] is the likelier reading, where it fits all."""
FEW = 4
"""Boxes under which nothing is concluded from their form."""


def check_form(found: Annotations) -> None:
    """Look at boxes before they are clipped.

    Raises:
        DataError: they are no [x, y, width, height] in pixels, by all that can be seen.
    """
    if found.shares:
        return
    rows = [
        (found.images[n], box) for n, own in found.objects.items() for box in own.boxes if n in found.images
    ]
    if not rows:
        return
    if all(max(box[2] - box[0], box[3] - box[1]) <= 1 and max(box) <= 2 for _, box in rows):
        raise DataError(
            f"{found.path}: all {len(rows)} boxes are under a pixel: are they in parts of the image (0 to 1)? "
            "COCO's are in pixels"
        )
    out = sum(_overhangs(entry, box) for entry, box in rows)
    if len(rows) >= FEW and out >= OVERHANGING * len(rows) and all(_fits_as_corners(e, b) for e, b in rows):
        line = (
            f"{out} of {len(rows)} boxes stick out of their images, and all fit as [x1, y1, x2, y2]; "
            "COCO's are [x, y, width, height]"
        )
        if not found.faults.skip_bad:
            raise DataError(f"{found.path}: {line}")
        found.faults.remarks.append(line)


def _overhangs(entry: Entry, box: Box) -> bool:
    return box[2] > entry.width + 1 or box[3] > entry.height + 1


def _fits_as_corners(entry: Entry, box: Box) -> bool:
    """Whether what was read as width and height may be the second corner."""
    right, below = box[2] - box[0], box[3] - box[1]
    return box[0] < right <= entry.width + 1 and box[1] < below <= entry.height + 1


def check_objects(name: str, found: Annotations) -> None:
    """DataError where a split has nothing to learn from, or to be scored by."""
    boxes = found.boxes
    crowds = sum(sum(own.crowd) for own in found.objects.values())
    aim = "nothing can be learned" if name == "train" else f"nothing can be scored on {name}"
    if not boxes:
        raise DataError(f"{found.path}: no box, so {aim}{found.faults.first}")
    if crowds == boxes:
        raise DataError(f"{found.path}: all {boxes} boxes are crowd regions (iscrowd 1), so {aim}")


def shared_images(splits: Mapping[str, Annotations]) -> Iterator[str]:
    """See `shared`."""
    return shared(
        {name: [(e.checksum, e.name) for e in found.images.values()] for name, found in splits.items()}
    )


def crowded(name: str, found: Annotations) -> Iterator[str]:
    """A line where images have more objects than COCO's AP counts detections."""
    full = [n for n, own in found.objects.items() if len(own.boxes) > MOST_SCORED]
    if full:
        yield (
            f"{name}: {len(full)} images have more than {MOST_SCORED} objects, the first: "
            f"{found.images[full[0]].name}; COCO's AP counts the best {MOST_SCORED} detections an image"
        )
