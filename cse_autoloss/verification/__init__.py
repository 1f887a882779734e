"""The first filter: does a loss have the convergence properties, that is, does it point the right way?"""

from cse_autoloss.settings.filters import VerifySettings
from cse_autoloss.verification.population import (
    PopulationReport,
    fingerprint,
    verify,
    verify_forest,
    verify_population,
)
from cse_autoloss.verification.shorten import shortened

__all__ = [
    "PopulationReport",
    "VerifySettings",
    "fingerprint",
    "shortened",
    "verify",
    "verify_forest",
    "verify_population",
]
