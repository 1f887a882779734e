"""Where the nodes of a drawing go: a layered layout, left to right.

The usual four steps (Sugiyama et al., 1981), each nearly linear in the size of the graph. A node's layer is its
longest distance from the loss. An edge over several layers gets a waypoint in each; the edges of a node share
them, as branches of one line. Barycentre sweeps order the layers until few lines cross. Then nodes move towards
their neighbours as far as those beside them allow. Lengths are in points; y grows downward.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx

Slot = int | tuple[int, int]
"""A node, or (source, layer) for the waypoint of its edges in a layer."""
Rows = list[list[Slot]]

_STARTS, _SWEEPS, _SETTLING = 24, 8, 30
_LARGE = 6000
"""Of more slots than these there is one start, of few sweeps."""
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
        trunks: for each node the places that its line passes on the way to its farthest user, one in each layer
            between: (left, right, y), to be crossed level.
        leaves: for each edge how many of those places it passes before it leaves its source's line.
        crossings: how many pairs of lines cross.
    """

    centres: tuple[tuple[float, float], ...]
    columns: tuple[tuple[float, float], ...]
    trunks: tuple[tuple[tuple[float, float, float], ...], ...]
    leaves: tuple[int, ...]
    crossings: int


def layered(
    boxes: Sequence[Box], edges: Sequence[Edge], *, layer_gap: float = 30.0, node_gap: float = 12.0
) -> Layout:
    """Place `boxes` (the last one is the loss, which uses all others) so that edges run left to right.

    The same input gives the same layout in every process.
    """
    import networkx as nx  # it takes a while to import, as scipy does, and most commands draw nothing

    users = nx.DiGraph()  # from user to operand, in the order in which the formula names them
    users.add_nodes_from(range(len(boxes)))
    users.add_edges_from((edge.target, edge.source) for edge in edges)
    layer: dict[Slot, int] = {}
    for number, nodes in enumerate(nx.topological_generations(users)):
        layer.update(dict.fromkeys(nodes, number))
    trunks: list[list[Slot]] = []
    slots = nx.DiGraph()  # from user to operand again, each edge from one layer to the next
    for source in range(len(boxes)):
        last = min((layer[user] for user in users.pred[source]), default=layer[source])
        between = range(layer[source] - 1, last, -1)
        trunks.append([source, *((source, number) for number in between)])
        layer.update(zip(trunks[-1][1:], between))
        nx.add_path(slots, trunks[-1][::-1])
    leaves = [layer[edge.source] - layer[edge.target] - 1 for edge in edges]
    ends = [trunks[edge.source][leave] for edge, leave in zip(edges, leaves)]
    slots.add_edges_from((edge.target, end) for edge, end in zip(edges, ends))
    ordered = [
        (end, next_end)
        for (edge, end), (follower, next_end) in pairwise(zip(edges, ends))
        if edge.target == follower.target and boxes[edge.target].ordered
    ]

    rows = _order(slots, layer, len(boxes) - 1, ordered)
    height = {slot: boxes[slot].height if isinstance(slot, int) else 2.0 for slot in slots}
    y = _heights(slots, rows, {slot: h + node_gap for slot, h in height.items()})
    widths = [max((boxes[s].width for s in row if isinstance(s, int)), default=0.0) for row in rows]
    lefts = list(accumulate((width + layer_gap for width in widths[:0:-1]), initial=0.0))[::-1]
    columns = [(left, left + width) for left, width in zip(lefts, widths)]
    return Layout(
        centres=tuple((sum(columns[layer[i]]) / 2, y[i]) for i in range(len(boxes))),
        columns=tuple(columns[layer[i]] for i in range(len(boxes))),
        trunks=tuple(tuple((*columns[layer[s]], y[s]) for s in trunk[1:]) for trunk in trunks),
        leaves=tuple(leaves),
        crossings=sum(_crossings(slots, *pair) for pair in pairwise(rows)),
    )


