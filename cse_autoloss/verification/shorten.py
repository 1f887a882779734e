"""The shortest form of a loss that can be reached by leaving out what does nothing.

Evolved expressions carry parts without any effect: a term that is 0 on the whole domain, a factor that is 1 there. No
algebra sees that, for it rests on what the variables are (q/q is 1 at a positive and 0 elsewhere). So a part is put in
the place of what it stands in, and stays there if the loss keeps its fingerprint, the same gradients at many points,
and if it is proved that it has the same gradients everywhere (`certify.equal`). What is not proved stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from cse_autoloss.certify import same_function
from cse_autoloss.errors import FormulaError
from cse_autoloss.graph import GraphBuilder, LossGraph
from cse_autoloss.settings.filters import THRESHOLDS, VerifySettings
from cse_autoloss.spaces.random_expressions import Forest
from cse_autoloss.verification.population import verify_forest

TRIED = 16
"""Shorter forms with the same fingerprint for which a proof is tried, the shortest first."""


def shortened(graph: LossGraph, settings: VerifySettings = THRESHOLDS) -> LossGraph:
    """The graph with ever smaller parts in the place of larger ones, as long as the gradients stay what they are.

    A loss's value may change by a constant, its gradients by no more than 1e-5 of the largest. What comes out is
    accepted by verification; a loss that is not is left as it is.
    """
    while True:
        unique = {one.digest: one for one in _variants(graph) if one.tree_size < graph.tree_size}
        smaller = sorted(unique.values(), key=lambda one: (one.tree_size, one.digest))
        marks = verify_forest(Forest.of([graph, *smaller]), settings, marks=True).marks
        alike = (one for place, one in enumerate(smaller, 1) if 0 in marks and marks.get(place) == marks[0])
        same = (one for one in islice(alike, TRIED) if same_function(graph, one) == "proved")
        shorter = next(same, None)
        if shorter is None:
            return graph
        graph = shorter


def _variants(graph: LossGraph) -> Iterator[LossGraph]:
    """The graph with one operand replaced by a terminal or by a part of itself, or the whole by a part."""
    below = _below(graph)
    for user, node in enumerate(graph.nodes):
        for position, arg in enumerate(node.args):
            if graph.nodes[arg].args:
                parts: tuple[str | int, ...] = (*graph.signature.terminals, *sorted(below[arg]))
                for new in parts:
                    yield from _replaced(graph, user, position, new)
    for part in sorted(below[graph.root]):
        yield from _replaced(graph, len(graph.nodes), 0, part)


def _below(graph: LossGraph) -> list[set[int]]:
    """For each node, the nodes that its value is made of."""
    below: list[set[int]] = []
    for node in graph.nodes:
        below.append(set(node.args).union(*(below[arg] for arg in node.args)))
    return below


def _replaced(graph: LossGraph, user: int, position: int, new: str | int) -> Iterator[LossGraph]:
    """At that operand of that node (of the graph itself, if there is no such node) a terminal or another node."""
    builder = GraphBuilder(graph.signature)
    made: list[int] = []
    try:
        for index, node in enumerate(graph.nodes):
            args = [made[arg] for arg in node.args]
            if index == user:
                args[position] = builder.add(new) if isinstance(new, str) else made[new]
            made.append(builder.add(node.symbol, *args))
        root = made[-1]
        if user == len(graph.nodes) and isinstance(new, int):
            root = made[new]
        yield builder.finish(root)
    except FormulaError:  # per class where it must be per sample
        return
