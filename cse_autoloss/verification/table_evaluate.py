"""Evaluates a node table on a probe grid: value and derivative of each distinct node, once, group by group.

Nodes live in pools by shape, (rows, classes, width): what moves has one number a grid point, what stands
still one a curve; what has no class axis has one class. Widths are padded to multiples of 32, two vectors of
AVX-512, so that a number does not depend on its neighbours in the batch: vectorised and left-over lanes may
round differently, and a candidate alone must get the figures that it gets in a crowd.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cse_autoloss.operators import EPSILON, OPERATORS, STABLE_OPERATORS
from cse_autoloss.operators.operator import Operator
from cse_autoloss.spaces.curves import ProbeGrid
from cse_autoloss.spaces.random_expressions import symbols
from cse_autoloss.verification.node_table import Group, NodeTable

LANES = 32
BLOCK_BYTES = 1 << 18
"""Working set of one operation: a block of rows and its results stay in the second-level cache."""

_OPERATORS: dict[str, Operator] = {**OPERATORS, **STABLE_OPERATORS}


def keep(table: NodeTable, root: np.ndarray) -> NodeTable:
    """The part of a table below the given rows, which become its roots."""
    need = np.zeros(len(table) + 1, dtype=bool)
    need[root] = True
    for start, stop in zip(table.levels[-2:0:-1], table.levels[:1:-1], strict=True):
        rows = start + np.flatnonzero(need[start:stop])
        need[table.left[rows]] = True
        # Where there is no right argument, -1 marks the spare entry at the end.
        need[table.right[rows]] = True
    need = need[:-1]
    place = np.concatenate(([0], np.cumsum(need))).astype(np.int32)
    groups = tuple(
        Group(g.symbol, int(place[g.start]), int(place[g.stop]), g.constants)
        for g in table.groups
        if place[g.stop] > place[g.start]
    )
    left, right = table.left[need], table.right[need]
    return NodeTable(
        table.signature,
        table.symbol[need],
        np.where(left >= 0, place[left], -1),
        np.where(right >= 0, place[right], -1),
        table.per_class[need],
        table.moves[need],
        table.coupled[need],
        table.reads[need],
        groups,
        tuple(place[list(table.levels)].tolist()),
        place[root],
    )


@dataclass
class _Pool:
    """Values, and slopes where they move, of the nodes of one shape."""

    value: Tensor
    slope: Tensor | None


class TableEvaluator:
    """Evaluates tables on one grid.

    Classes see each other, so that the pools have a class axis, where the grid's inputs have one.
    """

    def __init__(self, grid: ProbeGrid) -> None:
        self.grid = grid
        some = next(iter(grid.inputs.values()))
        self.dtype, self.device = some.dtype, some.device
        self.curves, self.points = grid.shape
        self.classes = max(t.shape[-1] if t.ndim == 2 else 1 for t in grid.inputs.values())
        self.width = self._padded(self.curves * self.points)
        self.still = self._padded(self.curves)
        self._leaves = {name: self._leaf(name) for name in grid.inputs}

    @staticmethod
    def _padded(count: int) -> int:
        return -(-count // LANES) * LANES

    def _leaf(self, name: str) -> tuple[Tensor, Tensor | None]:
        value = self._spread(self.grid.inputs[name])
        if name not in self.grid.tangents:
            return self._per_curve(value), None
        return value, self._spread(self.grid.tangents[name])

    def _spread(self, rows: Tensor) -> Tensor:
        """(K·P,) or (K·P, C) to (C, width)."""
        columns = rows.T if rows.ndim == 2 else rows[None]
        out = torch.zeros(columns.shape[0], self.width, dtype=self.dtype, device=self.device)
        out[:, : columns.shape[1]] = columns
        return out

    def _per_curve(self, spread: Tensor) -> Tensor:
        out = torch.zeros(spread.shape[0], self.still, dtype=self.dtype, device=self.device)
        out[:, : self.curves] = self._by_curve(spread)[..., 0]
        return out

    def _by_curve(self, moving: Tensor) -> Tensor:
        """(…, width) to (…, K, P)."""
        return moving[..., : self.curves * self.points].unflatten(-1, (self.curves, self.points))

    def run(self, table: NodeTable) -> tuple[Tensor, Tensor]:
        """Losses and slopes of the table's roots, (B, K, P) each, summed over the classes. All roots must
        move."""
        classes = np.where(table.per_class, self.classes, 1)
        kind = table.moves * 2 + (classes > 1)
        slot = np.zeros(len(table), dtype=np.int64)
        pools: list[_Pool] = []
        for code in range(4):
            members = np.flatnonzero(kind == code)
            slot[members] = np.arange(len(members))
            shape = (len(members), self.classes if code & 1 else 1, self.width if code & 2 else self.still)
            empty = torch.zeros if self.width != self.curves * self.points else torch.empty
            value = empty(shape, dtype=self.dtype, device=self.device)
            pools.append(
                _Pool(value, empty(shape, dtype=self.dtype, device=self.device) if code & 2 else None)
            )
        names = symbols(table.signature)
        first_group = table.groups[0].start if table.groups else len(table)
        for row in range(first_group):
            self._write_leaf(names[table.symbol[row]], pools[kind[row]], int(slot[row]))
        slots = torch.from_numpy(slot).to(self.device)
        left = slots[torch.from_numpy(table.left.astype(np.int64)).to(self.device)]
        right = slots[torch.from_numpy(table.right.astype(np.int64)).to(self.device)]
        for group in table.groups:
            start = group.start
            target = pools[kind[start]]
            operands = [(pools[kind[table.left[start]]], left, group.constants[0])]
            if len(group.constants) == 2:
                operands.append((pools[kind[table.right[start]]], right, group.constants[1]))
            row_bytes = target.value[0].numel() * target.value.element_size()
            block = max(1, BLOCK_BYTES // row_bytes)
            for begin in range(start, group.stop, block):
                end = min(begin + block, group.stop)
                args, slopes = [], []
                for pool, index, constant in operands:
                    here = index[begin:end]
                    args.append(constant if constant is not None else pool.value.index_select(0, here))
                    moved = constant is None and pool.slope is not None
                    slopes.append(
                        pool.slope.index_select(0, here) if moved and pool.slope is not None else None
                    )
                to = int(slot[begin])
                self._apply(group.symbol, args, slopes, target, to, to + end - begin)
        return self._roots(table, pools, kind, slots)

    def _write_leaf(self, symbol: str, pool: _Pool, slot: int) -> None:
        if symbol in self._leaves:
            value, slope = self._leaves[symbol]
            pool.value[slot] = value
            if slope is not None and pool.slope is not None:
                pool.slope[slot] = slope
        else:
            pool.value[slot] = float(symbol)

    def _roots(
        self, table: NodeTable, pools: list[_Pool], kind: np.ndarray, slots: Tensor
    ) -> tuple[Tensor, Tensor]:
        count = len(table.root)
        shape = (count, self.curves, self.points)
        value = torch.empty(shape, dtype=self.dtype, device=self.device)
        slope = torch.empty(shape, dtype=self.dtype, device=self.device)
        kinds = kind[table.root]
        for code in (2, 3):
            rows = torch.from_numpy(np.flatnonzero(kinds == code)).to(self.device)
            if rows.numel() == 0:
                continue
            index = slots[torch.from_numpy(table.root.astype(np.int64)).to(self.device)[rows]]
            pool = pools[code]
            assert pool.slope is not None
            value[rows] = self._by_curve(_class_sum(pool.value[index])).squeeze(1)
            slope[rows] = self._by_curve(_class_sum(pool.slope[index])).squeeze(1)
        return value, slope

    def _apply(
        self,
        symbol: str,
        args: list[Tensor | float],
        slopes: list[Tensor | None],
        target: _Pool,
        start: int,
        stop: int,
    ) -> None:
        """Run one operator on a block of rows and store value and slope."""
        out = target.value[start:stop]
        moves = target.slope is not None
        if len(args) == 1:
            value, slope = _unary(symbol, self._tensor(args[0], out), slopes[0])
            out.copy_(value)
            if moves and slope is not None and target.slope is not None:
                target.slope[start:stop] = slope
            return
        first, second = args
        if isinstance(first, float) and isinstance(second, float):
            first = self._tensor(first, out)
        a: Tensor | float = first if isinstance(first, float) else self._matched(first, moves)
        b: Tensor | float = second if isinstance(second, float) else self._matched(second, moves)
        slope_a, slope_b = (None if s is None else self._matched(s, moves) for s in slopes)
        value, slope = _binary(symbol, a, slope_a, b, slope_b)
        view = self._by_curve(out) if moves else out
        view.copy_(value)
        if moves and slope is not None and target.slope is not None:
            self._by_curve(target.slope[start:stop]).copy_(slope)

    def _tensor(self, arg: Tensor | float, like: Tensor) -> Tensor:
        if isinstance(arg, float):
            return torch.full((len(like), 1, like.shape[2]), arg, dtype=self.dtype, device=self.device)
        return arg

    def _matched(self, arg: Tensor, moves: bool) -> Tensor:
        """An argument in a shape that broadcasts with others: (m, C, K, P) beside (m, C, K, 1)."""
        if not moves:
            return arg
        if arg.shape[-1] == self.width:
            return self._by_curve(arg)
        return arg[..., : self.curves, None]


def _class_sum(a: Tensor) -> Tensor:
    """Sum over axis 1, kept, in a fixed order: the same digits in every batch."""
    total = a[:, 0:1]
    for index in range(1, a.shape[1]):
        total = total + a[:, index : index + 1]
    return total


def _unary(symbol: str, a: Tensor, slope: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Value and slope of an operator with one argument (m, C, width)."""
    if symbol == "Neg":
        return -a, None if slope is None else -slope
    if symbol in ("Softmax", "LogSoftmax"):
        shifted = a - a.amax(1, keepdim=True)
        powers = shifted.exp()
        total = _class_sum(powers)
        share = powers / total
        value = share if symbol == "Softmax" else shifted - total.log()
        if slope is None:
            return value, None
        drift = slope - _class_sum(share * slope)
        return value, value * drift if symbol == "Softmax" else drift
    operator = _OPERATORS[symbol]
    value = operator.torch(a)
    if slope is None:
        return value, None
    assert operator.derivative is not None
    return value, operator.derivative(value, a)[0].mul_(slope)


def _binary(
    symbol: str, a: Tensor | float, slope_a: Tensor | None, b: Tensor | float, slope_b: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Value and slope of an operator with two arguments; an argument that stands still has no slope."""
    if symbol == "Add":
        return a + b, _total(slope_a, slope_b)  # type: ignore[return-value]
    if symbol == "Sub":
        return a - b, _total(slope_a, None if slope_b is None else -slope_b)  # type: ignore[return-value]
    if symbol == "Mul":
        first = None if slope_a is None else slope_a * b
        second = None if slope_b is None else slope_b * a
        return a * b, _total(first, second)  # type: ignore[return-value]
    if symbol == "Div":
        below = b + EPSILON
        value = a / below
        first = None if slope_a is None else slope_a / below
        second = None if slope_b is None else value * slope_b / below
        if second is None:
            return value, first  # type: ignore[return-value]
        return value, -second if first is None else first - second  # type: ignore[return-value]
    if symbol == "Dot":
        first = None if slope_a is None else _class_sum(slope_a * b)
        second = None if slope_b is None else _class_sum(slope_b * a)
        return _class_sum(a * b), _total(first, second)  # type: ignore[arg-type]
    raise NotImplementedError(f"no batched form of the operator {symbol}")


def _total(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
