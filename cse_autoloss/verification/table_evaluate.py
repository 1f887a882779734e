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

from cse_autoloss.operators import ALL_OPERATORS
from cse_autoloss.operators.derivatives import dual
from cse_autoloss.operators.table import class_sum
from cse_autoloss.spaces.curves import ProbeGrid
from cse_autoloss.spaces.random_expressions import symbols
from cse_autoloss.verification.node_table import Group, NodeTable

LANES = 32
BLOCK_BYTES = 1 << 18
"""Working set of one operation: a block of rows and its results stay in the second-level cache."""


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
    """Values, and slopes where they move, of the nodes of one shape; `…_by_curve` are views of them, (…, K, P)."""

    value: Tensor
    slope: Tensor | None = None
    value_by_curve: Tensor | None = None
    slope_by_curve: Tensor | None = None


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
        used = self.curves * self.points
        if moving.shape[-1] > used:
            moving = moving.narrow(-1, 0, used)
        return moving.view(*moving.shape[:-1], self.curves, self.points)

    def run(self, table: NodeTable) -> tuple[Tensor, Tensor]:
        """Losses and slopes of the table's roots, (B, K, P) each, summed over the classes. A root that stands
        still has one value a curve, and no slope."""
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
            if code & 2:
                slope = empty(shape, dtype=self.dtype, device=self.device)
                pools.append(_Pool(value, slope, self._by_curve(value), self._by_curve(slope)))
            else:
                pools.append(_Pool(value))
        first_group = table.groups[0].start if table.groups else len(table)
        for row in range(first_group):
            self._write_leaf(symbols(table.signature)[table.symbol[row]], pools[kind[row]], int(slot[row]))
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
        slope = torch.zeros(shape, dtype=self.dtype, device=self.device)
        kinds = kind[table.root]
        for code in range(4):
            rows = torch.from_numpy(np.flatnonzero(kinds == code)).to(self.device)
            if rows.numel() == 0:
                continue
            index = slots[torch.from_numpy(table.root.astype(np.int64)).to(self.device)[rows]]
            pool = pools[code]
            if pool.slope is None:
                value[rows] = class_sum(pool.value[index]).squeeze(1)[:, : self.curves, None]
                continue
            value[rows] = self._by_curve(class_sum(pool.value[index])).squeeze(1)
            slope[rows] = self._by_curve(class_sum(pool.slope[index])).squeeze(1)
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
        operator = ALL_OPERATORS[symbol]
        if args[0].__class__ is float and args[-1].__class__ is float:
            args[0] = self._tensor(args[0], target.value[start:stop])
        if not operator.takes_numbers and operator.dual is None:
            args = [self._tensor(arg, None) for arg in args]
        to_value, to_slope = target.value, target.slope
        # One argument has one shape; two may be of a curve and of its points.
        if len(args) == 2 and target.value_by_curve is not None:
            to_value, to_slope = target.value_by_curve, target.slope_by_curve
            args = [self._matched(arg) for arg in args]
            slopes = [None if slope is None else self._by_curve(slope) for slope in slopes]
        value, slope = dual(operator, args, slopes)
        to_value[start:stop] = value
        if to_slope is not None and slope is not None:
            to_slope[start:stop] = slope

    def _tensor(self, arg: Tensor | float, like: Tensor | None) -> Tensor:
        """A number as a tensor: of as many rows as `like`, or of no dimension."""
        if not isinstance(arg, float):
            return arg
        shape = () if like is None else (len(like), 1, like.shape[2])
        return torch.full(shape, arg, dtype=self.dtype, device=self.device)

    def _matched(self, arg: Tensor | float) -> Tensor | float:
        """An argument in a shape that broadcasts with others: (m, C, K, P) beside (m, C, K, 1)."""
        if isinstance(arg, float) or arg.dim() == 0:
            return arg
        return self._by_curve(arg) if arg.shape[-1] == self.width else arg[..., : self.curves, None]
