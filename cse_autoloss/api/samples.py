"""What data without boxes hold: the parts that a task's own reader makes of them, counted, and sixteen pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cse_autoloss.tasks.parts import Part

SHOWN, SIDE = 16, 240
"""Images in the picture, and the longer side of each, pixels."""


@dataclass(frozen=True)
class PartReport:
    """A split, or one side of it.

    Attributes:
        name: "train", "val", "test", or "val queries".
        count: images or rows.
        size: of images as a model is given them, "32x32 grey"; empty of rows.
        classes: images of each class or person.
        facts: what else there is to tell.
    """

    name: str
    count: int
    size: str
    classes: dict[str, int]
    facts: dict[str, str]


@dataclass(frozen=True)
class SamplesReport:
    """Data as `evolve`, `compare` and `reinforce` would read them.

    Attributes:
        task, data: as its settings take them.
        parts: the splits.
        notes: what was taken, left out, or odd.
        digest: of the files.
        picture: file with sixteen images; None where none was asked for, or there is none.
    """

    task: str
    data: str
    parts: tuple[PartReport, ...]
    notes: tuple[str, ...]
    digest: str
    picture: Path | None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {**asdict(self), "picture": str(self.picture) if self.picture else None}


def inspect_samples(
    task: str, data: str, out: Path | None, split: str, progress: Callable[[int, int], None]
) -> SamplesReport:
    """See `inspect_data`; the task reads and checks the data itself, by its default settings."""
    from cse_autoloss.api.recognised import last_column
    from cse_autoloss.errors import UnknownNameError
    from cse_autoloss.settings.load import load_config
    from cse_autoloss.tasks.registry import TASKS, section_of

    settings: dict[str, Any] = {"task": task, f"{task}.data": data}
    notes: list[str] = []
    if task == "regression":
        settings["regression.outliers"] = 0.0
        if data.startswith("csv:"):
            settings["regression.target"], names = last_column(data)
            notes = [
                f"the target is the last of the columns {', '.join(names)}, unless regression.target names another"
            ]
    config = load_config(None, settings, section_of)
    reader = TASKS.get(task)(config.own, "cpu")
    reader.progress = progress
    notes = [*map(str, reader.check()), *notes, *_sizes(Path(data.partition(":")[2]).expanduser())]
    parts = reader.parts()
    if split not in parts:
        raise UnknownNameError.of("split", split, parts)
    drawn = out if parts[split].pixels is not None else None
    if drawn is not None:
        _draw(parts[split], split, drawn, "people" if task in ("faces", "reid") else "classes")
    reports = tuple(_of_part(name, part) for name, part in parts.items())
    return SamplesReport(task, config.own.data, reports, tuple(notes), reader.data_digest, drawn)


def _of_part(name: str, part: Part) -> PartReport:
    size = ""
    if part.pixels is not None:
        channels, height, width = part.pixels.shape[1:]
        size = f"{width}x{height} {'grey' if channels == 1 else 'colour'}"
    return PartReport(name, part.count, size, dict(sorted(Counter(part.labels).items())), dict(part.facts))


def _sizes(place: Path) -> tuple[str, ...]:
    """A line on the sizes of a folder's images as they are, which the readers scale."""
    from PIL import Image

    from cse_autoloss.tasks.image_listing import list_images

    sizes = set()
    for path in list_images(place).images if place.is_dir() else ():
        try:
            with Image.open(path) as image:
                sizes.add(image.size)
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # none that the task reads: it has checked them
    if not sizes:
        return ()
    least, most = (f"{width}x{height}" for width, height in (min(sizes), max(sizes)))
    told = f"are all {least}" if len(sizes) == 1 else f"have {len(sizes)} sizes, {least} to {most}"
    return (f"the files' images {told}; they are scaled to what the table says",)


def _draw(part: Part, split: str, file: Path, noun: str) -> None:
    import numpy as np
    from PIL import Image

    from cse_autoloss.errors import shorten
    from cse_autoloss.predict.draw import draw_objects, grid
    from cse_autoloss.predict.photographs import Picture
    from cse_autoloss.tasks.matching import Objects
    from cse_autoloss.tasks.pictures import painted

    assert part.pixels is not None
    none = Objects(np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64))
    chosen = np.linspace(0, part.count - 1, min(SHOWN, part.count)).round().astype(int).tolist()
    drawn = []
    for at in chosen:
        pixels = np.broadcast_to(part.pixels[at], (3, *part.pixels.shape[2:]))
        if part.masks is not None:
            pixels = painted(pixels, part.masks[at], part.masks[at])
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        factor = SIDE / max(image.size)
        image = image.resize(
            (round(image.width * factor), round(image.height * factor)), Image.Resampling.NEAREST
        )
        words = shorten(part.labels[at], 24) if part.labels else f"image {at + 1}"
        drawn.append(draw_objects(Picture(words, image, 1.0, none), ()))
    kinds = f" of {len(set(part.labels))} {noun}" if part.labels else ", foreground tinted green"
    file.parent.mkdir(parents=True, exist_ok=True)
    title, below = (
        f"{split}: {part.count:,} images{kinds}",
        f"{len(chosen)} of them, evenly chosen, as a model is given them",
    )
    grid(drawn, title, below, columns=4, width=SIDE, key=False).save(file, format="PNG", optimize=True)
