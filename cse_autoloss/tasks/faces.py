"""Face recognition: trained to tell known people apart, scored on people it has never seen."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.classifiers import ModelStack
from cse_autoloss.errors import DataError
from cse_autoloss.settings.tasks.faces import FacesSettings
from cse_autoloss.tasks.groups import read_groups, verified_by_group
from cse_autoloss.tasks.identities import (
    Identities,
    Pairs,
    locate_pairs,
    make_pairs,
    notes_on,
    read_identities,
    read_pairs,
    split_identities,
)
from cse_autoloss.tasks.image_files import LabelledImages
from cse_autoloss.tasks.parts import Part
from cse_autoloss.tasks.photographs.probing import Progress, nothing
from cse_autoloss.tasks.pictures import MOST_DOTS, Lines, thinned
from cse_autoloss.tasks.protocol import Metric, SplitName
from cse_autoloss.tasks.stacked import StackedTask
from cse_autoloss.tasks.verification import (
    equal_error_rate,
    rank1_with_distractors,
    roc,
    tpr_at_far,
    verification_accuracy,
)

MOST_CURVES = 6
"""Groups whose ROC is drawn, those with the most true pairs; the table has all."""
FOLDS = 10
"""Of verification accuracy, as in LFW's protocol."""


class FacesTask(StackedTask):
    """Scores the cosines between embeddings of people that are in no other split.

    accuracy: 10-fold verification accuracy; tpr_at_far: share of true pairs accepted at a false accept rate;
    rank1: identification, where half of the people (at least one) are distractors; eer: equal error rate.
    """

    name = "faces"
    Settings = FacesSettings
    metrics: ClassVar = (
        Metric("accuracy"),
        Metric("tpr_at_far", title="TPR at FAR"),
        Metric("rank1", title="rank-1"),
        Metric("eer", higher=False, title="EER", worst=1.0),
    )
    settings: FacesSettings

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is left out of a folder."""
        return notes_on(self.settings.data)

    @cached_property
    def people(self) -> tuple[tuple[Identities, ...], dict[str, Pairs]]:
        """Train, validation and test people, and the pairs to verify."""
        own = self.settings
        size, grey = (own.image_size, own.image_size), own.grey or own.data == "orl"
        parts, listed = load_faces(
            own.data, size, seed=own.seed, grey=grey, pairs=own.pairs, progress=self.progress
        )
        val, test = (part.images.labels for part in parts[1:])
        pairs = {
            "val": make_pairs(val, own.pair_count, own.seed),
            "test": listed or make_pairs(test, own.pair_count, own.seed),
        }
        for split, (_, _, same) in pairs.items():
            if len(same) < FOLDS or not same.any() or same.all():
                raise DataError(
                    f"the {split} split has {int(same.sum())} pairs of one person and {int((~same).sum())} of two; "
                    f"both kinds are needed, {FOLDS} pairs in all"
                )
        return parts, pairs

    def parts(self) -> dict[str, Part]:
        """See `Task.parts`."""
        parts, pairs = self.people
        found = {}
        for name, own in zip(("train", "val", "test"), parts, strict=True):
            same = pairs[name][2] if name in pairs else None
            told = "" if same is None else f"{same.sum():,} + {(~same).sum():,}"
            words = [own.names[label] for label in own.images.labels]
            found[name] = Part(len(words), own.images.pixels, words, facts={"pairs of one + two": told})
        return found

    @property
    def learnt(self) -> tuple[LabelledImages, int]:
        """See `StackedTask.learnt`."""
        train = self.people[0][0]
        return train.images, len(train.names)

    def scores(self, stack: ModelStack, split: SplitName) -> list[dict[str, float]]:
        """{"accuracy", "tpr_at_far", "rank1", "eer"} of each model, all in [0, 1]."""
        parts, pairs = self.people
        part = parts[1] if split == "val" else parts[2]
        first, second, same = pairs[split]
        labels = part.images.labels
        sought = np.isin(labels, _sought(labels))
        found = []
        for features in self.embed(stack, part.images):
            if not np.isfinite(features).all():
                found.append(dict.fromkeys((metric.name for metric in self.metrics), math.nan))
                continue
            similarity = (features[first] * features[second]).sum(1)
            alike = features[sought] @ features.T
            found.append(
                {
                    "accuracy": verification_accuracy(similarity, same, FOLDS),
                    "tpr_at_far": tpr_at_far(similarity, same, self.settings.far),
                    "rank1": rank1_with_distractors(alike[:, sought], labels[sought], alike[:, ~sought]),
                    "eer": equal_error_rate(similarity, same),
                }
            )
        return found

    def detail_of(self, stack: ModelStack, split: SplitName) -> dict[str, float]:
        """True and false accepts by group, at one threshold; none without groups."""
        if not self.settings.groups:
            return {}
        similarity, same, groups = self._verified(stack, split)
        return verified_by_group(similarity, same, *groups, self.settings.far)

    def shown(self, stack: ModelStack, split: SplitName) -> tuple[Lines]:
        """The ROC of verification, and that of each group's own pairs."""
        similarity, same, (one, other) = self._verified(stack, split)
        kept = {"all pairs" if self.settings.groups else "ROC": np.ones(len(same), dtype=bool)}
        if self.settings.groups:
            names, counts = np.unique(one[same], return_counts=True)
            largest = names[np.argsort(-counts, kind="stable")[:MOST_CURVES]]
            kept |= {str(name): (one == name) & (other == name) for name in sorted(largest)}
        lines = {}
        for name, own in kept.items():
            if same[own].any() and not same[own].all():
                false, true = roc(similarity[own], same[own])
                points = list(zip(false.tolist(), true.tolist(), strict=True))
                lines[name] = thinned(points, MOST_DOTS // len(kept))
        return (Lines("ROC of verification", "false accepts", "true accepts", lines),)

    def _verified(
        self, stack: ModelStack, split: SplitName
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], tuple[NDArray[np.str_], NDArray[np.str_]]]:
        """Of the pairs to verify: similarities by a stack of one, whether it is one person, and the groups of both."""
        parts, pairs = self.people
        part = parts[1] if split == "val" else parts[2]
        first, second, same = pairs[split]
        (features,) = self.embed(stack, part.images)
        groups = np.array([self.groups.get(name, "") for name in part.names])[part.images.labels]
        return (features[first] * features[second]).sum(1), same, (groups[first], groups[second])

    @cached_property
    def groups(self) -> dict[str, str]:
        """Identity -> group; nobody has one without the setting."""
        names = [name for part in self.people[0] for name in part.names]
        return read_groups(self.settings.groups, names) if self.settings.groups else {}

    def check(self) -> tuple[str, ...]:
        """Read the photographs and the groups; see `Task.check`."""
        told = super().check()
        _ = self.groups
        return told


def _sought(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The people to identify: half of those with two photographs or more, one at least; all others are distractors."""
    people = np.flatnonzero(np.bincount(labels) > 1)
    return people[: max(1, len(people) // 2)]


def load_faces(
    source: str,
    size: tuple[int, int],
    *,
    seed: int = 0,
    grey: bool = True,
    pairs: Path | None = None,
    progress: Progress = nothing,
) -> tuple[tuple[Identities, ...], Pairs | None]:
    """Train, validation and test people, and the test pairs of a file in LFW's format, if one is given.

    With a file, its people are the test split, and all others share train and validation.
    """
    people = read_identities(source, size, grey, progress)
    if pairs is None:
        return split_identities(people, seed), None
    listed = read_pairs(pairs)
    parts = split_identities(people, seed, sorted({name for a, _, b, _ in listed for name in (a, b)}))
    return parts, locate_pairs(listed, parts[2], str(pairs))
