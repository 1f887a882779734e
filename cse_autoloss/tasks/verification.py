"""Metrics of face verification and identification; pure functions on similarities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.errors import DataError

Floats = NDArray[np.floating]


def verification_accuracy(similarity: Floats, same: NDArray[np.bool_], folds: int = 10) -> float:
    """Accuracy of "same person" by a threshold, in LFW's protocol.

    For each fold the threshold is the one that is best on all other folds; its accuracy on the fold counts.

    Args:
        similarity: (P,), larger for more alike; pairs in the file's order, whose folds lie one after another. Where
            a fold would then have pairs of one kind alone, as in a file sorted by kind, each kind is dealt out to
            the folds in turn.
        same: (P,) whether a pair is of one person.
        folds: number of folds, at most P.

    Returns:
        The mean over the folds, in [0, 1].

    Raises:
        DataError: fewer pairs than folds.
    """
    _check(similarity, same)
    if len(same) < folds or folds < 2:
        raise DataError(f"expected at least {max(folds, 2)} pairs for {folds} folds, got {len(same)}")
    accuracies = []
    for part in _folds(same, folds):
        rest = np.ones(len(same), dtype=bool)
        rest[part] = False
        threshold = _best_threshold(similarity[rest], same[rest])
        accuracies.append(np.mean((similarity[part] >= threshold) == same[part]))
    return float(np.mean(accuracies))


def _folds(same: NDArray[np.bool_], folds: int) -> list[NDArray[np.int64]]:
    parts = np.array_split(np.arange(len(same)), folds)
    if all(same[part].any() and not same[part].all() for part in parts):
        return parts
    dealt = np.argsort(~same, kind="stable")
    return [dealt[start::folds] for start in range(folds)]


def _best_threshold(similarity: Floats, same: NDArray[np.bool_]) -> float:
    """Middle between two neighbouring similarities where accuracy is highest; of equals the lowest."""
    order = np.argsort(similarity, kind="stable")
    values, kinds = similarity[order].astype(np.float64), same[order]
    # Accepting from position i on: right are the different ones before it and the same ones from it on.
    right = np.concatenate(([0], np.cumsum(~kinds))) + np.concatenate((np.cumsum(kinds[::-1])[::-1], [0]))
    cuts = np.concatenate(([values[0] - 1], (values[1:] + values[:-1]) / 2, [values[-1] + 1]))
    # A cut inside a run of equal similarities is none.
    apart = np.concatenate(([True], values[1:] > values[:-1], [True]))
    return float(cuts[np.argmax(np.where(apart, right, -1))])


def tpr_at_far(similarity: Floats, same: NDArray[np.bool_], far: float) -> float:
    """Share of true pairs accepted where at most the share `far` of false pairs is.

    The threshold is as low as that allows; of equal similarities all or none are accepted.
    """
    return float(np.mean(similarity[same] > threshold_at_far(similarity, same, far)))


def threshold_at_far(similarity: Floats, same: NDArray[np.bool_], far: float) -> float:
    """The similarity that a pair must exceed for at most the share `far` of false pairs to be accepted; −∞ for all."""
    _check(similarity, same)
    false = np.sort(similarity[~same])[::-1]
    allowed = int(np.floor(far * len(false) + 1e-9))
    return float(false[allowed]) if allowed < len(false) else -np.inf


def roc(similarity: Floats, same: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of false and of true pairs that are accepted, at each threshold from the highest down; from (0, 0) on.

    Args:
        similarity: of each pair, (N,).
        same: whether the pair is of one person, (N,).

    Returns:
        Two arrays (T + 1,), T the number of distinct similarities.
    """
    _check(similarity, same)
    order = np.argsort(-similarity, kind="stable")
    values, kinds = similarity[order], same[order]
    last = np.concatenate(([True], values[1:] < values[:-1], [True]))  # equal ones are accepted together
    false, true = (np.concatenate(([0], kind.cumsum()))[last] / kind.sum() for kind in (~kinds, kinds))
    return false, true


def equal_error_rate(similarity: Floats, same: NDArray[np.bool_]) -> float:
    """The rate at which as many false pairs are accepted as true ones are refused, between two thresholds linearly."""
    _check(similarity, same)
    cuts = np.concatenate(([-np.inf], np.unique(similarity), [np.inf]))
    true, false = np.sort(similarity[same]), np.sort(similarity[~same])
    refused = np.searchsorted(true, cuts, side="left") / len(true)
    accepted = 1 - np.searchsorted(false, cuts, side="left") / len(false)
    gap = accepted - refused
    after = int(np.argmax(gap <= 0))
    before = max(after - 1, 0)
    span = gap[before] - gap[after]
    share = gap[before] / span if span > 0 else 0.0
    return float(refused[before] + share * (refused[after] - refused[before]))


def rank1_with_distractors(mates: Floats, labels: NDArray[np.int64], distractors: Floats) -> float:
    """Rank-1 identification in MegaFace's manner.

    Each image is a probe for each other image of its person: found where that mate is more alike than every
    distractor; other images of the person are left out of the gallery.

    Args:
        mates: (N, N) similarities between the images of the persons sought.
        labels: (N,) their persons.
        distractors: (N, D) similarities to images of nobody sought; D may be 0.

    Returns:
        Share of (probe, mate) pairs that are found.
    """
    pairs = (labels[:, None] == labels[None, :]) & ~np.eye(len(labels), dtype=bool)
    if not pairs.any():
        raise DataError("identification needs a person with two images")
    hardest = distractors.max(1) if distractors.shape[1] else np.full(len(labels), -np.inf)
    return float(np.mean((mates > hardest[:, None])[pairs]))


def _check(similarity: Floats, same: NDArray[np.bool_]) -> None:
    if similarity.shape != same.shape or similarity.ndim != 1:
        raise DataError(f"expected as many similarities as pairs, got {similarity.shape} and {same.shape}")
    if not same.any() or same.all():
        raise DataError("verification needs pairs of one person and pairs of two")
