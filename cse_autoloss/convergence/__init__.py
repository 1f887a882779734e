"""The two filters before a proxy training.

Verification asks whether a loss points the right way, simulation whether a small model learns with it.
"""

from cse_autoloss.convergence.population import (
    PopulationReport,
    fingerprint,
    verify,
    verify_forest,
    verify_population,
)
from cse_autoloss.convergence.settings import VerifySettings
from cse_autoloss.convergence.shorten import shortened
from cse_autoloss.convergence.simulate import SimulateSettings, Simulator
from cse_autoloss.convergence.small_model import SimulationData

__all__ = [
    "PopulationReport",
    "SimulateSettings",
    "SimulationData",
    "Simulator",
    "VerifySettings",
    "fingerprint",
    "shortened",
    "verify",
    "verify_forest",
    "verify_population",
]
