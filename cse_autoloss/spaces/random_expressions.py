"""Random typed expressions by the ten thousand: drawn level by level with numpy, kept as flat arrays.

A `Forest` is a batch of expressions without a Python object a node, so that a batch can be drawn, hash-consed
and evaluated as arrays; a `LossGraph` is built only for the candidates that somebody wants to see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.errors import ConfigError, UnknownNameError
from cse_autoloss.graph import GraphBuilder, Kind, LossGraph, Signature, kind_of
from cse_autoloss.graph.signature import MAX_INPUTS
from cse_autoloss.operators import ALL_OPERATORS, CONSTANTS, OPERATORS, PAPER_OPERATORS

Ints = NDArray[np.int32]

_INPUTS = tuple(f"input {place}" for place in range(MAX_INPUTS))
SYMBOLS: tuple[str, ...] = (*CONSTANTS, *_INPUTS, *ALL_OPERATORS)
"""Constants, inputs by their place in a signature, and operators; a symbol's place here is its code in a forest."""
CODE: dict[str, int] = {symbol: code for code, symbol in enumerate(SYMBOLS)}


@lru_cache(maxsize=64)
def symbols(signature: Signature) -> tuple[str, ...]:
    """What the codes mean in a signature."""
    names = tuple(signature.variables)
    return (*CONSTANTS, *names, *SYMBOLS[len(CONSTANTS) + len(names) :])


@lru_cache(maxsize=64)
def codes(signature: Signature) -> dict[str, int]:
    """The codes of a signature's constants, inputs and operators."""
    return {symbol: code for code, symbol in enumerate(symbols(signature))}


