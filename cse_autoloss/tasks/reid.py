"""Person re-identification: Market-1501's folder and protocol, or ORL's faces in the same protocol."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.classifiers import ModelStack
from cse_autoloss.classifiers.seeds import derived_seed
from cse_autoloss.errors import DataError
from cse_autoloss.settings.tasks.reid import ReidSettings
from cse_autoloss.tasks.identities import read_identities, split_identities
from cse_autoloss.tasks.image_files import LabelledImages, read_images
from cse_autoloss.tasks.image_listing import left_out, list_images
from cse_autoloss.tasks.parts import Part
from cse_autoloss.tasks.photographs.probing import Progress, nothing
from cse_autoloss.tasks.pictures import Lines
from cse_autoloss.tasks.protocol import Metric, SplitName
from cse_autoloss.tasks.ranking import JUNK, Ranking, rank_gallery, re_rank
from cse_autoloss.tasks.stacked import StackedTask

_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
_NAME = re.compile(r"(-1|\d+)_c(\d+)")
_KINDS = {JUNK: "junk", 0: "distractor"}
"""Of a gallery, in place of persons."""


@dataclass(frozen=True)
class Photos:
    """Photographs of people by cameras.

    Attributes:
        images: pixels, and the person of each; -1 is junk and 0 a distractor, in a gallery.
        cameras: (N,).
    """

    images: LabelledImages
    cameras: NDArray[np.int64]

    def take(self, index: NDArray[np.int64]) -> Photos:
        """Those at `index`."""
        return Photos(self.images.take(index), self.cameras[index])


@dataclass(frozen=True)
class ReidSplits:
    """Photographs to learn from, with persons numbered from 0, and two query sets with their galleries."""

    train: LabelledImages
    classes: int
    val: tuple[Photos, Photos]
    test: tuple[Photos, Photos]


class ReidTask(StackedTask):
    """Scores the gallery's ranking by embedding: mAP and CMC, single query, without the query's own camera."""

    name = "reid"
    Settings = ReidSettings
    metrics: ClassVar = (
        Metric("map", title="mAP"),
        *(Metric(f"rank{k}", title=f"rank-{k}") for k in (1, 5, 10)),
    )
    settings: ReidSettings

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is left out of a folder, and people who stand in two splits; by a look at the names alone."""
        if not self.settings.data.startswith("market:"):
            return ()
        home = Path(self.settings.data.removeprefix("market:")).expanduser()
        listed = {name: list_images(home / name) for name in _FOLDERS}
        told = [note for name, own in listed.items() for note in left_out(home / name, own.others)]
        return (*told, *_shared_people({name: own.images for name, own in listed.items()}))

    @cached_property
    def splits(self) -> ReidSplits:
        """All photographs."""
        own = self.settings
        if own.data == "orl":
            found = orl_as_reid((own.image_size, own.image_size), own.seed)
        else:
            folder = Path(own.data.removeprefix("market:")).expanduser()
            found = read_market(
                folder, (2 * own.image_size, own.image_size), own.seed, own.val_share, self.progress
            )
        for name, (query, gallery) in (("val", found.val), ("test", found.test)):
            if not _answered(query, gallery):  # better now than after the training
                raise DataError(
                    f"the {name} split is empty: no query has an image of its person by another camera"
                )
        return found

    def parts(self) -> dict[str, Part]:
        """See `Task.parts`; people to learn from are numbered anew."""
        train = self.splits.train
        words = [f"person {label}" for label in train.labels]
        found = {"train": Part(len(train), train.pixels, words, facts={"cameras": ""})}
        for name, sides in (("val", self.splits.val), ("test", self.splits.test)):
            for side, own in zip(("queries", "gallery"), sides, strict=True):
                words = [_KINDS.get(label, f"person {label}") for label in own.images.labels.tolist()]
                cameras = {"cameras": str(len(np.unique(own.cameras)))}
                found[f"{name} {side}"] = Part(len(words), own.images.pixels, words, facts=cameras)
        return found

    @property
    def learnt(self) -> tuple[LabelledImages, int]:
        """See `StackedTask.learnt`."""
        return self.splits.train, self.splits.classes

    def scores(self, stack: ModelStack, split: SplitName) -> list[dict[str, float]]:
        """{"map", "rank1", "rank5", "rank10"} of each model, in [0, 1]."""
        query, gallery = self.splits.val if split == "val" else self.splits.test
        found = []
        for own, others in zip(
            self.embed(stack, query.images), self.embed(stack, gallery.images), strict=True
        ):
            if not (np.isfinite(own).all() and np.isfinite(others).all()):
                found.append(dict.fromkeys((metric.name for metric in self.metrics), math.nan))
                continue
            ranking = self._ranking(own, others, split)
            ranks = {f"rank{rank}": share for rank, share in ranking.cmc.items()}
            found.append({"map": ranking.mean_ap, **ranks})
        return found

    def shown(self, stack: ModelStack, split: SplitName) -> tuple[Lines]:
        """The CMC curve."""
        sides = self.splits.val if split == "val" else self.splits.test
        (own,), (others,) = (self.embed(stack, side.images) for side in sides)
        cmc = self._ranking(own, others, split, range(1, 21)).cmc
        return (Lines("Cumulative match", "rank", "share of queries found", {"CMC": list(cmc.items())}),)

    def _ranking(
        self,
        own: NDArray[np.float64],
        others: NDArray[np.float64],
        split: SplitName,
        ranks: Sequence[int] = (1, 5, 10),
    ) -> Ranking:
        """Of the gallery by embeddings of queries and gallery."""
        query, gallery = self.splits.val if split == "val" else self.splits.test
        distance = re_rank(own, others) if self.settings.re_rank else 2 - 2 * own @ others.T
        labels = query.images.labels, gallery.images.labels
        return rank_gallery(distance, *labels, query.cameras, gallery.cameras, ranks)


