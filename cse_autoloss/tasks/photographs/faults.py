"""What is wrong with items of a data set: an error, or, with `skip_bad`, a line to remember and an image left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cse_autoloss.errors import DataError, shorten


class BadItem(Exception):
    """Something is wrong with one item.

    Attributes:
        kind: in two or three words; faults are counted by it.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Faults:
    """Turns a BadItem into an error, or into a line to remember.

    Attributes:
        lines: of what was left out, by kind.
        clipped: a line for each box that was cut at the edge of its image.
        remarks: what else the reader of a report should know.
    """

    def __init__(self, file: Path, skip_bad: bool) -> None:
        self.file, self.skip_bad = file, skip_bad
        self.lines: dict[str, list[str]] = {}
        self.clipped: list[str] = []
        self.remarks: list[str] = []

    @contextmanager
    def item(self, what: str, images: set[int] | None = None, number: int | None = None) -> Iterator[None]:
        """Around the reading of an item; where it is bad and may be left out, image `number` joins `images`."""
        try:
            yield
        except BadItem as bad:
            line = f"{self.file}: {what}: {bad}"
            if not self.skip_bad:
                raise DataError(line) from None
            self.lines.setdefault(bad.kind, []).append(line)
            if images is not None and number is not None:
                images.add(number)

    @property
    def first(self) -> str:
        """The first line of all, as an example in an error; empty where there is none."""
        return next((f", e.g. {lines[0]}" for lines in self.lines.values()), "")


def shown(value: Any) -> str:
    """A value of a file as errors quote it."""
    try:
        return shorten(json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError):
        return shorten(repr(value))
