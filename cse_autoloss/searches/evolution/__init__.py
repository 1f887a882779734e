"""Evolution of loss expressions: DEAP's trees behind `init / ask / tell`."""

from cse_autoloss.searches.evolution.evolution import Evolution, make_evolution
from cse_autoloss.searches.evolution.genome import Limits, PrimitiveSet, random_graph, seeded

__all__ = [
    "Evolution",
    "Limits",
    "PrimitiveSet",
    "make_evolution",
    "random_graph",
    "seeded",
]
