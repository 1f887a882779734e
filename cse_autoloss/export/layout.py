"""Where the nodes of a drawing go: a layered layout, left to right, for graphs of up to a few hundred nodes.

The usual four steps (Sugiyama et al., 1981): each node gets a layer by its distance from the loss; edges
over several layers get a waypoint in each; the order within the layers is changed until few edges cross;
then nodes move towards their neighbours as far as those beside them allow. Lengths are in points; y grows
downward.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_RESTARTS = 12
_SWEEPS = 8
_CROSSING, _SWAPPED = 10.0, 4.0


@dataclass(frozen=True)
class Box:
    """What is to be placed: its size, and whether the order of its incoming edges matters."""

    width: float
    height: float
    ordered: bool = False


@dataclass(frozen=True)
class Edge:
    """From a node to its user; `position` is the operand's number."""

    source: int
    target: int
    position: int


@dataclass(frozen=True)
class Layout:
    """Where everything goes.

    Attributes:
        centres: (x, y) of each node.
        columns: (left, right) of the column in which each node stands.
        waypoints: for each edge the places between its ends: (left, right, y), to be crossed level.
        crossings: how many pairs of edges cross.
    """

    centres: tuple[tuple[float, float], ...]
    columns: tuple[tuple[float, float], ...]
    waypoints: tuple[tuple[tuple[float, float, float], ...], ...]
    crossings: int


def layered(
    boxes: Sequence[Box], edges: Sequence[Edge], *, layer_gap: float = 30.0, node_gap: float = 12.0
) -> Layout:
    """Place `boxes` (arguments before users, the last one is the loss) so that edges run left to right.

    The same input gives the same layout in every process.
    """
    return _Drawing(boxes, edges, layer_gap, node_gap).run()


