"""The node table: a whole population hash-consed into one DAG, as arrays.

Candidates of a generation share most of their subexpressions. In the table each is one row, whatever the
number
of its users, and rows stand in groups that run as one tensor operation each: same height, operator and
shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.graph import Kind, LossGraph, Signature, stabilize
from cse_autoloss.graph.rewrite import rules_for
from cse_autoloss.operators import ALL_OPERATORS, CONSTANTS
from cse_autoloss.operators.terms import Term, build
from cse_autoloss.spaces.random_expressions import CODE, SYMBOLS, Forest, Ints

Flags = NDArray[np.bool_]

_COMMUTES = np.array([s in ALL_OPERATORS and ALL_OPERATORS[s].commutative for s in SYMBOLS])
_SUMS = np.array([s in ALL_OPERATORS and ALL_OPERATORS[s].shape == "sum" for s in SYMBOLS])
_COUPLES = np.array([s in ALL_OPERATORS and ALL_OPERATORS[s].shape == "softmax" for s in SYMBOLS])
_IS_CONSTANT = np.array([s in CONSTANTS for s in SYMBOLS])
_BITS = 24
"""Of a packed key that an argument's row takes: a table has at most 16 million rows."""


@dataclass(frozen=True)
class Group:
    """Rows `start` to `stop` of a table: one operator on arguments of the same shapes.

    Attributes:
        constants: for each argument its value where it is a bare constant, else None.
    """

    symbol: str
    start: int
    stop: int
    constants: tuple[float | None, ...]


@dataclass(frozen=True)
class NodeTable:
    """n distinct nodes, arguments before users, and B candidates' roots among them.

    Attributes:
        signature: the branch.
        symbol, left, right: (n,) as in a `Forest`.
        per_class: (n,) whether the value has one number for each class.
        moves: (n,) whether it depends on a moving variable: X, or any of the box branch's.
        coupled: (n,) whether a Softmax lies below.
        reads: (n,) bit mask of the variables that it reads, in the signature's order.
        groups: the operators in order of evaluation; leaves come first and are in none.
        levels: first row of each height, and the number of rows.
        root: (B,) row of each candidate's root.
    """

    signature: Signature
    symbol: Ints
    left: Ints
    right: Ints
    per_class: Flags
    moves: Flags
    coupled: Flags
    reads: Ints
    groups: tuple[Group, ...]
    levels: tuple[int, ...]
    root: Ints

    def __len__(self) -> int:
        return len(self.symbol)


