"""Evolution of loss expressions: DEAP's trees behind `init / ask / tell`."""

from cse_autoloss.searches.evolution.evolution import Evolution, Proposal
from cse_autoloss.searches.evolution.genome import Limits, PrimitiveSet, random_graph, seeded
from cse_autoloss.searches.evolution.population import EvolutionState, Member, ranked

__all__ = [
    "Evolution",
    "EvolutionState",
    "Limits",
    "Member",
    "PrimitiveSet",
    "Proposal",
    "random_graph",
    "ranked",
    "seeded",
]
