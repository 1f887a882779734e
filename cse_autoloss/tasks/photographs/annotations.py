"""One split as it was read, whatever the layout: images, their objects, the names of classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cse_autoloss.errors import DataError
from cse_autoloss.tasks.photographs.faults import BadItem, Faults, shown
from cse_autoloss.tasks.photographs.values import four_numbers

Box = tuple[float, float, float, float]


@dataclass
class Entry:
    """An image.

    Attributes:
        path: of the file.
        name: as the annotations call it.
        where: which item of the annotations it is, for messages.
        width, height: pixels, as viewers show it; 0 until they are known.
        upright: whether the orientation in the file is to be followed; boxes of some programs are on the pixels as
            they are stored.
        checksum: of the file's bytes; empty until they were read.
    """

    path: Path
    name: str
    where: str
    width: int = 0
    height: int = 0
    upright: bool = True
    checksum: str = ""


@dataclass
class Objects:
    """Boxes (xyxy, pixels), category ids, crowd flags and, where asked for, outlines of one image."""

    boxes: list[Box] = field(default_factory=list)
    categories: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    segments: list[Any] = field(default_factory=list)
    where: list[str] = field(default_factory=list)

    def keep(self, rows: list[int]) -> None:
        """Only those at `rows`."""
        for name, column in list(vars(self).items()):
            setattr(self, name, [column[row] for row in rows])


@dataclass
class Annotations:
    """One split.

    Attributes:
        path: the file, or the folder where each image has its own.
        categories: names by id.
        images: by id.
        objects: by the id of their image.
        faults: what was left out, and what else is to be told.
        shares: whether boxes are parts of their image's sides, as YOLO's, and not pixels.
        gone: images that were left out.
    """

    path: Path
    faults: Faults
    categories: dict[int, str] = field(default_factory=dict)
    images: dict[int, Entry] = field(default_factory=dict)
    objects: dict[int, Objects] = field(default_factory=dict)
    shares: bool = False
    gone: int = 0

    @property
    def boxes(self) -> int:
        """How many there are, crowds among them."""
        return sum(len(own.boxes) for own in self.objects.values())

    def leave_out(self, numbers: set[int]) -> None:
        """Take images out with all their objects: what can not be trusted must not become background."""
        self.gone += len(numbers)
        for number in numbers:
            self.images.pop(number, None)
            self.objects.pop(number, None)
        self.require_images()

    def part(self, numbers: Iterable[int]) -> Annotations:
        """Some of the images, in that order; what was left out is told of the whole."""
        order = list(numbers)
        images, objects = {n: self.images[n] for n in order}, {n: self.objects[n] for n in order}
        return replace(self, images=images, objects=objects)

    def require_images(self) -> None:
        """DataError where no image is left."""
        if not self.images:
            raise DataError(f"{self.path}: no usable image{self.faults.first}")

    def add(
        self,
        number: int,
        box: Any,
        category: int,
        crowd: bool,
        where: str,
        *,
        corners: bool,
        segment: Any = None,
    ) -> None:
        """Put an object on an image.

        Args:
            number: of the image.
            box: [x, y, width, height], or with `corners` [x1, y1, x2, y2].
            category: its id.
            crowd: whether it is a region that holds many.
            where: which item it is, for messages.
            corners: what the box's numbers are.
            segment: its outline.

        Raises:
            BadItem: the box is none.
        """
        form = "[x1, y1, x2, y2]" if corners else "[x, y, width, height]"
        x, y, right, below = four_numbers(box, form)
        if not corners:
            right, below = x + right, y + below
        if not (right > x and below > y):
            raise BadItem("bbox without area", f"bbox {shown(box)} has no area")
        own = self.objects[number]
        own.boxes.append((x, y, right, below))
        own.categories.append(category)
        own.crowd.append(crowd)
        own.where.append(where)
        own.segments.append(segment)
