"""The second filter: does a small model learn with a loss?"""

from cse_autoloss.simulation.simulator import SimulateSettings, Simulator
from cse_autoloss.simulation.small_model import SimulationData

__all__ = ["SimulateSettings", "SimulationData", "Simulator"]