@dataclass(frozen=True)
class Forest:
    """B expressions as flat arrays.

    Attributes:
        signature: of all of them.
        symbol: (n,) code of each node in `SYMBOLS`.
        left, right: (n,) index of the arguments, -1 where there is none.
        root: (B,) index of each expression's root.
        owner: (n,) the expression that the node belongs to; none belongs to two.
    """

    signature: Signature
    symbol: Ints
    left: Ints
    right: Ints
    root: Ints
    owner: Ints

    def __len__(self) -> int:
        return len(self.root)

    def reads(self) -> NDArray[np.int64]:
        """(B,) bit mask of the variables that each expression reads, in the signature's order."""
        masks = np.zeros(len(self), dtype=np.int64)
        for place in range(len(self.signature.inputs)):
            readers = np.zeros(len(self), dtype=bool)
            readers[self.owner[self.symbol == CODE[_INPUTS[place]]]] = True
            masks |= readers.astype(np.int64) << place
        return masks

    def take(self, rows: NDArray[np.int64]) -> Forest:
        """The forest of some of the expressions, given by rising row."""
        place = np.full(len(self), -1, dtype=np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        kept = np.flatnonzero(place[self.owner] >= 0)
        index = np.full(len(self.symbol) + 1, -1, dtype=np.int32)
        index[kept] = np.arange(len(kept), dtype=np.int32)
        # The last entry answers for -1, "no argument".
        return Forest(
            self.signature,
            self.symbol[kept],
            index[self.left[kept]],
            index[self.right[kept]],
            index[self.root[rows]],
            place[self.owner[kept]],
        )

    def graph(self, row: int) -> LossGraph:
        """Expression `row` as a `LossGraph`; FormulaError where it is ill-shaped."""
        builder, names = GraphBuilder(self.signature), symbols(self.signature)
        made: dict[int, int] = {}
        stack = [int(self.root[row])]
        while stack:
            node = stack[-1]
            args = [a for a in (int(self.left[node]), int(self.right[node])) if a >= 0]
            missing = [a for a in args if a not in made]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            made[node] = builder.add(names[self.symbol[node]], *(made[a] for a in args))
        return builder.finish(made[int(self.root[row])])

    @classmethod
    def of(cls, graphs: Sequence[LossGraph]) -> Forest:
        """The forest of one or more graphs of one signature, as they are; shared nodes stay shared."""
        symbol: list[int] = []
        left: list[int] = []
        right: list[int] = []
        root: list[int] = []
        owner: list[int] = []
        code = codes(graphs[0].signature)
        for row, graph in enumerate(graphs):
            base = len(symbol)
            owner.extend([row] * len(graph.nodes))
            for name, args in graph.nodes:
                symbol.append(code[name])
                left.append(base + args[0] if args else -1)
                right.append(base + args[1] if len(args) > 1 else -1)
            root.append(len(symbol) - 1)
        arrays = (np.array(values, dtype=np.int32) for values in (symbol, left, right, root, owner))
        return cls(graphs[0].signature, *arrays)


@dataclass(frozen=True)
class RandomShape:
    """How large random expressions grow.

    Attributes:
        max_depth: deepest nesting of operators.
        terminal_share: probability that a node above the deepest level is a variable or constant.
        constant_share: of the variables and constants, how many are constants, where both fit.
        operators: names to draw from, None for the paper's.
    """

    max_depth: int = 5
    terminal_share: float = 0.35
    constant_share: float = 0.25
    operators: Sequence[str] | None = None


def searched_operators(signature: Signature, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """The operators of a signature that a search uses, in the table's order.

    Args:
        signature: of the losses.
        names: what to use where the signature allows it; None for the paper's 21.

    Raises:
        UnknownNameError: a name that is not in the table.
        ConfigError: no loss can be written in them.
    """
    for name in names or ():
        if name not in OPERATORS:
            raise UnknownNameError.of("operator", name, OPERATORS)
    wanted = PAPER_OPERATORS if names is None else names
    found = tuple(name for name in signature.operators if name in wanted)
    shapes = {OPERATORS[name].shape for name in found}
    has_classes = any(v.kind is Kind.PER_CLASS for v in signature.variables.values())
    if "elementwise" not in shapes:
        raise ConfigError(f"operators: {signature.name} needs an elementwise one, such as Add")
    if has_classes and signature.result is Kind.PER_SAMPLE and "sum" not in shapes:
        raise ConfigError(f"operators: {signature.name} needs one that sums over the classes, such as Dot")
    return found


@dataclass(frozen=True)
class _Choices:
    """For one kind of value, what can stand there: symbol codes, and the kinds of their arguments (-1:
    none)."""

    terminals: Ints
    terminal_odds: NDArray[np.float64]
    operators: Ints
    left: Ints
    right: Ints


_KINDS = (Kind.PER_CLASS, Kind.PER_SAMPLE)


def _choices(signature: Signature, shape: RandomShape) -> dict[int, _Choices]:
    has_classes = any(v.kind is Kind.PER_CLASS for v in signature.variables.values())
    kinds = (0, 1) if has_classes else (1,)
    table: dict[int, _Choices] = {}
    operators = searched_operators(signature, shape.operators)
    code = codes(signature)
    for kind in kinds:
        names = [t for t in signature.terminals if signature.kind_of(t) is _KINDS[kind]]
        constants = [name for name in names if name not in signature.variables]
        odds = np.ones(len(names))
        if 0 < len(constants) < len(names):
            for place, name in enumerate(names):
                rest = len(names) - len(constants)
                if name in constants:
                    odds[place] = shape.constant_share / len(constants)
                else:
                    odds[place] = (1 - shape.constant_share) / rest
        options = [
            (code[name], *(*combination, -1)[:2])
            for name in operators
            for combination in product(kinds, repeat=OPERATORS[name].arity)
            if kind_of(OPERATORS[name], [_KINDS[k] for k in combination]) is _KINDS[kind]
        ]
        symbol, left, right = (np.array(column, dtype=np.int32) for column in zip(*options, strict=True))
        table[kind] = _Choices(
            np.array([code[name] for name in names], dtype=np.int32),
            odds / odds.sum(),
            symbol,
            left,
            right,
        )
    return table


def random_forest(
    signature: Signature, count: int, rng: np.random.Generator, shape: RandomShape = RandomShape()
) -> Forest:
    """Draw `count` random well-shaped losses of the signature, by DEAP's "grow" rule.

    Each node is a terminal with probability `terminal_share`, else an operator, drawn evenly among the
    operators and the kinds of arguments that give the kind wanted; the root is an operator. The same
    generator state gives the same forest everywhere.
    """
    table = _choices(signature, shape)
    kind = np.full(count, _KINDS.index(signature.result), dtype=np.int32)
    symbols: list[Ints] = []
    lefts: list[Ints] = []
    rights: list[Ints] = []
    owners: list[Ints] = []
    owner = np.arange(count, dtype=np.int32)
    total = 0
    for depth in range(shape.max_depth + 1):
        size = len(kind)
        if size == 0:
            break
        total += size
        if depth == shape.max_depth:
            grows = np.zeros(size, dtype=bool)
        else:
            grows = rng.random(size) >= (shape.terminal_share if depth else 0.0)
        symbol = np.empty(size, dtype=np.int32)
        left_kind = np.full(size, -1, dtype=np.int32)
        right_kind = np.full(size, -1, dtype=np.int32)
        for code, choices in table.items():
            here = kind == code
            ends = np.flatnonzero(here & ~grows)
            draws = np.searchsorted(np.cumsum(choices.terminal_odds), rng.random(len(ends)), side="right")
            symbol[ends] = choices.terminals[np.minimum(draws, len(choices.terminals) - 1)]
            inner = np.flatnonzero(here & grows)
            pick = rng.integers(0, len(choices.operators), len(inner))
            symbol[inner] = choices.operators[pick]
            left_kind[inner] = choices.left[pick]
            right_kind[inner] = choices.right[pick]
        has_left, has_right = left_kind >= 0, right_kind >= 0
        # Children stand in the next level: all left ones, then all right ones.
        lefts.append(np.where(has_left, total + np.cumsum(has_left) - 1, -1).astype(np.int32))
        offset = total + int(has_left.sum())
        rights.append(np.where(has_right, offset + np.cumsum(has_right) - 1, -1).astype(np.int32))
        symbols.append(symbol)
        owners.append(owner)
        owner = np.concatenate((owner[has_left], owner[has_right]))
        kind = np.concatenate((left_kind[has_left], right_kind[has_right]))
    return Forest(
        signature,
        np.concatenate(symbols),
        np.concatenate(lefts),
        np.concatenate(rights),
        np.arange(count, dtype=np.int32),
        np.concatenate(owners),
    )