def intern(
    signature: Signature, symbol: Ints, left: Ints, right: Ints, root: Ints, height: Ints
) -> NodeTable:
    """Hash-cons the nodes below the roots, height by height: equal symbols on equal arguments become one row.

    Operands of commutative operators are put in order first. Within a height, rows are sorted by operator and
    the shapes of the arguments, so that the groups are runs of rows.
    """
    count = len(symbol)
    row_of = np.full(count, -1, dtype=np.int64)
    order = np.argsort(height, kind="stable")
    ends = np.searchsorted(height[order], np.arange(int(height.max(initial=0)) + 2))
    names = tuple(signature.variables)
    bit = {CODE[name]: 1 << place for place, name in enumerate(names)}
    moving = {CODE[name] for name in (names if signature.name == "reg" else ("X",))}
    parts: dict[str, list[np.ndarray]] = {key: [] for key in ("symbol", "left", "right", "flags", "reads")}
    groups: list[Group] = []
    # A row's flags: 1 per class, 2 moves, 4 coupled; in 8 and 16 the number of a bare constant.
    flags = np.zeros(0, dtype=np.int64)
    reads = np.zeros(0, dtype=np.int64)
    size = 0
    levels = []
    for level in range(len(ends) - 1):
        levels.append(size)
        nodes = order[ends[level] : ends[level + 1]]
        code = symbol[nodes].astype(np.int64)
        if level == 0:
            made_symbol, inverse = np.unique(code, return_inverse=True)
            made_left = made_right = np.full(len(made_symbol), -1)
            made_reads = np.array([bit.get(int(c), 0) for c in made_symbol], dtype=np.int64)
            made_flags = np.array(
                [_leaf_flags(signature, int(c), moving) for c in made_symbol], dtype=np.int64
            )
        else:
            a, b = row_of[left[nodes]], np.where(right[nodes] >= 0, row_of[right[nodes]], -1)
            swap = _COMMUTES[code] & (b < a)
            a, b = np.where(swap, b, a), np.where(swap, a, b)
            # Sorted by operator and shapes first, so that each group is one run.
            shapes = (flags[a] & 27) << 5 | np.where(b >= 0, flags[b] & 27, 0)
            head = code << 10 | shapes
            key = (a << _BITS) | (b + 1)
            (made_head, made_key), inverse = _unique_pairs(head, key)
            made_symbol = made_head >> 10
            made_left, made_right = made_key >> _BITS, (made_key & ((1 << _BITS) - 1)) - 1
            has_right = made_right >= 0
            below = flags[made_left] | np.where(has_right, flags[made_right], 0)
            made_flags = below & 6 | np.where(_SUMS[made_symbol], 0, below & 1)
            made_flags |= np.where(_COUPLES[made_symbol], 4, 0)
            made_reads = reads[made_left] | np.where(has_right, reads[made_right], 0)
            starts = np.flatnonzero(np.diff(made_head, prepend=-1))
            stops = [*starts[1:].tolist(), len(made_head)]
            heads, rights = made_head[starts].tolist(), made_right[starts].tolist()
            for start, stop, first, last in zip(starts.tolist(), stops, heads, rights, strict=True):
                groups.append(_group(first, last >= 0, size + start, size + stop))
        row_of[nodes] = size + inverse
        flags = np.concatenate((flags, made_flags))
        reads = np.concatenate((reads, made_reads))
        for name, made in (("symbol", made_symbol), ("left", made_left), ("right", made_right)):
            parts[name].append(made.astype(np.int32))
        size += len(made_symbol)
    joined = {name: np.concatenate(parts[name]) for name in ("symbol", "left", "right")}
    return NodeTable(
        signature,
        joined["symbol"],
        joined["left"],
        joined["right"],
        (flags & 1) > 0,
        (flags & 2) > 0,
        (flags & 4) > 0,
        reads.astype(np.int32),
        tuple(groups),
        (*levels, size),
        row_of[root].astype(np.int32),
    )


