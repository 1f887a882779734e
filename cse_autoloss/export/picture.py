"""What a drawing of a loss shows, before it has a format: nodes with label, role and size, and the edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cse_autoloss.export.layout import Edge
from cse_autoloss.export.readable import readable
from cse_autoloss.graph import LossGraph
from cse_autoloss.graph.loss_graph import operator_of

Role = Literal["variable", "constant", "operator", "loss"]

_SIGNS = {"Add": "+", "Mul": r"\times", "Neg": "-", "Div": "a / b"}
_ORDERED = frozenset({"Sub", "Div"})


@dataclass(frozen=True)
class PictureNode:
    """A node of the drawing: `label` is LaTeX for mathematics mode, `name` plain text."""

    label: str
    name: str
    role: Role
    ordered: bool = False


@dataclass(frozen=True)
class Picture:
    """Nodes with arguments before users, the loss last; an ordered node's operands a, b are edges 0, 1."""

    nodes: tuple[PictureNode, ...]
    edges: tuple[Edge, ...]
    legend: tuple[tuple[str, str], ...]


def picture(graph: LossGraph, *, as_written: bool = False) -> Picture:
    """The drawing's content.

    Variables and subexpressions stand there once. A constant is drawn anew for each user: a shared 1 would
    tie unrelated ends of the picture together.

    Args:
        graph: the loss.
        as_written: keep each Neg where the formula has it, instead of tidying the signs.
    """
    shown = graph if as_written else readable(graph)
    nodes: list[PictureNode] = []
    edges: list[Edge] = []
    place: dict[int, int] = {}
    for index, node in enumerate(shown.nodes):
        operator = operator_of(node.symbol)
        variable = shown.signature.variables.get(node.symbol)
        if operator is None and variable is None and index != shown.root:
            continue  # a constant: made for each user below
        ends = []
        for arg in node.args:
            if arg not in place:
                symbol = shown.nodes[arg].symbol
                nodes.append(PictureNode(symbol, symbol, "constant"))
                ends.append(len(nodes) - 1)
            else:
                ends.append(place[arg])
        place[index] = len(nodes)
        if operator is not None:
            label = _SIGNS.get(node.symbol) or _bare(operator.latex)
            nodes.append(PictureNode(label, node.symbol, "operator", node.symbol in _ORDERED))
        elif variable is not None:
            nodes.append(PictureNode(variable.latex, node.symbol, "variable"))
        else:
            nodes.append(PictureNode(node.symbol, node.symbol, "constant"))
        edges += [Edge(end, place[index], position) for position, end in enumerate(ends)]
    nodes.append(PictureNode("L", "loss", "loss"))
    edges.append(Edge(place[shown.root], len(nodes) - 1, 0))
    read = [shown.signature.variables[name] for name in shown.variables]
    legend = tuple((one.latex, one.meaning or one.name) for one in read)
    return Picture(tuple(nodes), tuple(edges), legend)


def _bare(latex: str) -> str:
    """The operator's sign: a function without its argument, else with a and b for the operands."""
    return latex.replace(r"\left({0}\right)", "").format("a", "b")
