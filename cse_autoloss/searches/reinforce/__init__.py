"""REINFORCE over parametric losses, as AM-LFS and Search-Softmax use it, behind `init / ask / tell`."""

from cse_autoloss.searches.reinforce.policy import log_probability, normalise, score_gradient
from cse_autoloss.searches.reinforce.search import Reinforce, ReinforceState, best_of

__all__ = [
    "Reinforce",
    "ReinforceState",
    "best_of",
    "log_probability",
    "normalise",
    "score_gradient",
]