def read_market(
    folder: Path,
    size: tuple[int, int],
    seed: int = 0,
    val_share: float = 0.2,
    progress: Progress = nothing,
) -> ReidSplits:
    """Market-1501's layout: bounding_box_train, query, bounding_box_test, with names as 0002_c1s1_000451_03.jpg.

    A share of the training people, drawn by the seed, validates: one photograph of each camera is a query, the
    others are the gallery.

    Raises:
        DataError: a folder that is missing or empty, an image that does not decode, a name that is not Market's.
    """
    train, query, gallery = (_market_folder(folder / name, size, progress) for name in _FOLDERS)
    if (query.images.labels < 1).any():
        raise DataError(f"{folder / 'query'}: junk (-1) and distractors (0) are no queries")
    train = train.take(np.flatnonzero(train.images.labels > 0))
    return _with_validation(train, (query, gallery), seed, val_share, str(folder))


def orl_as_reid(size: tuple[int, int], seed: int = 0) -> ReidSplits:
    """ORL's faces in the protocol, as a small stand-in: a person's odd photographs are camera 1, the even camera 2."""
    parts = []
    for part in split_identities(read_identities("orl", size), seed):
        numbers = [int(Path(name).stem) for name in part.files]
        images = LabelledImages(part.images.pixels, part.images.labels + 1)
        parts.append(Photos(images, np.array([2 - number % 2 for number in numbers], dtype=np.int64)))
    train, val, test = parts
    labels = train.images.labels - 1
    return ReidSplits(
        LabelledImages(train.images.pixels, labels),
        int(labels.max()) + 1,
        query_and_gallery(val),
        query_and_gallery(test),
    )


def query_and_gallery(photos: Photos) -> tuple[Photos, Photos]:
    """The first photograph of each person by each camera is a query, all others are the gallery."""
    seen: set[tuple[int, int]] = set()
    is_query = np.zeros(len(photos.cameras), dtype=bool)
    for index, key in enumerate(zip(photos.images.labels.tolist(), photos.cameras.tolist(), strict=True)):
        is_query[index] = key not in seen
        seen.add(key)
    return photos.take(np.flatnonzero(is_query)), photos.take(np.flatnonzero(~is_query))


def _answered(query: Photos, gallery: Photos) -> bool:
    """Whether any query has a right image in the gallery."""
    cameras: dict[int, set[int]] = {}
    for person, camera in zip(gallery.images.labels.tolist(), gallery.cameras.tolist(), strict=True):
        cameras.setdefault(person, set()).add(camera)
    return any(
        cameras.get(person, set()) - {camera}
        for person, camera in zip(query.images.labels.tolist(), query.cameras.tolist(), strict=True)
    )


def _with_validation(
    train: Photos, test: tuple[Photos, Photos], seed: int, val_share: float, where: str
) -> ReidSplits:
    people = np.unique(train.images.labels)
    order = np.random.default_rng(derived_seed("identities", seed)).permutation(people)
    count = max(2, round(val_share * len(people)))
    if len(people) - count < 2:
        raise DataError(f"{where}: {len(people)} people to train on; at least four are needed")
    aside = np.isin(train.images.labels, order[:count])
    learnt = train.take(np.flatnonzero(~aside))
    labels = np.searchsorted(np.unique(learnt.images.labels), learnt.images.labels).astype(np.int64)
    val = query_and_gallery(train.take(np.flatnonzero(aside)))
    return ReidSplits(LabelledImages(learnt.images.pixels, labels), len(people) - count, val, test)


def _shared_people(photographs: Mapping[str, Sequence[Path]]) -> tuple[str, ...]:
    """A warning where people to learn from are sought in test: whoever was learned is found too easily."""
    learnt, _, gallery = (
        {int(found[1]) for path in photographs[name] if (found := _NAME.match(path.name))} - {JUNK, 0}
        for name in _FOLDERS
    )
    common = sorted(learnt & gallery)
    if not common:
        return ()
    return (
        f"warning: {len(common)} of the {len(gallery)} people of {_FOLDERS[2]} stand in {_FOLDERS[0]} too, the first: "
        f"person {common[0]}; scores on test then tell less than they seem to",
    )


def _market_folder(folder: Path, size: tuple[int, int], progress: Progress) -> Photos:
    paths: Sequence[Path] = list_images(folder).images
    if not paths:
        raise DataError(f"{folder}: {'no images' if folder.is_dir() else 'no such folder'}")
    people, cameras = [], []
    for path in paths:
        found = _NAME.match(path.name)
        if found is None:
            raise DataError(f"{path}: not a name of Market-1501, as 0002_c1s1_000451_03.jpg or -1_c3s1_...")
        people.append(int(found[1]) if found[1] != "-1" else JUNK)
        cameras.append(int(found[2]))
    pixels = read_images(paths, size, progress=progress)
    return Photos(LabelledImages(pixels, np.array(people, dtype=np.int64)), np.array(cameras, dtype=np.int64))