def _order(slots: nx.DiGraph, layer: dict[Slot, int], loss: int, ordered: list[tuple[Slot, Slot]]) -> Rows:
    """The layers with their slots in an order in which few lines cross."""
    import networkx as nx

    natural: Rows = [[] for _ in range(max(layer.values()) + 1)]
    for slot in nx.dfs_preorder_nodes(slots, loss):
        natural[layer[slot]].append(slot)
    chance = random.Random(0)
    best, least = natural, _cost(slots, natural, ordered)
    sweeps = min(_SWEEPS, 1 + _LARGE // len(slots))
    for attempt in range(max(1, min(_STARTS, _LARGE // len(slots)))):
        rows = [list(row) for row in natural]
        if attempt:
            for row in rows:
                chance.shuffle(row)
        for sweep in range(sweeps):
            _sweep(slots, rows, from_loss=(sweep + attempt) % 2 == 0)
            cost = _cost(slots, rows, ordered)
            if cost < least:
                best, least = [list(row) for row in rows], cost
        if least[0] == 0:
            break
    return best


def _sweep(slots: nx.DiGraph, rows: Rows, *, from_loss: bool) -> None:
    """Order each layer by the mean place of its neighbours in the layer before, then swap slots side by side."""
    beside = slots.pred if from_loss else slots.succ
    way = rows if from_loss else rows[::-1]
    rank = {slot: i for row in rows for i, slot in enumerate(row)}
    for number, row in enumerate(way):
        if number:
            shift = (len(row) - len(way[number - 1])) / 2
            mean = {
                s: sum(rank[n] for n in beside[s]) / len(beside[s]) + shift if beside[s] else rank[s]
                for s in row
            }
            row.sort(key=lambda slot: mean[slot])
        sides = [[sorted(rank[n] for n in side[slot]) for side in (slots.pred, slots.succ)] for slot in row]
        for i in range(len(row) - 1):
            upper, lower = sides[i], sides[i + 1]
            if sum(map(_pairs_crossing, upper, lower)) > sum(map(_pairs_crossing, lower, upper)):
                row[i], row[i + 1] = row[i + 1], row[i]
                sides[i], sides[i + 1] = lower, upper
        rank.update((slot, i) for i, slot in enumerate(row))


def _pairs_crossing(upper: list[int], lower: list[int]) -> int:
    """How many lines of a slot cross those of the slot below it, told by the sorted places of their other ends."""
    return sum(bisect_left(lower, place) for place in upper)


def _crossings(slots: nx.DiGraph, users: list[Slot], operands: list[Slot]) -> int:
    """How many pairs of lines between two layers cross: inversions of the order of their ends."""
    rank = {slot: i for i, slot in enumerate(users)}
    seen: list[int] = []
    total = 0
    for slot in operands:
        ends = sorted(rank[n] for n in slots.pred[slot])
        total += sum(len(seen) - bisect_right(seen, end) for end in ends)
        for end in ends:
            insort(seen, end)
    return total


def _cost(slots: nx.DiGraph, rows: Rows, ordered: list[tuple[Slot, Slot]]) -> tuple[float, float]:
    """How tangled it is: crossings, and operands out of their order; then how far the lines climb."""
    rank = {slot: i for row in rows for i, slot in enumerate(row)}
    middle = {slot: i - (len(row) - 1) / 2 for row in rows for i, slot in enumerate(row)}
    crossings = sum(_crossings(slots, *pair) for pair in pairwise(rows))
    swapped = sum(rank[a] > rank[b] for a, b in ordered)
    climb = sum(abs(middle[a] - middle[b]) for a, b in slots.edges)
    return _CROSSING * crossings + _SWAPPED * swapped, climb


def _heights(slots: nx.DiGraph, rows: Rows, room: dict[Slot, float]) -> dict[Slot, float]:
    """Each slot's y: near the mean of its neighbours, each layer in its order and with room between its slots.

    In a layer the places nearest to those means, by weighted squares and with least distances, are an isotonic
    regression, once the distances are taken off.
    """
    import networkx as nx
    import numpy as np
    from scipy.optimize import isotonic_regression

    offsets = [
        np.array([0.0, *accumulate((room[a] + room[b]) / 2 for a, b in pairwise(row))]) for row in rows
    ]
    y = {slot: float(o - off[-1] / 2) for row, off in zip(rows, offsets) for slot, o in zip(row, off)}
    # A waypoint pulls a waypoint harder, so that long edges run straight.
    pulls = {
        slot: [
            (n, 1.0 if isinstance(slot, int) or isinstance(n, int) else 4.0)
            for n in nx.all_neighbors(slots, slot)
        ]
        for slot in slots
    }
    weights = {slot: sum(pull for _, pull in near) for slot, near in pulls.items()}
    for sweep in range(max(4, min(_SETTLING, 4 * _LARGE // len(slots)))):
        for row, offset in list(zip(rows, offsets))[:: 1 if sweep % 2 else -1]:
            targets = [sum(pull * y[n] for n, pull in pulls[slot]) / weights[slot] for slot in row]
            if len(row) > 1:
                flat = isotonic_regression(targets - offset, weights=[weights[slot] for slot in row]).x
                targets = (flat + offset).tolist()
            y.update(zip(row, targets))
    return y
