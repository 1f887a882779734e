"""Metrics of re-identification: mAP and CMC in Market-1501's protocol, and k-reciprocal re-ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.errors import DataError

JUNK = -1
"""Label of gallery images that are neither right nor wrong: they are left out of every ranking."""
DISTRACTOR = 0
"""Label of gallery images of nobody sought: wrong for every query."""

Labels = NDArray[np.int64]
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Ranking:
    """How well the gallery was ranked.

    Attributes:
        mean_ap: mean over the queries of the mean precision at each right image.
        cmc: rank -> share of the queries with a right image among so many first.
        queries: that count; one without any right image in the gallery does not.
    """

    mean_ap: float
    cmc: dict[int, float]
    queries: int


def rank_gallery(
    distance: Floats,
    query_ids: Labels,
    gallery_ids: Labels,
    query_cameras: Labels,
    gallery_cameras: Labels,
    ranks: Sequence[int] = (1, 5, 10),
) -> Ranking:
    """Single-query evaluation of Market-1501 (Zheng et al., ICCV 2015).

    From a query's ranking are left out: junk, and the images of its person by its own camera.

    Args:
        distance: (Q, G), smaller for more alike; equal ones keep the gallery's order.
        query_ids, gallery_ids: persons; in the gallery `JUNK` and `DISTRACTOR` too.
        query_cameras, gallery_cameras: cameras.
        ranks: of the CMC.

    Raises:
        DataError: no query has a right image in the gallery.
    """
    precisions: list[float] = []
    firsts: list[int] = []
    for row, person, camera in zip(distance, query_ids, query_cameras, strict=True):
        order = np.argsort(row, kind="stable")
        ids, cameras = gallery_ids[order], gallery_cameras[order]
        kept = (ids != JUNK) & ~((ids == person) & (cameras == camera))
        right = np.flatnonzero(ids[kept] == person)
        if right.size:
            precisions.append(float(np.mean(np.arange(1, right.size + 1) / (right + 1))))
            firsts.append(int(right[0]))
    if not firsts:
        raise DataError("no query has an image of its person by another camera in the gallery")
    cmc = {rank: float(np.mean(np.array(firsts) < rank)) for rank in ranks}
    return Ranking(float(np.mean(precisions)), cmc, len(firsts))


def re_rank(
    query: Floats, gallery: Floats, k1: int = 20, k2: int = 6, weight: float = 0.3
) -> NDArray[np.float64]:
    """k-reciprocal re-ranking (Zhong et al., CVPR 2017): distances (Q, G) between queries and gallery.

    d* = (1 − λ)·d_J + λ·d: d the squared Euclidean distance, divided by each image's largest; d_J the Jaccard
    distance of the expanded sets of k₁-reciprocal neighbours, weighted by e^{−d} and averaged over the k₂
    nearest images.

    Args:
        query, gallery: (Q, D) and (G, D) features.
        k1, k2: sizes of the neighbourhoods.
        weight: λ in [0, 1].
    """
    features = np.concatenate((query, gallery)).astype(np.float64)
    squares = (features**2).sum(1)
    raw = np.maximum(squares[:, None] + squares[None, :] - 2 * features @ features.T, 0)
    distance = raw / np.maximum(raw.max(1, keepdims=True), 1e-12)
    order = np.argsort(distance, axis=1, kind="stable")
    count = len(features)
    wide = _reciprocal(order, k1)
    narrow = _reciprocal(order, max(1, int(np.around(k1 / 2))))
    shares = np.zeros((count, count))
    for image in range(count):
        members = wide[image].copy()
        for neighbour in np.flatnonzero(wide[image]):
            own = narrow[neighbour]
            if (own & wide[image]).sum() > 2 / 3 * own.sum():
                members |= own
        weights = np.where(members, np.exp(-distance[image]), 0.0)
        shares[image] = weights / weights.sum()
    if k2 > 1:
        shares = shares[order[:, :k2]].mean(1)
    queries = len(query)
    overlap = np.stack([np.minimum(shares[i], shares[queries:]).sum(1) for i in range(queries)])
    jaccard = 1 - overlap / (2 - overlap)
    return (1 - weight) * jaccard + weight * distance[:queries, queries:]


def _reciprocal(order: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """(N, N): j is among the k nearest of i, and i among those of j; each image counts as its own nearest."""
    near = np.zeros(order.shape, dtype=bool)
    np.put_along_axis(near, order[:, : k + 1], True, axis=1)
    return near & near.T
