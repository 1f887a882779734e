"""What a loss is to a network: its slopes along the walks of its signature.

Two formulas with the same slopes train alike, whatever they look like. So losses are compared, and their worth is
foretold, in the space of their slopes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cse_autoloss.graph import LossGraph
from cse_autoloss.operators import ALL_OPERATORS
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.curves import Look
from cse_autoloss.spaces.random_expressions import Forest
from cse_autoloss.verification.node_table import make_table
from cse_autoloss.verification.table_evaluate import TableEvaluator

EVERY = 3
"""Of the points of a fine grid, every third is a feature: slopes of losses hardly change between neighbours."""
AT_ONCE = 200
"""Losses that are evaluated together: a thousand take more than half a gigabyte, and no less time each."""
KNEE = 0.01
"""Slopes g become asinh(g / KNEE): even in size below it, in their logarithm above."""

Floats = NDArray[np.float64]


def slope_features(graphs: Sequence[LossGraph]) -> Floats:
    """(N, D) features of N losses of one signature, in order: asinh of the slopes along its walks.

    Args:
        graphs: one or more. Where a Softmax may stand in a loss of their signature, the walks of losses whose classes
            see each other are taken for all of them.
    """
    signature = graphs[0].signature
    coupled = any(ALL_OPERATORS[name].shape == "softmax" for name in signature.operators)
    grid = form_of(signature).grid(Look(True, coupled)).to(torch.float64, "cpu")
    evaluator, found = TableEvaluator(grid), []
    for start in range(0, len(graphs), AT_ONCE):
        _, slope = evaluator.run(make_table(Forest.of(graphs[start : start + AT_ONCE])))
        told = slope.nan_to_num(0.0, 0.0, 0.0).masked_fill(~grid.slope_mask, 0.0).flatten(1)[:, ::EVERY]
        found.append(np.arcsinh(told.numpy() / KNEE))
    return np.concatenate(found)
