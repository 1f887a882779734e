"""Sums of a monotone curve over all pairs of two sets of scores, without making the pairs.

A ranking loss counts, for each positive i, the scores above its own: Σ_j w_j·h(s_j − c_i), h a step. With h linear
between knots the P curves together have E = P·K edges, between which each is a straight line. So it is enough to know
how many scores lie between two edges, and their sum: O(N·log E) time, O(N + E) memory, and exact. The gradient by s_j,
Σ_i a_i·h'(s_j − c_i), is one number for all scores between two edges: a table.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 1 << 18
"""Scores that are sorted into the edges at a time: they stay in a core's cache."""
CELLS = 1 << 17
"""Most cells of one width that scores are sorted into first."""


class Curve(NamedTuple):
    """h, linear between rising knots, level outside them.

    Attributes:
        knots: (K,) float64, rising; K ≥ 2.
        heights: (K,) float64, not falling.
    """

    knots: Tensor
    heights: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """h of each."""
        piece = (torch.bucketize(x, self.knots.to(x)) - 1).clamp(0, len(self.knots) - 2)
        left, low, slope = (values.to(x)[piece] for values in (self.knots, self.heights, self.slopes))
        inside = low + slope * (x - left)
        return inside.clamp(float(self.heights[0]), float(self.heights[-1]))

    @property
    def slopes(self) -> Tensor:
        """(K − 1,)"""
        return self.heights.diff() / self.knots.diff()


class Tally(NamedTuple):
    """Scores sorted between the edges.

    Attributes:
        places: the place of each score among the edges, in blocks; int32.
        counts, sums: (E + 1,) float64, Σ w and Σ w·s of each place.
    """

    places: tuple[Tensor, ...]
    counts: Tensor
    sums: Tensor

    def joined(self, other: Tally) -> Tally:
        """Both sets as one; the places are those of the first."""
        return Tally(self.places, self.counts + other.counts, self.sums + other.sums)


class StepSums:
    """The curves h(s − c_i) of P centres, and what scores s sum to under them."""

    def __init__(self, centres: Tensor, curve: Curve) -> None:
        """`centres`: (P,) float64, P ≥ 1."""
        self.curve, self._centres = curve, centres
        edges = centres[:, None] + curve.knots
        self._edges, order = edges.flatten().sort()
        self._rank = torch.empty_like(order)
        self._rank[order] = torch.arange(len(order), device=order.device)
        self._rank = self._rank.view(edges.shape)
        self._looked_up: dict[torch.dtype, tuple[Tensor, float, float, Tensor]] = {}

    def tally(self, scores: Tensor, weights: Tensor | None = None) -> Tally:
        """Finite scores (N,), each counted `weights` times, (N,), or once."""
        size = len(self._edges) + 1
        counts, sums = (torch.zeros(size, dtype=torch.float64, device=scores.device) for _ in range(2))
        places = []
        step = BLOCK if scores.device.type == "cpu" else max(len(scores), 1)
        for start in range(0, len(scores), step):
            part = scores[start : start + step]
            place = self._places(part)
            wide = part.double()
            if weights is None:
                counts += torch.bincount(place, minlength=size)
            else:
                share = weights[start : start + step].double()
                counts += torch.bincount(place, share, minlength=size)
                wide = wide * share
            sums += torch.bincount(place, wide, minlength=size)
            places.append(place)
        return Tally(tuple(places), counts, sums)

    def values(self, tally: Tally) -> Tensor:
        """Σ_j w_j·h(s_j − c_i), (P,) float64."""
        number, total = self._between(tally.counts), self._between(tally.sums)
        slopes, low = self.curve.slopes, self.curve.heights
        left = self._centres[:, None] + self.curve.knots[:-1]
        inside = number * low[:-1] + slopes * (total - number * left)
        below = self._before(tally.counts)
        beyond = low[0] * below[self._rank[:, 0]] + low[-1] * (tally.counts.sum() - below[self._rank[:, -1]])
        return inside.sum(1) + beyond

    def slopes(self, tally: Tally) -> Tensor:
        """Σ_j w_j·h'(s_j − c_i), (P,) float64."""
        return self._between(tally.counts) @ self.curve.slopes

    def pulls(self, weights: Tensor) -> Tensor:
        """Σ_i weights_i·h'(s − c_i) by the place of s, (E + 1,) float64."""
        none = self.curve.slopes.new_zeros(1)
        jumps = weights[:, None] * torch.cat((none, self.curve.slopes, none)).diff()
        steps = torch.zeros_like(self._edges)
        steps[self._rank.flatten()] = jumps.flatten()
        table = torch.cat((none, steps.cumsum(0)))
        table[-1] = 0.0  # beyond all edges, but for rounding
        return table

    def spread(self, weights: Tensor, tally: Tally, scores: Tensor) -> Tensor:
        """Σ_i weights_i·h(s − c_i) of each score of the tally, in their shape; h starts at 0."""
        slopes = self.pulls(weights)
        rise = slopes[1:-1] * self._edges.diff()
        none = rise.new_zeros(2)
        low = gathered(torch.cat((none, rise.cumsum(0))), tally, scores)
        left = gathered(torch.cat((self._edges[:1], self._edges)), tally, scores)
        return low.addcmul_(gathered(slopes, tally, scores), scores - left)

    @staticmethod
    def _before(amounts: Tensor) -> Tensor:
        """What lies below each edge, (E,); the amounts of the last place are not looked at."""
        return amounts[:-1].cumsum(0)

    def _between(self, amounts: Tensor) -> Tensor:
        """What lies in each piece of each curve, (P, K − 1)."""
        inner = amounts.clone()
        inner[0] = 0.0  # far below all; its sum may be large
        return self._before(inner)[self._rank].diff(dim=1)

    def _places(self, scores: Tensor) -> Tensor:
        """How many edges are below each score, int32.

        Scores go to cells of one width first. Rounding keeps the order, so a cell without an edge is one place as a
        whole; only scores in the others are searched for.
        """
        edges, low, rate, table = self._table(scores.dtype)
        cells = ((scores - low) * rate).clamp_(0, len(table) - 1).int()
        places = table.index_select(0, cells)
        unsure = (places < 0).nonzero().squeeze(1)
        places[unsure] = torch.bucketize(scores[unsure], edges, out_int32=True)
        return places

    def _table(self, dtype: torch.dtype) -> tuple[Tensor, float, float, Tensor]:
        if dtype not in self._looked_up:
            edges = self._edges.to(dtype)
            first, last = float(edges[0]), float(edges[-1])
            count = min(CELLS, 64 * len(edges))
            width = max(last - first, 1e-6 * max(abs(first), 1.0)) / (count - 4)
            low, rate = first - 2 * width, 1 / width
            cells = ((edges - low) * rate).clamp(0, count - 1).long()
            held = torch.bincount(cells, minlength=count)
            table = torch.where(held > 0, -1, held.cumsum(0)).int()
            self._looked_up[dtype] = edges, low, rate, table
        return self._looked_up[dtype]


def gathered(table: Tensor, tally: Tally, like: Tensor) -> Tensor:
    """The table's number at each score's place, in the shape and type of `like`, which are the scores."""
    found, narrow = torch.empty_like(like, memory_format=torch.contiguous_format), table.to(like.dtype)
    start, flat = 0, found.view(-1)
    for places in tally.places:
        torch.index_select(narrow, 0, places, out=flat[start : start + len(places)])
        start += len(places)
    return found
