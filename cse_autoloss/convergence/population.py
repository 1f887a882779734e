"""Verification of a whole population at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cse_autoloss.convergence.fingerprint import digest_of_slopes
from cse_autoloss.convergence.grids import probe_grid
from cse_autoloss.convergence.settings import DEFAULT, VerifySettings
from cse_autoloss.convergence.verify import evaluate_on, grid_kind, verify
from cse_autoloss.graph import LossGraph
from cse_autoloss.verdict import Verdict


def verify_population(graphs: Sequence[LossGraph], settings: VerifySettings = DEFAULT) -> list[Verdict]:
    """A verdict for each candidate, in order; the same as `verify` gives."""
    return [verify(graph, settings) for graph in graphs]


def fingerprint(graph: LossGraph) -> str:
    """Digest of the loss's rounded gradients on its branch's probe grid, 32 hex digits."""
    kind = grid_kind(graph)
    _, slope = evaluate_on(graph, probe_grid(kind, True, torch.float64))
    return digest_of_slopes(slope, kind)
