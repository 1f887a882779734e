"""The signature of losses of regression: one residual a sample."""

from __future__ import annotations

from cse_autoloss.graph import Input, Signature, Walk

REGRESSION = Signature(
    "regression",
    [Input("R", meaning="prediction − target, in deviations of the targets")],
    default="Mul(R,R)",
    walks=[Walk("R", start=start, end=0.0, may_rest=True) for start in (-10.0, 10.0)],
)
"""The loss may rest far away, as robust ones do, and need not be even."""
