"""Draw detections and objects on pictures; one picture a file, and all of them in a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from cse_autoloss.pages.fonts import fitting
from cse_autoloss.predict.photographs import Picture
from cse_autoloss.tasks.matching import IOU, Found, match

COLOURS = (
    (0, 90, 181),
    (196, 60, 0),
    (0, 128, 84),
    (145, 50, 160),
    (150, 105, 0),
    (0, 130, 150),
    (200, 30, 110),
    (85, 85, 85),
    (70, 110, 10),
    (110, 75, 220),
)
"""Of the classes, in turn; dark enough for white letters."""
WHITE, BLACK, WRONG, PAGE = (255, 255, 255), (0, 0, 0), (215, 0, 0), (250, 250, 250)
MISSED = (255, 225, 0)
BAR = 26
"""Height of the line below a picture, pixels."""
GAP = 10
MOST_TAGS = 30
"""Objects up to which each has a tag: more would cover the picture."""


@dataclass(frozen=True)
class Drawn:
    """A picture with its detections.

    Attributes:
        image: with boxes, tags and a line below.
        right, wrong, missed: counts at an IoU of 0.5; 0 where the objects are not known.
    """

    image: Image.Image
    right: int
    wrong: int
    missed: int


def colour(label: int) -> tuple[int, int, int]:
    """Of a class."""
    return COLOURS[label % len(COLOURS)]


def draw(picture: Picture, found: Found, class_names: Sequence[str]) -> Drawn:
    """Detections with class and score; what is wrong or missed stands out.

    A detection in its class's colour is right: an object of that class has no better one and overlaps it by an
    IoU of 0.5 or more. A wrong one has a red tag with a cross and a dashed line. Objects are thin white lines,
    missed ones dashed yellow.
    """
    image = picture.image.copy()
    pen = ImageDraw.Draw(image)
    truth = picture.truth
    owner = match(found, truth) if truth is not None else np.zeros(len(found.labels), dtype=np.int64)
    missed = 0
    if truth is not None:
        for row, box in enumerate(truth.boxes):
            if row in owner:
                _rectangle(pen, box * picture.scale, WHITE, 1)
            else:
                missed += 1
                _dashed(pen, box * picture.scale, BLACK, 4)
                _dashed(pen, box * picture.scale, MISSED, 2)
    # The best last, so that it lies on top.
    for row in reversed(range(len(found.labels))):
        box, paint = found.boxes[row] * picture.scale, colour(int(found.labels[row]))
        if owner[row] >= 0:
            _rectangle(pen, box, paint, 2)
        else:
            _dashed(pen, box, paint, 2)
    tags = _Tags(image.size)
    for row in range(len(found.labels)):
        label = int(found.labels[row])
        right = owner[row] >= 0
        text = f"{'' if right else '✗ '}{class_names[label]} {_score(float(found.scores[row]))}"
        tags.put(pen, found.boxes[row] * picture.scale, text, colour(label) if right else WRONG)
    right_count = int((owner >= 0).sum()) if truth is not None else 0
    wrong = len(owner) - right_count if truth is not None else 0
    line = f"{picture.title}: " + (
        f"{len(owner)} detections"
        if truth is None
        else f"{right_count} right, {wrong} wrong, {missed} missed"
    )
    return Drawn(_with_line(image, line), right_count, wrong, missed)


def draw_objects(picture: Picture, class_names: Sequence[str]) -> Drawn:
    """The objects of a picture with their classes; those of a class below 0 are crowds, dashed."""
    image = picture.image.copy()
    pen, tags = ImageDraw.Draw(image), _Tags(image.size)
    assert picture.truth is not None
    boxes, labels = picture.truth.boxes * picture.scale, picture.truth.labels
    for box, label in zip(boxes, labels.tolist(), strict=True):
        if label >= 0:
            _rectangle(pen, box, colour(label), 2)
        else:
            _dashed(pen, box, MISSED, 2)
    for box, label in zip(boxes, labels.tolist(), strict=True):
        if label >= 0 and len(labels) <= MOST_TAGS:
            tags.put(pen, box, class_names[label], colour(label))
    return Drawn(_with_line(image, picture.title), 0, 0, 0)


def grid(
    drawn: Sequence[Drawn], title: str, below: str, columns: int, width: int, key: bool = True
) -> Image.Image:
    """Pictures side by side under a title, with a key to what the lines of detections mean.

    Args:
        drawn: at least one picture.
        title, below: two lines above the pictures; both may hold several lines.
        columns: pictures in a row.
        width: pixels of a picture; it is made smaller where it is wider.
        key: whether the key is wanted.
    """
    cells = [_fitted(one.image, width) for one in drawn]
    columns = min(columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    heights = [max(cell.height for cell in cells[row * columns : (row + 1) * columns]) for row in range(rows)]
    total = columns * width + (columns + 1) * GAP
    (head, title), (small, below) = fitting(title, 20), fitting(below, 14)
    top = GAP + 28 * len(title.splitlines()) + 20 * len(below.splitlines()) + GAP
    page = Image.new("RGB", (total, top + sum(heights) + GAP * rows + (34 if key else 0)), PAGE)
    pen = ImageDraw.Draw(page)
    pen.multiline_text((GAP, GAP), title, fill=BLACK, font=head)
    pen.multiline_text((GAP, GAP + 28 * len(title.splitlines())), below, fill=(70, 70, 70), font=small)
    y = top
    for row in range(rows):
        for column, cell in enumerate(cells[row * columns : (row + 1) * columns]):
            page.paste(cell, (GAP + column * (width + GAP), y))
        y += heights[row] + GAP
    if key:
        _key(pen, y)
    return page


def _key(pen: ImageDraw.ImageDraw, y: int) -> None:
    """What the lines mean."""
    x = GAP
    for text, kind in (
        (f"right (IoU {IOU:g} or more, class right)", "right"),
        ("✗ wrong", "wrong"),
        ("object, found", "found"),
        ("object, missed", "missed"),
    ):
        box = np.array([x, y + 3, x + 30, y + 19], dtype=np.float32)
        small, text = fitting(text, 14)
        pen.rectangle((x - 1, y, x + 31, y + 22), fill=(150, 150, 150))
        if kind == "right":
            _rectangle(pen, box, COLOURS[0], 2)
        elif kind == "wrong":
            _dashed(pen, box, COLOURS[0], 2)
        elif kind == "found":
            _rectangle(pen, box, WHITE, 1)
        else:
            _dashed(pen, box, MISSED, 2)
        pen.text((x + 38, y + 3), text, fill=BLACK, font=small)
        x += 38 + round(small.getlength(text)) + 22


class _Tags:
    """Puts tags where they cover no other tag, if there is such a place."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._taken: list[tuple[float, float, float, float]] = []

    def put(self, pen: ImageDraw.ImageDraw, box: np.ndarray, text: str, paint: tuple[int, int, int]) -> None:
        font, text = fitting(text, 13)
        width, height = font.getlength(text) + 6, 17.0
        x0, y0, x1, y1 = (float(value) for value in box)
        places = (
            (x0, y0 - height),
            (x0, y0),
            (x1 - width, y0 - height),
            (x0, y1),
            (x0, y1 - height),
            (x1 - width, y1 - height),
            (x1 - width, y0),
            (x1 - width, y1),
        )
        at = min(places, key=lambda place: (self._cover(place, width, height), places.index(place)))
        x = min(max(at[0], 0.0), self._size[0] - width)
        y = min(max(at[1], 0.0), self._size[1] - height)
        self._taken.append((x, y, x + width, y + height))
        pen.rectangle((x, y, x + width, y + height), fill=paint)
        pen.text((x + 3, y + 1), text, fill=WHITE, font=font)

    def _cover(self, place: tuple[float, float], width: float, height: float) -> float:
        x, y = place
        outside = max(0.0, -x) + max(0.0, -y)
        outside += max(0.0, x + width - self._size[0]) + max(0.0, y + height - self._size[1])
        covered = 0.0
        for a, b, c, d in self._taken:
            covered += max(0.0, min(x + width, c) - max(x, a)) * max(0.0, min(y + height, d) - max(y, b))
        return covered + 50.0 * outside


