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
from typing import NamedTuple

import torch

from cse_autoloss.export.readable import VISIBLE_EPSILON, least_value, readable
from cse_autoloss.graph import Kind, LossGraph, stabilize
from cse_autoloss.graph.loss_graph import operator_of
from cse_autoloss.operators import CONSTANTS
from cse_autoloss.spaces import form_of

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

LINE = 84
"""An expression longer than this many characters is split."""


@dataclass(frozen=True)
class Program:
    """Lines of code for one loss.

    Attributes:
        lines: (name, expression) in order; an expression reads variables and names before it.
        result: the expression of the loss itself.
        variables: the signature's inputs that the lines read.
        constant: whether the result is a Python number.
    """

    lines: tuple[tuple[str, str], ...]
    result: str
    variables: tuple[str, ...]
    constant: bool

    @property
    def names(self) -> frozenset[str]:
        """Every name that the lines read or give."""
        return frozenset(re.findall(r"[A-Za-z_]\w*", self.text)) | {name for name, _ in self.lines}

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
    return Program(lines, _print(result), shown.variables, _value(result) is not None)


class _Key(NamedTuple):
    """A node, over all classes or at the target's alone."""

    node: int
    at_target: bool


class _Writer:
    """Walks the graph once, arguments first, and decides which nodes get a line of their own.

    Σ y·a over the classes is a at the target, since y is one-hot: below such a Dot each node is written once more
    "at the target", (N, 1) in place of (N, C), down to the functions that see all classes, whose value is gathered.
    """

    def __init__(self, graph: LossGraph) -> None:
        self.graph = graph
        self.lines: list[tuple[str, ast.expr]] = []
        self._taken = {one.code for one in graph.signature.inputs}
        self._formulas = _formulas(graph)
        self._trees: dict[_Key, ast.expr] = {}
        self._order, self._uses = _plan(graph)

    def write(self) -> ast.expr:
        for key in self._order:
            tree = self._tree(key)
            self._trees[key] = tree
            if key != self._order[-1] and self._wants_name(key, tree):
                self._give_name(key)
        return self._trees[self._order[-1]]

    def _tree(self, key: _Key) -> ast.expr:
        node = self.graph.nodes[key.node]
        args = _arguments(self.graph, key)
        operator = operator_of(node.symbol)
        if key.at_target and _is_one_hot(self.graph, key.node):
            return _number(1.0)
        if args == (_Key(key.node, False),):
            return _filled("{0}.gather(1, label)", [self._trees[args[0]]])
        if operator is None:
            if node.symbol in CONSTANTS:
                return _number(float(node.symbol))
            return ast.Name(self.graph.signature.variables[node.symbol].code, ast.Load())
        if len(args) < operator.arity:  # a Dot or a product with y, at the target
            return self._trees[args[0]]
        known = [_value(self._trees[a]) for a in args]
        numbers = [number for number in known if number is not None]
        if len(numbers) == len(known):
            return _number(float(operator.function(*(torch.tensor(n, dtype=torch.float64) for n in numbers))))
        template = operator.source
        if operator.shape == "sum" and not any(arg.at_target for arg in args):
            template = f"({template}).sum(-1, keepdim=True)"
        if node.symbol == "Div" and least_value(self.graph, node.args[1]) >= VISIBLE_EPSILON:
            template = "{0} / {1}"
        for position, arg in enumerate(args):
            if template.count(f"{{{position}}}") > 1 and not isinstance(self._trees[arg], ast.Name):
                self._give_name(arg)
        while True:
            tree = _filled(template, [self._trees[a] for a in args])
            longest = max(args, key=lambda a: len(_print(self._trees[a])))
            if len(_print(tree)) <= LINE or _is_atom(self._trees[longest]):
                return tree
            self._give_name(longest)

    def _wants_name(self, key: _Key, tree: ast.expr) -> bool:
        if _is_atom(tree):
            return False
        if self._uses[key] > 1:
            return True
        symbol = self.graph.nodes[key.node].symbol
        named = self._formulas[key.node] in _WELL_KNOWN or _is_named(symbol)
        # What is read only to be gathered gets its name there.
        only_gathered = not key.at_target and self._uses[key._replace(at_target=True)] > 0
        return named and not only_gathered

    def _give_name(self, key: _Key) -> None:
        symbol = self.graph.nodes[key.node].symbol
        name = _WELL_KNOWN.get(self._formulas[key.node], symbol.lower() if _is_named(symbol) else "")
        if not name or name in self._taken:
            stem = name or "t"
            name = next(f"{stem}{i}" for i in count(2 if name else 1) if f"{stem}{i}" not in self._taken)
        self._taken.add(name)
        self.lines.append((name, self._trees[key]))
        self._trees[key] = ast.Name(name, ast.Load())


def _is_named(symbol: str) -> bool:
    """Whether the code of the operator gets a line of its own."""
    operator = operator_of(symbol)
    return operator is not None and operator.named


def _plan(graph: LossGraph) -> tuple[list[_Key], Counter[_Key]]:
    """The nodes to be written, arguments first, and how often each is read."""
    wanted = {_Key(graph.root, False)}
    uses: Counter[_Key] = Counter()
    for index in range(graph.root, -1, -1):
        # A node at the target may read the same node over all classes, never the other way round.
        for key in (_Key(index, True), _Key(index, False)):
            if key in wanted:
                found = _arguments(graph, key)
                uses.update(found)
                wanted.update(found)
    return sorted(wanted), uses


def _arguments(graph: LossGraph, key: _Key) -> tuple[_Key, ...]:
    """What the code of a node reads."""
    node = graph.nodes[key.node]
    operator = operator_of(node.symbol)
    if key.at_target:
        if _is_one_hot(graph, key.node):
            return ()
        if operator is None or operator.shape != "elementwise":
            return (_Key(key.node, False),)
        others = tuple(a for a in node.args if not _is_one_hot(graph, a))
        chosen = others if node.symbol == "Mul" and others else node.args
        return tuple(_at_target(graph, a) for a in chosen)
    if node.symbol == "Dot" and any(_vanishes_elsewhere(graph, a) for a in node.args):
        others = tuple(a for a in node.args if not _is_one_hot(graph, a))
        return tuple(_at_target(graph, a) for a in others or node.args)
    return tuple(_Key(a, False) for a in node.args)


def _at_target(graph: LossGraph, index: int) -> _Key:
    return _Key(index, graph.kinds[index] is Kind.PER_CLASS)


def _vanishes_elsewhere(graph: LossGraph, index: int) -> bool:
    """Whether y is a factor of the node, so that it is 0 at all classes but the target's."""
    node = graph.nodes[index]
    if node.symbol == "Mul":
        return any(_vanishes_elsewhere(graph, a) for a in node.args)
    if node.symbol in ("Neg", "Div"):
        return _vanishes_elsewhere(graph, node.args[0])
    return _is_one_hot(graph, index)


def _is_one_hot(graph: LossGraph, index: int) -> bool:
    """Whether the node is an input that is 1 at the target and 0 elsewhere, which the code knows as `label` too."""
    known = graph.signature.variables.get(graph.nodes[index].symbol)
    return known is not None and known.one_hot and form_of(graph.signature).head == "softmax"


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