class _Drawing:
    """Slots are the nodes first, then the waypoints of long edges."""

    def __init__(
        self, boxes: Sequence[Box], edges: Sequence[Edge], layer_gap: float, node_gap: float
    ) -> None:
        self.boxes, self.edges = boxes, edges
        self.layer_gap, self.node_gap = layer_gap, node_gap
        self.layer = _layers(len(boxes), edges)
        self.chains: list[list[int]] = []
        for edge in edges:
            chain = [edge.source]
            for layer in range(self.layer[edge.source] - 1, self.layer[edge.target], -1):
                self.layer.append(layer)
                chain.append(len(self.layer) - 1)
            self.chains.append([*chain, edge.target])
        self.left: list[list[int]] = [[] for _ in self.layer]
        self.right: list[list[int]] = [[] for _ in self.layer]
        # Links (left slot, right slot) between each layer and the one right of it.
        self.links: list[list[tuple[int, int]]] = [[] for _ in range(max(self.layer) + 1)]
        for chain in self.chains:
            for a, b in pairwise(chain):
                self.left[b].append(a)
                self.right[a].append(b)
                self.links[self.layer[a]].append((a, b))
        # The operands' slots next to each node whose operands have an order.
        self.ordered: list[tuple[int, int]] = []
        for first, second in pairwise(edges):
            if first.target == second.target and boxes[first.target].ordered:
                at = edges.index(first)
                self.ordered.append((self.chains[at][-2], self.chains[at + 1][-2]))

    def run(self) -> Layout:
        rows = self._best_rows()
        y = self._heights(rows)
        columns = self._columns()
        of = [columns[layer] for layer in self.layer]
        nodes = range(len(self.boxes))
        rank = _ranks(rows)
        return Layout(
            centres=tuple((sum(of[i]) / 2, y[i]) for i in nodes),
            columns=tuple(of[i] for i in nodes),
            waypoints=tuple(tuple((*of[s], y[s]) for s in chain[1:-1]) for chain in self.chains),
            crossings=sum(_crossings(links, rank) for links in self.links),
        )

    def _best_rows(self) -> list[list[int]]:
        chance = random.Random(0)
        natural = self._natural_rows()
        best, least = natural, float("inf")
        for attempt in range(_RESTARTS):
            rows = [list(row) for row in natural]
            if attempt:
                for row in rows:
                    chance.shuffle(row)
            for sweep in range(_SWEEPS):
                self._sweep(rows, from_right=(sweep + attempt) % 2 == 0)
                self._swap_neighbours(rows)
                cost = self._cost(rows)
                if cost < least - 1e-9:
                    best, least = [list(row) for row in rows], cost
        return best

    def _natural_rows(self) -> list[list[int]]:
        """Slots in the order in which the formula names them."""
        rows: list[list[int]] = [[] for _ in range(max(self.layer) + 1)]
        seen: set[int] = set()
        stack = [len(self.boxes) - 1]
        while stack:
            slot = stack.pop()
            if slot in seen:
                continue
            seen.add(slot)
            rows[self.layer[slot]].append(slot)
            stack.extend(reversed(self.left[slot]))
        return rows

    def _sweep(self, rows: list[list[int]], *, from_right: bool) -> None:
        """Order each layer by the mean place of its neighbours in the layer before."""
        order = range(1, len(rows)) if from_right else range(len(rows) - 2, -1, -1)
        for number in order:
            rank = _relative(rows)
            beside = self.right if from_right else self.left
            place = {
                slot: sum(rank[n] for n in beside[slot]) / len(beside[slot]) if beside[slot] else rank[slot]
                for slot in rows[number]
            }
            rows[number].sort(key=lambda slot: place[slot])

    def _swap_neighbours(self, rows: list[list[int]]) -> None:
        improved = True
        while improved:
            improved = False
            for number, row in enumerate(rows):
                cost = self._cost(rows, number)
                for i in range(len(row) - 1):
                    row[i], row[i + 1] = row[i + 1], row[i]
                    new = self._cost(rows, number)
                    if new < cost - 1e-9:
                        cost, improved = new, True
                    else:
                        row[i], row[i + 1] = row[i + 1], row[i]

    def _cost(self, rows: list[list[int]], number: int | None = None) -> float:
        """Of all, or of what the order of layer `number` decides."""
        touched = range(len(rows)) if number is None else (number, number + 1)
        beside = rows if number is None else rows[max(number - 1, 0) : number + 2]
        rank, middle = _ranks(beside), _relative(beside)
        total = 0.0
        for links in (self.links[n] for n in touched if n < len(rows)):
            total += _CROSSING * _crossings(links, rank)
            total += sum(abs(middle[a] - middle[b]) for a, b in links)
        swapped = sum(rank[a] > rank[b] for a, b in self.ordered if a in rank and b in rank)
        return total + _SWAPPED * swapped

    def _heights(self, rows: list[list[int]]) -> dict[int, float]:
        y: dict[int, float] = {}
        for row in rows:
            top = 0.0
            for above, slot in zip([None, *row], row, strict=False):
                top += self._apart(above, slot) if above is not None else 0.0
                y[slot] = top
            middle = (y[row[0]] + y[row[-1]]) / 2
            for slot in row:
                y[slot] -= middle
        for sweep in range(60):
            order = rows if sweep % 2 else rows[::-1]
            for row in order:
                targets, weights = [], []
                for slot in row:
                    is_waypoint = slot >= len(self.boxes)
                    near = [*self.left[slot], *self.right[slot]]
                    # A waypoint pulls harder, so that long edges run straight.
                    pulls = [(4.0 if is_waypoint and n >= len(self.boxes) else 1.0) for n in near]
                    targets.append(
                        sum(p * y[n] for p, n in zip(pulls, near)) / sum(pulls) if near else y[slot]
                    )
                    weights.append(sum(pulls) if near else 1.0)
                gaps = [self._apart(a, b) for a, b in pairwise(row)]
                y.update(zip(row, _spread(targets, weights, gaps), strict=True))
        return y

    def _apart(self, above: int, below: int) -> float:
        """Least distance of the centres of two neighbours in a layer."""
        heights = [self.boxes[s].height if s < len(self.boxes) else 2.0 for s in (above, below)]
        return sum(heights) / 2 + self.node_gap

    def _columns(self) -> list[tuple[float, float]]:
        """(left, right) of each layer, layer 0 (the loss) at the right."""
        widths = [
            max((box.width for box, layer in zip(self.boxes, self.layer) if layer == number), default=0.0)
            for number in range(max(self.layer) + 1)
        ]
        columns, at = [(0.0, 0.0)] * len(widths), 0.0
        for number in range(len(widths) - 1, -1, -1):
            columns[number] = (at, at + widths[number])
            at += widths[number] + self.layer_gap
        return columns


def _layers(count: int, edges: Sequence[Edge]) -> list[int]:
    """Each node's longest distance from the loss, so that it stands next to its nearest user."""
    layers = [0] * count
    for edge in sorted(edges, key=lambda e: -e.target):
        layers[edge.source] = max(layers[edge.source], layers[edge.target] + 1)
    return layers


def _ranks(rows: list[list[int]]) -> dict[int, int]:
    return {slot: i for row in rows for i, slot in enumerate(row)}


def _relative(rows: list[list[int]]) -> dict[int, float]:
    """Place in the layer, counted from the layer's middle."""
    return {slot: i - (len(row) - 1) / 2 for row in rows for i, slot in enumerate(row)}


def _crossings(links: list[tuple[int, int]], rank: dict[int, int]) -> int:
    total = 0
    for i, (a, b) in enumerate(links):
        for c, d in links[i + 1 :]:
            total += (rank[a] - rank[c]) * (rank[b] - rank[d]) < 0
    return total


def _spread(targets: list[float], weights: list[float], gaps: list[float]) -> list[float]:
    """Places nearest to `targets` by weighted squares, each at least its gap after the one before.

    Subtracting the gaps leaves an isotonic regression, solved by pooling adjacent violators.
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for target, weight, offset in zip(targets, weights, offsets, strict=True):
        mean, total, many = target - offset, weight, 1
        while pools and pools[-1][0] > mean:
            before, heavy, more = pools.pop()
            mean = (before * heavy + mean * total) / (heavy + total)
            total, many = total + heavy, many + more
        pools.append((mean, total, many))
    flat = [mean for mean, _, many in pools for _ in range(many)]
    return [place + offset for place, offset in zip(flat, offsets, strict=True)]
