"""Face recognition: trained to tell known people apart, scored on people it has never seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cse_autoloss.classifiers import ModelStack
from cse_autoloss.errors import DataError
from cse_autoloss.settings.stacked import TrainingSettings
from cse_autoloss.tasks.identities import (
    Identities,
    Pairs,
    locate_pairs,
    make_pairs,
    read_identities,
    read_pairs,
    split_identities,
)
from cse_autoloss.tasks.stacked import SplitName, StackedTask
from cse_autoloss.tasks.verification import (
    equal_error_rate,
    rank1_with_distractors,
    tpr_at_far,
    verification_accuracy,
)

FOLDS = 10
"""Of verification accuracy, as in LFW's protocol."""


class FacesTask(StackedTask):
    """Scores the cosines between embeddings of people that are in no other split.

    accuracy: 10-fold verification accuracy; tpr_at_far: share of true pairs accepted at a false accept rate;
    rank1: identification, where half of the people (at least one) are distractors; eer: equal error rate, lower
    is better, so it is no reward.
    """

    name = "faces"
    metrics = ("accuracy", "tpr_at_far", "rank1")

    def __init__(
        self,
        parts: Sequence[Identities],
        settings: TrainingSettings,
        *,
        seed: int = 0,
        device: str = "cpu",
        reward: str | None = None,
        far: float = 0.01,
        pair_count: int = 600,
        test_pairs: Pairs | None = None,
    ) -> None:
        """
        Args:
            parts: train, validation and test, with disjoint people.
            settings, seed, device, reward: as of `StackedTask`.
            far: false accept rate of tpr_at_far.
            pair_count: pairs that are made by the seed, half of them of one person.
            test_pairs: pairs of test photographs, in place of made ones.
        """
        train, val, test = parts
        super().__init__(train.images, len(train.names), settings, seed=seed, device=device, reward=reward)
        self._parts = {"val": val, "test": test}
        self._pairs = {
            "val": make_pairs(val.images.labels, pair_count, seed),
            "test": test_pairs or make_pairs(test.images.labels, pair_count, seed),
        }
        for split, (_, _, same) in self._pairs.items():
            if len(same) < FOLDS or not same.any() or same.all():
                raise DataError(
                    f"the {split} split has {int(same.sum())} pairs of one person and {int((~same).sum())} of two; "
                    f"both kinds are needed, {FOLDS} pairs in all"
                )
        self.far = far

    def scores(self, stack: ModelStack, split: SplitName) -> list[dict[str, float]]:
        """{"accuracy", "tpr_at_far", "rank1", "eer"} of each model, all in [0, 1]."""
        part = self._parts[split]
        first, second, same = self._pairs[split]
        labels = part.images.labels
        sought = labels < max(1, len(part.names) // 2)
        found = []
        for features in self.embed(stack, part.images):
            if not np.isfinite(features).all():
                found.append(dict.fromkeys((*self.metrics, "eer"), math.nan))
                continue
            similarity = (features[first] * features[second]).sum(1)
            alike = features[sought] @ features.T
            found.append(
                {
                    "accuracy": verification_accuracy(similarity, same, FOLDS),
                    "tpr_at_far": tpr_at_far(similarity, same, self.far),
                    "rank1": rank1_with_distractors(alike[:, sought], labels[sought], alike[:, ~sought]),
                    "eer": equal_error_rate(similarity, same),
                }
            )
        return found


def load_faces(
    source: str, size: tuple[int, int], *, seed: int = 0, grey: bool = True, pairs: Path | None = None
) -> tuple[tuple[Identities, ...], Pairs | None]:
    """Train, validation and test people, and the test pairs of a file in LFW's format, if one is given.

    With a file, its people are the test split, and all others share train and validation.
    """
    people = read_identities(source, size, grey)
    if pairs is None:
        return split_identities(people, seed), None
    listed = read_pairs(pairs)
    parts = split_identities(people, seed, sorted({name for a, _, b, _ in listed for name in (a, b)}))
    return parts, locate_pairs(listed, parts[2], str(pairs))
