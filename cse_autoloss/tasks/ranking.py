"""Metrics of re-identification: mAP and CMC in Market-1501's protocol, and k-reciprocal re-ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

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
    far, near = _nearest(features, 1 + max(k1, k2))
    wide = _reciprocal(near, k1)
    narrow = _reciprocal(near, max(1, int(np.around(k1 / 2))))
    shares = _shares(features, far, wide, narrow)
    if k2 > 1:
        shares = _averaged(near[:, :k2], shares)
    return (1 - weight) * _jaccard(shares, len(query)) + weight * _distance(features, far, len(query))


def _distance(features: NDArray[np.float64], far: NDArray[np.float64], queries: int) -> NDArray[np.float64]:
    """(Q, G): squared distances between queries and gallery, divided by each query's largest."""
    found = np.empty((queries, len(features) - queries))
    for rows in _blocks(queries):
        found[rows] = _squared(features[rows], features[queries:]) / far[rows, None]
    return found


def _nearest(features: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Each image's largest squared distance, (N,), and its `count` nearest, itself the first, (N, count).

    Taken block by block: all distances of Market-1501 would fill 4 GB, and so would each thing made of them.
    """
    images = len(features)
    count = min(count, images)
    far, near = np.empty(images), np.empty((images, count), dtype=np.int64)
    for rows in _blocks(images):
        block = _squared(features[rows], features)
        far[rows] = np.maximum(block.max(1), 1e-12)
        limits = np.partition(block, count - 1, axis=1)[:, count - 1]
        for place, (row, limit) in enumerate(zip(block, limits, strict=True), rows.start):
            found = np.flatnonzero(row <= limit)
            near[place] = found[np.argsort(row[found], kind="stable")[:count]]
    return far, near


def _reciprocal(near: NDArray[np.int64], k: int) -> list[NDArray[np.int64]]:
    """Of each image, those among its k nearest that have it among theirs; each counts as its own nearest."""
    own = near[:, : k + 1]
    back = (own[own] == np.arange(len(own))[:, None, None]).any(2)
    return [np.sort(row[kept]) for row, kept in zip(own, back, strict=True)]


def _shares(
    features: NDArray[np.float64],
    far: NDArray[np.float64],
    wide: Sequence[NDArray[np.int64]],
    narrow: Sequence[NDArray[np.int64]],
) -> csr_array:
    """(N, N) weights e^{−d} of each image's expanded neighbours, divided by their sum."""
    columns, weights = [], []
    for image, own in enumerate(wide):
        added = [
            others
            for others in (narrow[one] for one in own)
            if len(np.intersect1d(others, own, assume_unique=True)) > 2 / 3 * len(others)
        ]
        members = np.unique(np.concatenate((own, *added)))
        raw = _squared(features[image : image + 1], features[members])[0]
        near = np.exp(-raw / far[image])
        columns.append(members)
        weights.append(near / near.sum())
    ends = np.concatenate(([0], np.cumsum([len(own) for own in columns])))
    shape = (len(features), len(features))
    return csr_array((np.concatenate(weights), np.concatenate(columns), ends), shape=shape)


def _averaged(near: NDArray[np.int64], shares: csr_array) -> csr_array:
    """Each row's mean over its nearest images."""
    images, count = near.shape
    places = (np.repeat(np.arange(images), count), near.ravel())
    return csr_array((np.full(near.size, 1 / count), places), shape=(images, images)) @ shares


def _jaccard(shares: csr_array, queries: int) -> NDArray[np.float64]:
    """(Q, G) Jaccard distances 1 − Σ min/Σ max of rows that sum to 1; only columns in which both stand are met."""
    others = shares[queries:].tocsc()
    found = np.empty((queries, others.shape[0]))
    for image in range(queries):
        overlap = np.zeros(others.shape[0])
        for entry in range(shares.indptr[image], shares.indptr[image + 1]):
            column = slice(*others.indptr[shares.indices[entry] : shares.indices[entry] + 2])
            overlap[others.indices[column]] += np.minimum(shares.data[entry], others.data[column])
        found[image] = 1 - overlap / (2 - overlap)
    return found


def _squared(one: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared Euclidean distances."""
    found: NDArray[np.float64] = (one**2).sum(1)[:, None] + (others**2).sum(1) - 2 * one @ others.T
    return np.maximum(found, 0)


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + 512, count)) for start in range(0, count, 512)]