def _unique_pairs(head: np.ndarray, key: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Distinct (head, key) pairs in order, and which of them each pair is."""
    order = np.lexsort((key, head))
    head_sorted, key_sorted = head[order], key[order]
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (head_sorted[1:] != head_sorted[:-1]) | (key_sorted[1:] != key_sorted[:-1])
    inverse = np.empty(len(order), dtype=np.int64)
    inverse[order] = np.cumsum(fresh) - 1
    return (head_sorted[fresh], key_sorted[fresh]), inverse


def _leaf_flags(signature: Signature, code: int, moving: set[int]) -> int:
    symbol = SYMBOLS[code]
    if _IS_CONSTANT[code]:
        return int(symbol) << 3
    return int(signature.kind_of(symbol) is Kind.PER_CLASS) | (2 if code in moving else 0)


def _group(head: int, binary: bool, start: int, stop: int) -> Group:
    numbers = ((head >> 8) & 3, (head >> 3) & 3) if binary else ((head >> 8) & 3,)
    return Group(SYMBOLS[head >> 10], start, stop, tuple(float(n) if n else None for n in numbers))


@dataclass(frozen=True)
class StableForest:
    """A forest in stable form, ready to be interned: nodes, roots, and the height of each node."""

    symbol: Ints
    left: Ints
    right: Ints
    root: Ints
    height: Ints


def stable_forest(forest: Forest) -> StableForest:
    """The stable rewrites of `graph.rewrite`, on all expressions of a forest at once, height by height."""
    made = _Rewriter(forest)
    now = np.arange(len(forest.symbol), dtype=np.int32)
    height = heights(forest)
    order = np.argsort(height, kind="stable")
    ends = np.searchsorted(height[order], np.arange(int(height.max(initial=0)) + 2))
    for level in range(1, len(ends) - 1):
        nodes = order[ends[level] : ends[level + 1]].astype(np.int32)
        a = now[forest.left[nodes]]
        b = np.where(forest.right[nodes] >= 0, now[forest.right[nodes]], -1)
        made.write(nodes, forest.symbol[nodes], a, b)
        for name in made.rules:
            rows = np.flatnonzero(forest.symbol[nodes] == CODE[name])
            now[nodes[rows]] = made.settle(nodes[rows], name, a[rows], b[rows])
    count = made.count
    return StableForest(
        made.symbol[:count], made.left[:count], made.right[:count], now[forest.root], made.height[:count]
    )


def heights(forest: Forest) -> Ints:
    """(n,) longest chain of operators below each node."""
    height = np.where(forest.left < 0, 0, -1).astype(np.int32)
    open_nodes = np.flatnonzero(height < 0)
    while len(open_nodes):
        a = height[forest.left[open_nodes]]
        right = forest.right[open_nodes]
        b = np.where(right >= 0, height[right], 0)
        ready = (a >= 0) & (b >= 0)
        height[open_nodes[ready]] = 1 + np.maximum(a, b)[ready]
        open_nodes = open_nodes[~ready]
    return height


class _Rewriter:
    """A growing list of nodes, and the rules of the table run on many of them at a time."""

    def __init__(self, forest: Forest) -> None:
        self.rules = rules_for(forest.signature.operators)
        self.count = len(forest.symbol)
        self.symbol, self.left, self.right = forest.symbol.copy(), forest.left.copy(), forest.right.copy()
        self.height = np.zeros(self.count, dtype=np.int32)

    def write(self, slots: Ints, code: Ints | int, a: Ints, b: Ints | int) -> None:
        """Put operators on arguments `a` and `b` (-1: none) in the slots."""
        self.symbol[slots], self.left[slots], self.right[slots] = code, a, b
        self.height[slots] = 1 + np.maximum(self.height[a], np.where(b >= 0, self.height[b], -1))

    def settle(self, slots: Ints, name: str, a: Ints, b: Ints) -> Ints:
        """The nodes that stand for the operator on those arguments: the slots, rewritten where a rule fits."""
        out = slots.copy()
        rest = np.arange(len(slots))
        for pattern, result in self.rules.get(name, ()):
            hit, letters = self._match_args(name, pattern, a[rest], b[rest])
            rows, rest = rest[hit], rest[~hit]
            found = {letter: nodes[hit] for letter, nodes in letters.items()}

            def number(value: float, size: int = len(rows)) -> Ints:
                leaves = self._grow(size)
                self.symbol[leaves] = CODE[f"{value:g}"]
                return leaves

            if isinstance(result, tuple):
                made = [build(each, found, self._add, number) for each in result[1]]
                self.write(slots[rows], CODE[result[0]], made[0], made[1] if len(made) > 1 else -1)
            else:
                out[rows] = build(result, found, self._add, number)
        return out

    def _add(self, name: str, a: Ints, b: Ints | None = None) -> Ints:
        second = np.full_like(a, -1) if b is None else b
        slots = self._grow(len(a))
        self.write(slots, CODE[name], a, second)
        return self.settle(slots, name, a, second)

    def _grow(self, size: int) -> Ints:
        """Fresh slots, leaves as yet."""
        start, self.count = self.count, self.count + size
        missing = self.count - len(self.symbol)
        if missing > 0:
            spare = np.full(max(missing, len(self.symbol) // 4), -1, dtype=np.int32)
            self.left, self.right = np.concatenate((self.left, spare)), np.concatenate((self.right, spare))
            self.symbol = np.concatenate((self.symbol, spare))
            self.height = np.concatenate((self.height, np.zeros_like(spare)))
        return np.arange(start, self.count, dtype=np.int32)

    def _match(self, pattern: Term, at: Ints) -> tuple[Flags, dict[str, Ints]]:
        """Where the pattern fits the nodes, and what its letters stand for there."""
        if isinstance(pattern, str):
            return np.ones(len(at), dtype=bool), {pattern: at}
        name = pattern[0] if isinstance(pattern, tuple) else f"{pattern:g}"
        hit = self.symbol[at] == CODE[name]
        if not isinstance(pattern, tuple):
            return hit, {}
        rows = np.flatnonzero(hit)
        hit[rows], letters = self._match_args(name, pattern[1], self.left[at[rows]], self.right[at[rows]])
        whole = {letter: np.zeros_like(at) for letter in letters}
        for letter, nodes in letters.items():
            whole[letter][rows] = nodes
        return hit, whole

    def _match_args(
        self, name: str, pattern: tuple[Term, ...], a: Ints, b: Ints
    ) -> tuple[Flags, dict[str, Ints]]:
        hit, letters = self._match(pattern[0], a)
        if len(pattern) == 1:
            return hit, letters
        second, more = self._match(pattern[1], b)
        hit, letters = hit & second, letters | more
        if ALL_OPERATORS[name].commutative:
            first, swapped = self._match(pattern[0], b)
            second, more = self._match(pattern[1], a)
            for letter, nodes in (swapped | more).items():
                letters[letter] = np.where(hit, letters[letter], nodes)
            hit = hit | (first & second)
        return hit, letters


def make_table(forest: Forest) -> NodeTable:
    """The table of a forest: stable rewrites, then hash-consing."""
    stable = stable_forest(forest)
    return intern(forest.signature, stable.symbol, stable.left, stable.right, stable.root, stable.height)


def table_of_graph(graph: LossGraph) -> NodeTable:
    """The table of one candidate: its stable form is hash-consed already, so each node is a row and a
    group."""
    stable = stabilize(graph)
    signature = graph.signature
    bit = {name: 1 << place for place, name in enumerate(signature.variables)}
    moving = set(bit) if signature.name == "reg" else {"X"}
    # Leaves first, as in every table.
    order = sorted(range(len(stable.nodes)), key=lambda index: bool(stable.nodes[index].args))
    place = {old: new for new, old in enumerate(order)}
    names: list[str] = []
    arguments: list[tuple[int, ...]] = []
    moves: list[bool] = []
    coupled: list[bool] = []
    reads: list[int] = []
    groups: list[Group] = []
    for row, old in enumerate(order):
        name, old_args = stable.nodes[old]
        args = tuple(place[a] for a in old_args)
        if args:
            numbers = tuple(float(names[a]) if names[a] in CONSTANTS else None for a in args)
            groups.append(Group(name, row, row + 1, numbers))
        names.append(name)
        arguments.append(args)
        moves.append(name in moving or any(moves[a] for a in args))
        coupled.append(
            bool(args) and (ALL_OPERATORS[name].shape == "softmax" or any(coupled[a] for a in args))
        )
        reads.append(reduce(or_, (reads[a] for a in args), bit.get(name, 0)))
    return NodeTable(
        signature,
        np.array([CODE[name] for name in names], dtype=np.int32),
        np.array([args[0] if args else -1 for args in arguments], dtype=np.int32),
        np.array([args[1] if len(args) > 1 else -1 for args in arguments], dtype=np.int32),
        np.array([stable.kinds[old] is Kind.PER_CLASS for old in order]),
        np.array(moves),
        np.array(coupled),
        np.array(reads, dtype=np.int32),
        tuple(groups),
        tuple(range(len(order) + 1)),
        np.array([place[len(order) - 1]], dtype=np.int32),
    )
