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
from cse_autoloss.operators import CONSTANTS, OPERATORS, STABLE_OPERATORS
from cse_autoloss.spaces.random_expressions import CODE, SYMBOLS, Forest, Ints, codes, symbols

Flags = NDArray[np.bool_]

_OPERATORS = {**OPERATORS, **STABLE_OPERATORS}
_COMMUTES = np.array([s in _OPERATORS and _OPERATORS[s].commutative for s in SYMBOLS])
_IS_DOT = np.array([s in _OPERATORS and _OPERATORS[s].shape == "dot" for s in SYMBOLS])
_IS_SOFTMAX = np.array([s in _OPERATORS and _OPERATORS[s].shape == "softmax" for s in SYMBOLS])
_IS_CONSTANT = np.array([s in ("1", "2", "3") for s in SYMBOLS])
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
        signature: of the candidates.
        symbol, left, right: (n,) as in a `Forest`.
        per_class: (n,) whether the value has one number for each class.
        moves: (n,) whether it depends on an input that training moves.
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
    code_of = codes(signature)
    bit = {code_of[name]: 1 << place for place, name in enumerate(signature.variables)}
    moving = {code_of[name] for name in signature.moving}
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
            made_flags = below & 6 | np.where(_IS_DOT[made_symbol], 0, below & 1)
            made_flags |= np.where(_IS_SOFTMAX[made_symbol], 4, 0)
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
    symbol = symbols(signature)[code]
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
    """The stable rewrites of `graph.rewrite`, on all expressions of a forest at once."""
    height = heights(forest)
    count = len(forest.symbol)
    spare = int((forest.symbol == CODE["Add"]).sum() + (forest.symbol == CODE["Sub"]).sum())
    symbol = np.concatenate((forest.symbol, np.zeros(spare, dtype=np.int32)))
    left = np.concatenate((forest.left, np.full(spare, -1, dtype=np.int32)))
    right = np.concatenate((forest.right, np.full(spare, -1, dtype=np.int32)))
    tall = np.zeros(count + spare, dtype=np.int32)
    now = np.arange(count, dtype=np.int32)
    allowed = set(forest.signature.operators)
    order = np.argsort(height, kind="stable")
    ends = np.searchsorted(height[order], np.arange(int(height.max(initial=0)) + 2))
    for level in range(1, len(ends) - 1):
        nodes = order[ends[level] : ends[level + 1]].astype(np.int32)
        code = forest.symbol[nodes]
        a = now[forest.left[nodes]]
        b = np.where(forest.right[nodes] >= 0, now[forest.right[nodes]], -1)
        left[nodes], right[nodes] = a, b
        count = _rewrite(nodes, code, a, b, (symbol, left, right, tall), now, count, allowed)
        tall[nodes] = 1 + np.maximum(tall[left[nodes]], np.where(right[nodes] >= 0, tall[right[nodes]], -1))
    return StableForest(symbol[:count], left[:count], right[:count], now[forest.root], tall[:count])


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


def _rewrite(
    nodes: np.ndarray,
    code: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    arrays: tuple[Ints, Ints, Ints, Ints],
    now: Ints,
    count: int,
    allowed: set[str],
) -> int:
    """Rewrite the nodes of one height in place; the count of nodes with those that were added."""
    symbol, left, right, tall = arrays

    def become(where: np.ndarray, name: str, argument: np.ndarray) -> None:
        symbol[nodes[where]] = CODE[name]
        left[nodes[where]] = argument
        right[nodes[where]] = -1

    one, neg = CODE["1"], CODE["Neg"]
    # 1 − Sig(v) and 1 − Serf(v), as Sub(1, ·) or as Add of 1 and Neg(·).
    summed = code == CODE["Add"]
    other = np.where(symbol[a] == one, b, np.where((b >= 0) & (symbol[b] == one), a, -1))
    taken = np.where(summed & (other >= 0) & (symbol[other] == neg), left[other], -1)
    taken = np.where((code == CODE["Sub"]) & (symbol[a] == one), b, taken)
    mirrored = np.flatnonzero((taken >= 0) & (symbol[taken] == CODE["Sig"]))
    inner = left[taken[mirrored]]
    is_neg = symbol[inner] == neg
    fresh = count + np.arange(int((~is_neg).sum()), dtype=np.int32)
    symbol[fresh], left[fresh] = neg, inner[~is_neg]
    tall[fresh] = tall[inner[~is_neg]] + 1
    argument = left[inner]
    argument[~is_neg] = fresh
    become(mirrored, "Sig", argument)
    if "Erfc" in allowed:
        mirrored = np.flatnonzero((taken >= 0) & (symbol[taken] == CODE["Serf"]))
        become(mirrored, "Erfc", left[taken[mirrored]])
    # Neg(Neg(v)): users of the node see v.
    double = (code == neg) & (symbol[a] == neg)
    now[nodes[double]] = left[a[double]]

    logs = code == CODE["Log"]
    for name, stable in (("Softmax", "LogSoftmax"), ("Sig", "LogSig")):
        hit = np.flatnonzero(logs & (symbol[a] == CODE[name]))
        become(hit, stable, left[a[hit]])
    if "Softplus" in allowed:
        over = logs & (symbol[a] == CODE["Add"])
        x, y = left[a], right[a]
        other = np.where(symbol[x] == one, y, np.where(symbol[y] == one, x, -1))
        hit = np.flatnonzero(over & (other >= 0) & (symbol[other] == CODE["Exp"]))
        become(hit, "Softplus", left[other[hit]])
    return count + len(fresh)


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
    moving = signature.moving
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
        coupled.append(bool(args) and (_OPERATORS[name].shape == "softmax" or any(coupled[a] for a in args)))
        reads.append(reduce(or_, (reads[a] for a in args), bit.get(name, 0)))
    return NodeTable(
        signature,
        np.array([codes(signature)[name] for name in names], dtype=np.int32),
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
