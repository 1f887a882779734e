"""A model of what a loss is worth, learnt from the trainings of a run: see `Surrogate`."""

from cse_autoloss.surrogate.memory import Remembered, remembered, shipped
from cse_autoloss.surrogate.model import Surrogate, placed
from cse_autoloss.surrogate.slopes import slope_features

__all__ = ["Remembered", "Surrogate", "placed", "remembered", "shipped", "slope_features"]
