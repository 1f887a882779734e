"""A loss as lines of torch code: shared subexpressions named once, simple ones kept inline.

The text of each operator is its `source` template in the operator table. Templates are joined as syntax trees
and printed by Python itself, which places parentheses where the language needs them and nowhere else.
"""

from __future__ import annotations

import ast
import copy
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import torch

from cse_autoloss.export.readable import VISIBLE_EPSILON, least_value, readable
from cse_autoloss.export.words import VARIABLE_NAMES
from cse_autoloss.graph import LossGraph, stabilize
from cse_autoloss.graph.loss_graph import Node, operator_of
from cse_autoloss.operators import CONSTANTS

_WELL_KNOWN: Mapping[str, str] = {
    "Sig(X)": "prob",
    "Sig(Neg(X))": "not_prob",
    "LogSig(X)": "log_prob",
    "LogSig(Neg(X))": "log_not_prob",
    "Softmax(X)": "prob",
    "LogSoftmax(X)": "log_prob",
    "Div(I,U)": "iou",
    "Sub(E,U)": "slack",
    "Div(U,E)": "fill",
    "Div(I,E)": "inter_fill",
}
"""Subexpressions that have a name of their own, by formula in stable readable form."""

_NAMED_OPERATORS = frozenset({"Serf", "Erfc", "Salf", "Sgdf"})
"""Operators whose code does not tell what it is: they always get a line, named for the operator."""

LINE = 84
"""An expression longer than this many characters is split."""


@dataclass(frozen=True)
class Program:
    """Lines of code for one loss.

    Attributes:
        lines: (name, expression) in order; an expression reads variables and names before it.
        result: the expression of the loss itself.
        variables: the branch's variables that the lines read.
        constant: whether the loss reads no variable at all, so that the result is a Python number.
    """

    lines: tuple[tuple[str, str], ...]
    result: str
    variables: tuple[str, ...]
    constant: bool

    @property
    def text(self) -> str:
        """All expressions, to see what they use."""
        return "\n".join([*(expression for _, expression in self.lines), self.result])


def statements(graph: LossGraph) -> Program:
    """The loss as torch code, the stable rewrites applied.

    Args:
        graph: the loss as written.
    """
    shown = readable(stabilize(graph))
    writer = _Writer(shown)
    result = writer.write()
    lines = tuple((name, _print(tree)) for name, tree in writer.lines)
    return Program(lines, _print(result), shown.variables, not shown.variables)


class _Writer:
    """Walks the graph once, arguments first, and decides which nodes get a line of their own."""

    def __init__(self, graph: LossGraph) -> None:
        self.graph = graph
        self.lines: list[tuple[str, ast.expr]] = []
        self._trees: list[ast.expr] = []
        self._taken: set[str] = set()
        self._formulas = _formulas(graph)
        self._uses = Counter(arg for node in graph.nodes for arg in node.args)

    def write(self) -> ast.expr:
        for index, node in enumerate(self.graph.nodes):
            tree = self._tree(index, node)
            self._trees.append(tree)
            if index != self.graph.root and self._wants_name(index, tree):
                self._give_name(index)
        return self._trees[-1]

    def _tree(self, index: int, node: Node) -> ast.expr:
        operator = operator_of(node.symbol)
        if operator is None:
            if node.symbol in CONSTANTS:
                return _number(float(node.symbol))
            return ast.Name(VARIABLE_NAMES[node.symbol], ast.Load())
        known = [_value(self._trees[a]) for a in node.args]
        numbers = [number for number in known if number is not None]
        if len(numbers) == len(known):
            return _number(float(operator.torch(*(torch.tensor(n, dtype=torch.float64) for n in numbers))))
        template = operator.source
        if node.symbol == "Div" and least_value(self.graph, node.args[1]) >= VISIBLE_EPSILON:
            template = "{0} / {1}"
        for position, arg in enumerate(node.args):
            if template.count(f"{{{position}}}") > 1 and not isinstance(self._trees[arg], ast.Name):
                self._give_name(arg)
        while True:
            tree = _filled(template, [self._trees[a] for a in node.args])
            longest = max(node.args, key=lambda a: len(_print(self._trees[a])))
            if len(_print(tree)) <= LINE or _is_atom(self._trees[longest]):
                return tree
            self._give_name(longest)

    def _wants_name(self, index: int, tree: ast.expr) -> bool:
        if _is_atom(tree):
            return False
        named = self._formulas[index] in _WELL_KNOWN or self.graph.nodes[index].symbol in _NAMED_OPERATORS
        return named or self._uses[index] > 1

    def _give_name(self, index: int) -> None:
        symbol = self.graph.nodes[index].symbol
        name = _WELL_KNOWN.get(self._formulas[index], symbol.lower() if symbol in _NAMED_OPERATORS else "")
        if not name or name in self._taken:
            stem = name or "t"
            name = next(f"{stem}{i}" for i in count(2 if name else 1) if f"{stem}{i}" not in self._taken)
        self._taken.add(name)
        self.lines.append((name, self._trees[index]))
        self._trees[index] = ast.Name(name, ast.Load())


def _formulas(graph: LossGraph) -> list[str]:
    """Formula of each node, cut off where it is too long to be a well-known one."""
    texts: list[str] = []
    for node in graph.nodes:
        text = f"{node.symbol}({','.join(texts[a] for a in node.args)})" if node.args else node.symbol
        texts.append(text if len(text) < 100 else "…")
    return texts


def _is_atom(tree: ast.expr) -> bool:
    """A name, a number, or the negative of one: never worth a line of its own."""
    inner = tree.operand if isinstance(tree, ast.UnaryOp) else tree
    return isinstance(inner, (ast.Name, ast.Constant)) or _value(tree) is not None


def _number(value: float) -> ast.expr:
    if not math.isfinite(value):
        return ast.Call(ast.Name("float", ast.Load()), [ast.Constant(str(value))], [])
    shown: float = int(value) if value == int(value) and abs(value) < 1e6 else value
    magnitude = ast.Constant(abs(shown))
    return ast.UnaryOp(ast.USub(), magnitude) if math.copysign(1.0, value) < 0 else magnitude


def _value(tree: ast.expr) -> float | None:
    """The number that the tree is, if it is one."""
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.operand, ast.Constant):
        return -float(tree.operand.value)  # type: ignore[arg-type]
    if isinstance(tree, ast.Constant):
        return float(tree.value)  # type: ignore[arg-type]
    if (
        isinstance(tree, ast.Call)
        and isinstance(tree.func, ast.Name)
        and isinstance(tree.args[0], ast.Constant)
    ):
        return float(str(tree.args[0].value))
    return None


@lru_cache(maxsize=128)
def _parsed(template: str) -> ast.expr:
    return ast.parse(template.format("ARG0", "ARG1"), mode="eval").body


class _Fill(ast.NodeTransformer):
    def __init__(self, args: list[ast.expr]) -> None:
        self._args = args

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._args[int(node.id[3:])] if node.id in ("ARG0", "ARG1") else node


def _filled(template: str, args: list[ast.expr]) -> ast.expr:
    return _Fill(args).visit(copy.deepcopy(_parsed(template)))


def _print(tree: ast.expr) -> str:
    text = ast.unparse(ast.fix_missing_locations(tree))
    return re.sub(r"\btorch\.nn\.functional\.", "F.", text)
