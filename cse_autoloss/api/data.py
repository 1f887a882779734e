"""What data hold: counts, sizes, what is wrong, and a picture of some images; here of photographs with their boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cse_autoloss.api.samples import SamplesReport
    from cse_autoloss.tasks.photographs import Dataset
    from cse_autoloss.tasks.photographs.annotations import Annotations
    from cse_autoloss.tasks.photographs.probing import Progress

SHOWN = 16
"""Images in the picture."""
WIDTH = 320
"""Of each, pixels."""


@dataclass(frozen=True)
class SplitReport:
    """One split.

    Attributes:
        name, path: which, and of which file or folder.
        images, empty: how many, and how many of them have no box.
        boxes, crowds: objects, and regions of many that are ignored.
        sizes: the commonest size of images, "640x480", and how many others there are.
        sides: least, median and most of the boxes' shorter sides, pixels.
        classes: boxes of each class.
    """

    name: str
    path: str
    images: int
    empty: int
    boxes: int
    crowds: int
    sizes: str
    sides: tuple[float, float, float]
    classes: dict[str, int]


@dataclass(frozen=True)
class DataReport:
    """A data set as `train`, `evolve` and the others would read it.

    Attributes:
        data: as it was named.
        class_names: by class index.
        splits: train, val and test.
        problem: why it can only be read with `skip_bad`; empty where nothing is wrong with an item.
        notes: what was taken, left out, clipped, or odd.
        digest: of the data.
        picture: file with sixteen images and their boxes; None where none was asked for.
    """

    data: str
    class_names: tuple[str, ...]
    splits: tuple[SplitReport, ...]
    problem: str
    notes: tuple[str, ...]
    digest: str
    picture: Path | None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {**asdict(self), "picture": str(self.picture) if self.picture else None}


def inspect_data(
    data: str | Path,
    out: str | Path | None = None,
    split: str = "train",
    progress: Progress | None = None,
    *,
    task: str | None = None,
) -> DataReport | SamplesReport:
    """Read the data of any task as its trainings would, and tell what they hold.

    Args:
        data: a folder or a .csv file, or KIND:PLACE: coco, yolo and voc of photographs with boxes, folder of classes,
            people or masks, cifar10, cifar100, idx, market, csv.
        out: PNG file for sixteen images with their boxes, labels or masks; None draws none.
        split: whose images are drawn.
        progress: told while images are decoded.
        task: detection, classification, segmentation, regression, faces or reid, where the data do not tell it.

    Returns:
        Counts and lines. Of photographs with boxes what is wrong with items is told, not raised.

    Raises:
        DataError: they can not be used even with what is wrong left out, in one line.
        ConfigError: they look like those of another task.
        UnknownNameError: no such task or split.
    """
    from cse_autoloss.api.recognised import recognise
    from cse_autoloss.api.samples import inspect_samples
    from cse_autoloss.errors import ConfigError, UnknownNameError
    from cse_autoloss.settings.tasks.detection import EMBEDDED as DETECTION_DATA
    from cse_autoloss.tasks.photographs.probing import nothing
    from cse_autoloss.tasks.registry import TASKS

    if task is not None and task not in TASKS.built_in:
        raise UnknownNameError.of("task", task, TASKS.built_in)
    found, place = recognise(str(data), task)
    drawn, told = Path(out) if out is not None else None, progress or nothing
    if found == "detection" and place in DETECTION_DATA:
        raise ConfigError(f"{place}: scenes that come with the package; docs/scenes.md has what they are")
    if found == "detection":
        return _inspect_boxes(place, drawn, split, told)
    return inspect_samples(found, place, drawn, split, told)


def _inspect_boxes(data: str, out: Path | None, split: str, progress: Progress) -> DataReport:
    from cse_autoloss.errors import DataError, UnknownNameError
    from cse_autoloss.pages.fonts import shown_names
    from cse_autoloss.tasks.photographs import Source, load_dataset

    problem = ""
    try:
        found = load_dataset(Source.of(data), progress=progress)
    except DataError as error:
        problem = str(error)
        found = load_dataset(Source.of(data, skip_bad=True))
    if split not in found.splits:
        raise UnknownNameError.of("split", split, found.splits)
    reports = tuple(_of_split(name, one) for name, one in found.splits.items())
    picture, notes = None, found.notes
    if out is not None:
        names, lacking = shown_names(found.class_names)
        picture = _draw(found, split, out, names)
        notes = (*notes, lacking) if lacking else notes
    return DataReport(data, found.class_names, reports, problem, notes, found.digest, picture)


def _of_split(name: str, found: Annotations) -> SplitReport:
    import numpy as np

    sizes = Counter((entry.width, entry.height) for entry in found.images.values())
    ((width, height), _), others = sizes.most_common(1)[0], len(sizes) - 1
    classes: Counter[str] = Counter()
    sides: list[float] = []
    for own in found.objects.values():
        classes.update(
            found.categories[n] for n, crowd in zip(own.categories, own.crowd, strict=True) if not crowd
        )
        sides += [min(x1 - x0, y1 - y0) for x0, y0, x1, y1 in own.boxes]
    least, median, most = (round(float(one), 2) for one in np.quantile(sides, (0, 0.5, 1)))
    return SplitReport(
        name,
        str(found.path),
        len(found.images),
        sum(not own.boxes for own in found.objects.values()),
        sum(classes.values()),
        sum(sum(own.crowd) for own in found.objects.values()),
        f"{width}x{height}" + (f" and {others} more" if others else ""),
        (least, median, most),
        dict(sorted(classes.items())),
    )


def _draw(data: Dataset, split: str, file: Path, names: Sequence[str]) -> Path:
    import numpy as np

    from cse_autoloss.predict.draw import draw_objects, grid
    from cse_autoloss.predict.photographs import of_entry

    found = data.splits[split]
    numbers = list(found.images)
    chosen = [numbers[round(at)] for at in np.linspace(0, len(numbers) - 1, min(SHOWN, len(numbers)))]
    index = {number: position for position, number in enumerate(data.categories)}
    drawn = [draw_objects(of_entry(found.images[n], found.objects[n], index), names) for n in chosen]
    title = f"{split}: {len(numbers)} images, {found.boxes} boxes of {len(data.class_names)} classes"
    below = f"{len(chosen)} of them, evenly by name; crowds are dashed"
    file.parent.mkdir(parents=True, exist_ok=True)
    grid(drawn, title, below, columns=4, width=WIDTH, key=False).save(file, format="PNG", optimize=True)
    return file
