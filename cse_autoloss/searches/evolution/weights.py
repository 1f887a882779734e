"""Weights on the edges of an expression, tuned by CMA-ES: evolution finds a loss's shape, this its proportions.

A weight is a quotient of products of the constants 1, 2 and 3, so a weighted loss is an expression of the same space:
it is verified, printed, exported and bred from like any other.

Source: weights on the edges of a found loss are EvoMAL's (Raymond et al., Learning Symbolic Model-Agnostic Loss
Functions via Meta-Learning, 2022), which tunes them by gradient; a detector's AP has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from cse_autoloss.graph import GraphBuilder, LossGraph
from cse_autoloss.searches.evolution.strategy import Strategy, Vector

_WHOLE = (1, 2, 3, 4, 6, 8, 9)
_TERMS = {a / b: (a, b) for a in _WHOLE for b in _WHOLE if math.gcd(a, b) == 1}
"""Numerator and denominator of each ratio."""

RATIOS = tuple(sorted(_TERMS))
"""The weights that there are, 1/9 to 9: neighbours differ by a third or less between 1/4 and 4."""


class Edges:
    """Where an expression can bear weights.

    These are the operands of its sums and differences, unless one is a constant: beside it a weight would break
    patterns such as 1 − σ(x), which have stable forms. A weight inside a product says the same as one outside. Where
    the whole is no such sum, it bears a weight too.

    Attributes:
        graph: the expression.
        places: (index of the user, position of the operand); (size of the graph, 0) is the whole.
    """

    def __init__(self, graph: LossGraph, *, scale: bool = True) -> None:
        """`scale`: also the scale of the whole; without it the proportions inside alone."""
        self.graph = graph
        moves: list[bool] = []
        for node in graph.nodes:
            moves.append(node.symbol in graph.signature.variables or any(moves[a] for a in node.args))
        places = [
            (index, position)
            for index, node in enumerate(graph.nodes)
            if node.symbol in ("Add", "Sub") and all(moves[a] for a in node.args)
            for position in range(2)
        ]
        top = graph.root
        while graph.nodes[top].symbol == "Neg":
            (top,) = graph.nodes[top].args
        # Two weights on the outermost sum say what its scale is.
        if scale and (top, 0) not in places:
            places.append((len(graph.nodes), 0))
        elif not scale and (top, 0) in places:
            places.remove((top, 0))
        self.places = tuple(places)

    def weighted(self, weights: Sequence[float]) -> LossGraph:
        """The expression with a factor on each place: the nearest of `RATIOS` to each weight, which are above 0.

        Raises:
            FormulaError: it is too deep or too long then.
        """
        factors = dict(zip(self.places, (nearest_ratio(weight) for weight in weights), strict=True))
        builder = GraphBuilder(self.graph.signature)
        made: list[int] = []
        for index, node in enumerate(self.graph.nodes):
            args = [
                _scaled(builder, made[arg], factors.get((index, position), 1.0))
                for position, arg in enumerate(node.args)
            ]
            made.append(builder.add(node.symbol, *args))
        return builder.finish(_scaled(builder, made[-1], factors.get((len(made), 0), 1.0)))


def nearest_ratio(weight: float) -> float:
    """The nearest of `RATIOS` by the quotient."""
    return min(RATIOS, key=lambda ratio: abs(math.log(ratio / weight)))


def _scaled(builder: GraphBuilder, node: int, ratio: float) -> int:
    above, below = _TERMS[ratio]
    if above != 1:
        node = builder.add("Mul", _number(builder, above), node)
    return node if below == 1 else builder.add("Div", node, _number(builder, below))


def _number(builder: GraphBuilder, whole: int) -> int:
    if whole <= 3:
        return builder.add(str(whole))
    if whole == 8:
        return builder.add("Mul", builder.add("2"), _number(builder, 4))
    first, second = {4: ("2", "2"), 6: ("2", "3"), 9: ("3", "3")}[whole]
    return builder.add("Mul", builder.add(first), builder.add(second))


Weights = tuple[float, ...]


class WeightSearch:
    """CMA-ES over the logarithms of so many weights: `ask`, score what it gave, `tell`, and so on.

    Attributes:
        mean: the weights that it holds best so far; all 1 at first.
    """

    def __init__(self, size: int, offspring: int, step: float, seed: int) -> None:
        """
        Args:
            size: number of weights.
            offspring: candidates asked for at a time.
            step: first standard deviation of a weight's natural logarithm.
            seed: same seed, same scores, same questions.
        """
        self._strategy = Strategy([0.0] * size, step, offspring, seed)
        self._asked: list[Vector] = []

    @property
    def mean(self) -> Weights:
        """The strategy's centre."""
        return _weights(self._strategy.mean)

    def ask(self, admits: Callable[[Weights], bool], rounds: int = 10) -> list[Weights]:
        """Candidates that `admits` lets pass; fewer than the offspring where too few do in so many rounds."""
        self._asked = []
        for _ in range(rounds):
            self._asked += [one for one in self._strategy.ask() if admits(_weights(one))]
            if len(self._asked) >= self._strategy.offspring:
                break
        self._asked = self._asked[: self._strategy.offspring]
        return [_weights(one) for one in self._asked]

    def tell(self, scores: Sequence[float]) -> None:
        """Scores of what was asked, in its order; higher is better."""
        self._strategy.tell(self._asked, scores)


def _weights(logarithms: Sequence[float]) -> Weights:
    return tuple(math.exp(float(value)) for value in logarithms)
