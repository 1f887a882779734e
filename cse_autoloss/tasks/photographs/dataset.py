"""A data set of photographs with boxes: read, looked at and checked by one routine, whoever needs it.

`train`, `compare`, `evolve`, `reinforce`, `predict` and `data` all come here before anything else is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cse_autoloss.errors import DataError
from cse_autoloss.tasks.photographs.annotations import Annotations
from cse_autoloss.tasks.photographs.categories import learnable, match_categories, merge_names
from cse_autoloss.tasks.photographs.layouts import SPLITS, WHOLE, Source, find_layout
from cse_autoloss.tasks.photographs.meaning import check_objects, crowded, shared_images
from cse_autoloss.tasks.photographs.probing import Progress, nothing, probe
from cse_autoloss.tasks.photographs.settle import settle, without_repeats
from cse_autoloss.tasks.scenes import default_cache

SHARES = (0.6, 0.2)
"""Of images without splits: train and val; the rest is test."""


@dataclass(frozen=True)
class Dataset:
    """What was read, every image decoded once and every box inside its image.

    Attributes:
        splits: "train", "val", "test"; images by name, category ids as train's.
        categories: ids by class index; classes are in the order of their names, so that it is the same in all layouts.
        class_names: by class index.
        notes: what the reader of a report should know, a line each.
        digest: of names, pixels and objects: equal for equal data wherever they lie.
    """

    splits: dict[str, Annotations]
    categories: list[int]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str


def load_dataset(
    source: Source, cache: Path | None = None, progress: Progress = nothing, test: bool | None = None
) -> Dataset:
    """Read and check a folder.

    Args:
        source: the folder, and what the user says of it.
        cache: folder for what is known of images; None is the user's.
        progress: told while images are decoded.
        test: whether there must be a test split, or it is not even to be opened; None takes half of val where there
            is none.

    Raises:
        DataError: with one line: the file, the item in it, what is wrong, what was expected.
    """
    layout = find_layout(source)
    notes = [] if layout.plain else [layout.told]
    wanted = [name for name in layout.readers if name != "test" or test is not False]
    read = {name: _by_name(layout.readers[name]()) for name in wanted}
    paths = [entry.path for found in read.values() for entry in found.images.values()]
    pictures = probe(paths, source.root, cache or default_cache(), progress)
    for found in read.values():
        settle(found, pictures)
        merge_names(found)
        without_repeats(found)
    told = list(read.items())
    splits = _split_whole(read[WHOLE], notes) if WHOLE in read else dict(read)
    others = [found for name, found in splits.items() if name != "train"]
    categories = learnable(splits["train"], others)
    for found in others:
        match_categories(found, splits["train"], categories)
    if "test" not in splits and test:
        raise DataError(f"{source.root}: no test split; {layout.told}")
    if "test" not in splits and test is None:
        val = splits["val"]
        splits["val"], splits["test"] = _halves(val)
        sizes = f"{len(splits['val'].images)} images for the search and {len(splits['test'].images)} for the audit"
        notes.append(f"{source.root}: no test split: {val.path.name} was split in two halves, {sizes}")
    splits = {name: splits[name] for name in SPLITS if name in splits}
    for name, found in splits.items():
        check_objects(name, found)
    notes += [line for name, found in told for line in _notes(name, found)]
    notes += [
        *shared_images(splits),
        *(line for name, found in splits.items() for line in crowded(name, found)),
    ]
    names = tuple(splits["train"].categories[number] for number in categories)
    return Dataset(splits, categories, names, tuple(notes), digest_of(splits, names))


def _by_name(found: Annotations) -> Annotations:
    """Images in the order of their names, whatever the order of their entries."""
    order = sorted(found.images, key=lambda n: (Path(found.images[n].name).name, found.images[n].name))
    return found.part(order)


def _split_whole(whole: Annotations, notes: list[str]) -> dict[str, Annotations]:
    """Train, val and test by chance; images with a class that train would lack go to train."""
    order = np.random.default_rng(0).permutation(list(whole.images)).tolist()
    ends = [round(sum(SHARES[: end + 1]) * len(order)) for end in range(len(SHARES))]
    parts: list[list[int]] = [order[: ends[0]], [], []]
    known = {category for number in parts[0] for category in whole.objects[number].categories}
    for at, number in enumerate(order[ends[0] :], ends[0]):
        own = set(whole.objects[number].categories)
        parts[0 if own - known else 1 if at < ends[1] else 2].append(number)
        known |= own
    if not all(parts):
        raise DataError(f"{whole.path}: {len(order)} images are too few to train, validate and test")
    sizes = ", ".join(f"{len(part)} images for {name}" for name, part in zip(SPLITS, parts, strict=True))
    notes.append(f"{whole.path.name} has no splits: it was split by chance, {sizes}")
    return {name: _by_name(whole.part(part)) for name, part in zip(SPLITS, parts, strict=True)}


def _halves(found: Annotations) -> tuple[Annotations, Annotations]:
    numbers = list(found.images)
    if len(numbers) < 2:
        raise DataError(
            f"{found.path}: 1 usable image can not be split into validation and test; add a test split"
        )
    order = np.random.default_rng(0).permutation(len(numbers))
    half = (len(numbers) + 1) // 2
    first, second = (
        found.part(numbers[row] for row in sorted(part)) for part in (order[:half], order[half:])
    )
    return first, second


def _notes(name: str, found: Annotations) -> Iterator[str]:
    """What was left out, clipped or odd: totals, and the first of each kind."""
    faults = found.faults
    if faults.lines:
        total = len(found.images) + found.gone
        yield f"{name}: {found.gone} of {total} images left out for what is wrong with them"
    for kind, lines in faults.lines.items():
        yield f"{name}: {len(lines)} bad {'item' if len(lines) == 1 else 'items'} ({kind}), the first: {lines[0]}"
    if faults.clipped:
        count = "1 box was" if len(faults.clipped) == 1 else f"{len(faults.clipped)} boxes were"
        yield f"{name}: {count} clipped at the image's edge, the first: {faults.clipped[0]}"
    yield from (f"{name}: {remark}" for remark in faults.remarks)


def digest_of(splits: Mapping[str, Annotations], class_names: tuple[str, ...]) -> str:
    """Of names, pixels and objects of some splits."""
    told = hashlib.blake2b(digest_size=8)
    for name, found in splits.items():
        for number, entry in found.images.items():
            own = found.objects[number]
            classes = [found.categories[category] for category in own.categories]
            one = [name, Path(entry.name).name, entry.checksum, entry.upright, own.boxes, classes, own.crowd]
            told.update(json.dumps(one).encode())
    told.update(json.dumps(class_names).encode())
    return told.hexdigest()
