"""Look at a loss: its curves, its graph, the verifier's verdict and whether it depends on scale."""

from cse_autoloss.explain.page import Explanation, explain

__all__ = ["Explanation", "explain"]
