"""What a task offers to be looked at besides figures: lines, dots, a matrix, photographs with boxes.

A training makes them of the model that it scores, where its schedule asks to `show`. They are plain data, lie in the
run's store beside the score, and a run's page draws them without knowing the task.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, TypeAdapter

MOST_LINES, MOST_DOTS, MOST_CLASSES, MOST_PHOTOGRAPHS, MOST_BOXES = 10, 500, 20, 6, 100
"""What one picture holds at most: it is sent from a worker and kept, a few kilobytes each."""
LARGEST = 480
"""Pixels of a photograph's longer side."""

Mark = Literal["right", "wrong", "missed"]


@dataclass(frozen=True)
class Lines:
    """Curves by name, each of points (x, y)."""

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    kind: Literal["lines"] = "lines"


@dataclass(frozen=True)
class Dots:
    """Points (x, y)."""

    title: str
    x: str
    y: str
    dots: Sequence[tuple[float, float]]
    kind: Literal["dots"] = "dots"


@dataclass(frozen=True)
class Matrix:
    """Counts of true classes (rows) and predicted ones (columns)."""

    title: str
    names: Sequence[str]
    counts: Sequence[Sequence[int]]
    kind: Literal["matrix"] = "matrix"


@dataclass(frozen=True)
class Box:
    """Corners in pixels of its photograph, whether it is a detection or a missed object, and words for it."""

    corners: tuple[float, float, float, float]
    mark: Mark
    words: str


@dataclass(frozen=True)
class Photograph:
    """`image` as of `encoded`; width and height are those of which its boxes are pixels."""

    image: Annotated[str, Field(pattern=r"^(jpeg|png);base64,[A-Za-z0-9+/]*=*$")]
    width: int
    height: int
    boxes: Sequence[Box] = ()


@dataclass(frozen=True)
class Photographs:
    """The first images of a split, with words on how to read them."""

    title: str
    words: str
    photographs: Sequence[Photograph]
    kind: Literal["photographs"] = "photographs"


Picture = Lines | Dots | Matrix | Photographs
_PICTURES: TypeAdapter[list[Any]] = TypeAdapter(list[Annotated[Picture, Field(discriminator="kind")]])


def read_pictures(told: Any) -> list[Picture]:
    """From plain data, as `dataclasses.asdict` made it; ValueError where they are none."""
    return _PICTURES.validate_python(told)


def encoded(pixels: NDArray[np.uint8]) -> str:
    """An image (1 or 3, H, W) as the text "jpeg;base64,…" or "png;base64,…", whichever is smaller."""
    image = Image.fromarray(
        np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0))
    )
    image.thumbnail((LARGEST, LARGEST))
    found = []
    for kind, options in (("jpeg", {"quality": 80}), ("png", {"optimize": True})):
        stream = io.BytesIO()
        image.save(stream, format=kind, **options)
        found.append(f"{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}")
    return min(found, key=len)


def painted(
    pixels: NDArray[np.uint8], found: NDArray[np.bool_], true: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """An image (1 or 3, H, W) with its mask's right, wrong and missed pixels half covered by their colours."""
    colours = np.array(((0, 158, 115), (230, 120, 0), (0, 114, 178)), dtype=np.uint8)
    shown = np.broadcast_to(pixels, (3, *pixels.shape[1:])).copy()
    for colour, there in zip(colours, (found & true, found & ~true, ~found & true), strict=True):
        shown[:, there] = shown[:, there] // 2 + colour[:, None] // 2
    return shown


def confusion(names: Sequence[str], true: NDArray[np.int64], predicted: NDArray[np.int64]) -> Matrix:
    """The confusion matrix of class indices (N,); of many classes, those with the most errors."""
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (true, predicted), 1)
    wrong = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    kept = np.sort(np.argsort(-wrong, kind="stable")[:MOST_CLASSES])
    title = "Confusion of classes"
    if len(kept) < len(names):
        title += f": the {len(kept)} of {len(names)} with the most errors"
    return Matrix(title, [names[i] for i in kept], counts[np.ix_(kept, kept)].tolist())


def thinned(values: Sequence[Any], most: int) -> Sequence[Any]:
    """At most so many of them, evenly chosen."""
    if len(values) <= most:
        return values
    return [values[i] for i in np.linspace(0, len(values) - 1, most).round().astype(int)]
