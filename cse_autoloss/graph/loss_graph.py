"""`LossGraph`: a loss expression as an immutable DAG in which equal subexpressions are one node."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from cse_autoloss.errors import FormulaError
from cse_autoloss.graph.signature import Kind, Signature
from cse_autoloss.operators import ALL_OPERATORS, Operator

MAX_DEPTH = 100
"""Deepest nesting of operators that is taken; published losses have a depth of at most 10."""

MAX_LENGTH = 20_000
"""Longest formula that is taken, in characters; also the limit on the nodes of the written-out tree."""


class Node(NamedTuple):
    """A symbol (operator, variable or constant) and the indices of its arguments among the graph's nodes."""

    symbol: str
    args: tuple[int, ...]


def operator_of(symbol: str) -> Operator | None:
    """The operator of that name, a primitive or a stable form; None for a variable or constant."""
    return ALL_OPERATORS.get(symbol)


def kind_of(operator: Operator, args: Sequence[Kind]) -> Kind | None:
    """Kind of the operator's value on arguments of those kinds; None where it takes none such."""
    per_class = operator.per_class([kind is Kind.PER_CLASS for kind in args])
    return None if per_class is None else Kind.PER_CLASS if per_class else Kind.PER_SAMPLE


class LossGraph:
    """An expression over a branch's variables, hash-consed.

    Two graphs are equal when they are the same expression up to the order of commutative operands.

    Attributes:
        signature: the branch's frame.
        nodes: in topological order, arguments before users; the root is last.
        kinds: shape of each node.
    """

    __slots__ = ("__dict__", "kinds", "nodes", "signature")

    signature: Signature
    nodes: tuple[Node, ...]
    kinds: tuple[Kind, ...]

    def __init__(self, signature: Signature, nodes: tuple[Node, ...], kinds: tuple[Kind, ...]) -> None:
        object.__setattr__(self, "signature", signature)
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "kinds", kinds)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a LossGraph does not change: cannot set {name!r}")

    @property
    def branch(self) -> str:
        """Name of the branch: "cls-binary", "cls-multiclass" or "reg"."""
        return self.signature.name

    @property
    def root(self) -> int:
        """Index of the node that is the loss."""
        return len(self.nodes) - 1

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables the loss reads, in the branch's order."""
        used = {node.symbol for node in self.nodes}
        return tuple(name for name in self.signature.variables if name in used)

    @cached_property
    def depth(self) -> int:
        """Longest chain of operators; a lone variable has depth 0."""
        depths: list[int] = []
        for node in self.nodes:
            depths.append(1 + max(depths[a] for a in node.args) if node.args else 0)
        return depths[-1]

    @cached_property
    def tree_size(self) -> int:
        """Number of nodes when shared subexpressions are written out."""
        sizes: list[int] = []
        for node in self.nodes:
            sizes.append(1 + sum(sizes[a] for a in node.args))
        return sizes[-1]

    @cached_property
    def digest(self) -> str:
        """Canonical hash, 32 hex digits: the same in every process, blind to the order of commutative operands."""
        digests: list[str] = []
        for node in self.nodes:
            parts = [digests[a] for a in node.args]
            operator = operator_of(node.symbol)
            if operator is not None and operator.commutative:
                parts.sort()
            digests.append(hashlib.sha256("|".join([node.symbol, *parts]).encode()).hexdigest())
        return hashlib.sha256(f"{self.branch}:{digests[-1]}".encode()).hexdigest()[:32]

    def prefix(self) -> Iterator[str]:
        """Symbols of the written-out tree in prefix order."""
        stack = [self.root]
        while stack:
            node = self.nodes[stack.pop()]
            yield node.symbol
            stack.extend(reversed(node.args))

    @cached_property
    def formula(self) -> str:
        """Prefix notation, for example `Neg(Dot(Y,Log(Softmax(X))))`."""
        texts: list[str] = []
        for node in self.nodes:
            inner = ",".join(texts[a] for a in node.args)
            texts.append(f"{node.symbol}({inner})" if node.args else node.symbol)
        return texts[-1]

    def __str__(self) -> str:
        return self.formula

    def __repr__(self) -> str:
        return f"LossGraph({self.formula!r}, branch={self.branch!r})"

    def __len__(self) -> int:
        return len(self.nodes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LossGraph) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[object, ...]:
        return (LossGraph, (self.signature, self.nodes, self.kinds))


class GraphBuilder:
    """Builds a `LossGraph` bottom-up; equal nodes are made once, and shapes are checked as they are made."""

    def __init__(self, signature: Signature, *, stable: bool = False) -> None:
        """`stable` also admits the fused forms, which no formula may name."""
        self.signature = signature
        self._stable = stable
        self._nodes: list[Node] = []
        self._kinds: list[Kind] = []
        self._index: dict[Node, int] = {}

    def add(self, symbol: str, *args: int) -> int:
        """Index of the node for `symbol` on `args`; FormulaError where the branch or the shapes forbid it."""
        node = Node(symbol, args)
        known = self._index.get(node)
        if known is not None:
            return known
        kind = self._kind(node)
        self._index[node] = len(self._nodes)
        self._nodes.append(node)
        self._kinds.append(kind)
        return len(self._nodes) - 1

    def node(self, index: int) -> Node:
        """The node made earlier under that index."""
        return self._nodes[index]

    def finish(self, root: int) -> LossGraph:
        """The graph below `root`, without the nodes that it does not use."""
        signature = self.signature
        if self._kinds[root] is Kind.PER_CLASS and signature.result is Kind.PER_SAMPLE:
            raise FormulaError(
                f"the loss has one value for each class, but {signature.name} wants one for each sample; "
                "sum over the classes with Dot"
            )
        used = {root}
        for index in range(root, -1, -1):
            if index in used:
                used.update(self._nodes[index].args)
        renumber = {old: new for new, old in enumerate(sorted(used))}
        nodes = tuple(
            Node(self._nodes[old].symbol, tuple(renumber[a] for a in self._nodes[old].args))
            for old in renumber
        )
        graph = LossGraph(signature, nodes, tuple(self._kinds[old] for old in renumber))
        if graph.depth > MAX_DEPTH:
            raise FormulaError(f"the formula is {graph.depth} deep; at most {MAX_DEPTH} is taken")
        if graph.tree_size > MAX_LENGTH:
            raise FormulaError(f"the formula has {graph.tree_size} nodes; at most {MAX_LENGTH} are taken")
        return graph

    def _kind(self, node: Node) -> Kind:
        signature = self.signature
        if node.symbol in signature.terminals and not node.args:
            return signature.kind_of(node.symbol)
        operator = operator_of(node.symbol)
        if operator is None or not (node.symbol in signature.operators or (self._stable and operator.stable)):
            raise FormulaError(f"{node.symbol!r} is no operator, variable or constant of {signature.name}")
        if len(node.args) != operator.arity:
            raise FormulaError(f"{operator.name} takes {operator.arity} argument(s), got {len(node.args)}")
        kind = kind_of(operator, tuple(self._kinds[a] for a in node.args))
        if kind is None:
            raise FormulaError(f"{operator.name} works over the classes, but its argument is per sample")
        return kind