def _score(value: float) -> str:
    """Two digits behind the point; very small scores as powers of ten."""
    return f"{value:.2f}" if value >= 0.005 or value == 0 else f"{value:.0e}"


def _rectangle(
    pen: ImageDraw.ImageDraw, box: np.ndarray, paint: tuple[int, int, int], thickness: int
) -> None:
    x0, y0, x1, y1 = (float(value) for value in box)
    pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=paint, width=thickness)


def _dashed(pen: ImageDraw.ImageDraw, box: np.ndarray, paint: tuple[int, int, int], thickness: int) -> None:
    x0, y0, x1, y1 = (float(value) for value in box)
    dash, step = 6.0, 11.0
    for start in np.arange(x0, x1, step):
        for y in (y0, y1):
            pen.line((start, y, min(start + dash, x1), y), fill=paint, width=thickness)
    for start in np.arange(y0, y1, step):
        for x in (x0, x1):
            pen.line((x, start, x, min(start + dash, y1)), fill=paint, width=thickness)


def _with_line(image: Image.Image, text: str) -> Image.Image:
    page = Image.new("RGB", (image.width, image.height + BAR), PAGE)
    page.paste(image, (0, 0))
    font, text = fitting(text, 15)
    ImageDraw.Draw(page).text((6, image.height + 4), text, fill=BLACK, font=font)
    return page


def _fitted(image: Image.Image, width: int) -> Image.Image:
    if image.width <= width:
        return image
    height = round(image.height * width / image.width)
    return image.resize((width, height), Image.Resampling.LANCZOS)
