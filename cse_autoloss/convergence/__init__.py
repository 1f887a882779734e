"""The two filters before a proxy training: does the loss point the right way, and does a small model learn with it."""

from cse_autoloss.convergence.settings import VerifySettings
from cse_autoloss.convergence.verify import verify

__all__ = ["VerifySettings", "verify"]
