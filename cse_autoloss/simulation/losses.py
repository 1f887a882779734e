"""Values and gradients of a batch of losses at once, each on its own inputs.

The nodes of all candidates are put in order by height and operator, so that each group runs as one tensor
operation; gradients come back group by group in the opposite order. A batch of 64 losses takes a hundred
operations in place of thousands, and no row ever meets another candidate's: what overflows in one leaves the
others' digits alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cse_autoloss.graph import LossGraph, stabilize
from cse_autoloss.operators import ALL_OPERATORS, CONSTANTS, Operator
from cse_autoloss.operators.derivatives import pull

_Place = tuple[int, int]
"""A node: the candidate's number and the node's index in its graph."""


@dataclass(frozen=True)
class _Group:
    """Rows `start` to `stop` of the pool: one operator on arguments of the same sorts.

    Attributes:
        operator: of the table.
        args: for each argument the rows that it is read from.
        moves: for each argument whether it needs a gradient.
        slots: for each argument the first of its contributions, where it moves.
        users: k-th entry: for the rows with more than k users, which come first, the k-th user's contribution.
    """

    operator: Operator
    start: int
    stop: int
    args: tuple[Tensor, ...]
    moves: tuple[bool, ...]
    slots: tuple[int, ...]
    users: tuple[Tensor, ...]


class LossBatch:
    """B losses of one signature side by side.

    A value is (S, K), samples and classes, K = 1 for box losses; what has no class axis is repeated over
    the classes. Values of all nodes are rows of one pool. What a node passes on to an argument in the
    backward pass is a row of another, its contribution.
    """

    def __init__(self, graphs: Sequence[LossGraph], moving: Sequence[str], device: torch.device) -> None:
        """
        Args:
            graphs: of one signature.
            moving: the variables that gradients are wanted for.
            device: of the inputs.
        """
        plan = _Plan([stabilize(graph) for graph in graphs], moving)
        self.count = len(graphs)
        self._leaves = plan.leaves
        self._constants = {plan.rows[symbol]: float(symbol) for symbol in CONSTANTS}
        self._sizes = plan.size, plan.contributions

        def tensor(values: Sequence[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        self._root = tensor(plan.roots)
        self._groups = tuple(
            _Group(
                ALL_OPERATORS[symbol],
                start,
                stop,
                tuple(tensor(rows) for rows in args),
                moves,
                slots,
                tuple(tensor(users) for users in plan.users(start, stop)) if any(moves) else (),
            )
            for symbol, start, stop, args, moves, slots in plan.groups
        )
        self._back = {}
        for name in moving:
            start, stop = plan.leaves[name]
            order = sorted(range(start, stop), key=lambda row: -len(plan.readers[row]))
            users = tuple(tensor(u) for u in plan.users_of(order))
            place = tensor(sorted(range(len(order)), key=lambda i: order[i]))
            self._back[name] = users, place
        self._pools: tuple[Tensor, Tensor] | None = None

    def value(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Losses (B, S, K).

        Args:
            inputs: for each of the signature's variables (B, S, K), or (1, S, K) where all candidates share it.
                The variables of `moving` are never shared.
        """
        pool, _ = self._room(inputs)
        for name, (start, stop) in self._leaves.items():
            pool[start:stop] = inputs[name]
        for group in self._groups:
            args = [pool.index_select(0, rows) for rows in group.args]
            pool[group.start : group.stop] = group.operator.function(*args)
        return pool.index_select(0, self._root)

    def gradients(self, seed: Tensor) -> dict[str, Tensor]:
        """After `value`: Σ seed · d(loss)/d(variable) for each moving variable, (B, S, K) each.

        Args:
            seed: (B, S, K) weights of the losses; where the loss has no class axis, all but one class have 0.
        """
        assert self._pools is not None
        pool, passed = self._pools
        passed[: self.count] = seed
        for group in reversed(self._groups):
            if not group.users:
                continue
            own = _gathered(passed, group.users)
            args = [pool.index_select(0, rows) for rows in group.args]
            parts = pull(group.operator, pool[group.start : group.stop], args, own)
            for part, moves, slot in zip(parts, group.moves, group.slots, strict=True):
                if moves:
                    passed[slot : slot + len(own)] = part
        found = {}
        for name, (users, place) in self._back.items():
            gradient = passed.new_zeros(len(place), *passed.shape[1:])
            if users:
                gradient[: len(users[0])] = _gathered(passed, users)
            found[name] = gradient.index_select(0, place)
        return found

    def _room(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        some = next(iter(inputs.values()))
        shape = some.shape[1:]
        if self._pools is None or self._pools[0].shape[1:] != shape or self._pools[0].dtype != some.dtype:
            rows, contributions = self._sizes
            self._pools = some.new_empty(rows, *shape), some.new_empty(contributions, *shape)
            for row, number in self._constants.items():
                self._pools[0][row] = number
        return self._pools


def _gathered(passed: Tensor, users: Sequence[Tensor]) -> Tensor:
    """The sum of each row's contributions, in a fixed order."""
    total = passed.index_select(0, users[0])
    for more in users[1:]:
        total[: len(more)] += passed.index_select(0, more)
    return total


class _Plan:
    """Where everything lies: rows of nodes and of contributions, groups in order of evaluation."""

    def __init__(self, graphs: Sequence[LossGraph], moving: Sequence[str]) -> None:
        self._graphs = graphs
        variables = graphs[0].signature.variables
        self.rows: dict[str, int] = {}
        """First row of each variable, row of each constant."""
        self.leaves: dict[str, tuple[int, int]] = {}
        """Rows of each variable: one a candidate, whether it reads it or not."""
        self.size = 0
        for name in variables:
            self.rows[name] = self.size
            self.leaves[name] = self.size, self.size + len(graphs)
            self.size += len(graphs)
        for symbol in CONSTANTS:
            self.rows[symbol] = self.size
            self.size += 1
        self._row_of: dict[_Place, int] = {}
        self._moves: dict[_Place, bool] = {}
        layers = self._layers(frozenset(moving))
        self.readers: list[list[int]] = []
        self.groups: list[tuple[str, int, int, list[list[int]], tuple[bool, ...], tuple[int, ...]]] = []
        self._lay_out(layers)
        self.roots = [self._row_of[number, graph.root] for number, graph in enumerate(graphs)]

    def _layers(self, moving: frozenset[str]) -> dict[tuple[int, str, tuple[bool, ...]], list[_Place]]:
        """The operators' nodes by height, symbol and which arguments move; leaves get their rows."""
        layers: dict[tuple[int, str, tuple[bool, ...]], list[_Place]] = {}
        self._fan: dict[_Place, int] = {}
        for number, graph in enumerate(self._graphs):
            needed = {graph.root}
            for index in range(graph.root, -1, -1):
                if index in needed:
                    needed.update(graph.nodes[index].args)
            heights: dict[int, int] = {}
            for index in sorted(needed):
                symbol, args = graph.nodes[index]
                place = number, index
                self._fan[place] = index == graph.root
                if not args:
                    heights[index] = 0
                    self._row_of[place] = self.rows[symbol] + (number if symbol in self.leaves else 0)
                    self._moves[place] = symbol in moving
                    continue
                heights[index] = 1 + max(heights[a] for a in args)
                moves = tuple(self._moves[number, a] for a in args)
                self._moves[place] = any(moves)
                for a in args:
                    self._fan[number, a] += any(moves)
                layers.setdefault((heights[index], symbol, moves), []).append(place)
        return layers

    def _lay_out(self, layers: dict[tuple[int, str, tuple[bool, ...]], list[_Place]]) -> None:
        """Give rows to nodes, those with most users first, and to their contributions."""
        self.contributions = len(self._graphs)
        self.readers = [[] for _ in range(self.size)]
        for key in sorted(layers):
            _, symbol, moves = key
            places = sorted(layers[key], key=lambda place: (-self._fan[place], place))
            start = self.size
            args: list[list[int]] = [[] for _ in moves]
            for place in places:
                number, index = place
                self._row_of[place] = self.size
                self.size += 1
                for rows, a in zip(args, self._graphs[number].nodes[index].args, strict=True):
                    rows.append(self._row_of[number, a])
            self.readers += [[] for _ in places]
            slots = []
            for rows, moved in zip(args, moves, strict=True):
                slots.append(self.contributions)
                if moved:
                    for offset, row in enumerate(rows):
                        self.readers[row].append(self.contributions + offset)
                    self.contributions += len(rows)
            self.groups.append((symbol, start, self.size, args, moves, tuple(slots)))
        for number, graph in enumerate(self._graphs):
            self.readers[self._row_of[number, graph.root]].append(number)

    def users(self, start: int, stop: int) -> list[list[int]]:
        """As `users_of`, for rows that stand in order already."""
        return self.users_of(list(range(start, stop)))

    def users_of(self, rows: Sequence[int]) -> list[list[int]]:
        """k-th entry: the k-th contribution to each row that has one; rows stand by falling number of users."""
        readers = [self.readers[row] for row in rows]
        most = max((len(r) for r in readers), default=0)
        return [[r[k] for r in readers if len(r) > k] for k in range(most)]
