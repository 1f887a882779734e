"""Convergence property verification: does a loss point the right way everywhere? A millisecond a candidate.

Source: Liu et al., ICLR 2021 (CSE-Autoloss), whose properties are here checked on probe grids.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from cse_autoloss.convergence.curves import ProbeGrid
from cse_autoloss.convergence.grids import GridKind, probe_grid
from cse_autoloss.convergence.judge import Fault, judge
from cse_autoloss.convergence.reasons import accepted, structural, verdict_at
from cse_autoloss.convergence.settings import DEFAULT, VerifySettings
from cse_autoloss.graph import LossGraph, evaluate_with_derivative
from cse_autoloss.verdict import Verdict


def verify(graph: LossGraph, settings: VerifySettings = DEFAULT) -> Verdict:
    """Check one candidate.

    Classification: where w = 1 the loss falls as the logit moves towards the right answer, everywhere, is
        not flat for any kind of sample, and its gradient vanishes towards the right answer. Where w < 1 a
        positive's loss may instead have one minimum, whose logit rises with w. Value and gradient are finite
        out to logits of ±100, in float64 and in float32. Regression: along motions of a box onto its ground
        truth the loss never rises, falls while the two overlap, and is least where they coincide; boxes have
        sides of 8 to 64 pixels.

    Returns:
        A verdict whose `code` names the violated property, `where` the place, and `figure` the measured size.
    """
    started = time.perf_counter()
    fault = missing_variable(graph)
    if fault is not None:
        return structural(fault, graph.branch, time.perf_counter() - started)
    kind = grid_kind(graph)
    for dtype in (torch.float64, torch.float32):
        grid = probe_grid(kind, True, dtype)
        value, slope = evaluate_on(graph, grid)
        findings = judge(value[None], slope[None], grid, settings)
        verdict = verdict_at(findings, 0, grid, time.perf_counter() - started)
        if verdict is not None:
            return verdict
    return accepted(graph.branch, time.perf_counter() - started)


def missing_variable(graph: LossGraph) -> Fault | None:
    """The fault that the formula's variables alone prove, if any."""
    return fault_of_variables(graph.branch, frozenset(graph.variables))


def fault_of_variables(branch: str, names: frozenset[str]) -> Fault | None:
    """The fault of a formula that reads just these variables, if that alone proves one."""
    if branch == "reg":
        return None if "I" in names and ("U" in names or "E" in names) else Fault.IGNORES_INTERSECTION
    if "X" not in names:
        return Fault.IGNORES_LOGIT
    targets = {"PY", "NY", "Q"} if branch == "cls-binary" else {"Y"}
    return None if targets & names else Fault.IGNORES_TARGET


def grid_kind(graph: LossGraph) -> GridKind:
    """The probe grid for this candidate."""
    if graph.branch == "reg":
        return "reg"
    if graph.branch == "cls-multiclass":
        return "multiclass"
    return "binary-coupled" if any(node.symbol == "Softmax" for node in graph.nodes) else "binary"


def evaluate_on(graph: LossGraph, grid: ProbeGrid) -> tuple[Tensor, Tensor]:
    """Loss and slope on the grid, (K, P) each, summed over a sample's classes."""
    value, slope = evaluate_with_derivative(graph, grid.inputs, grid.tangents)
    if next(iter(grid.inputs.values())).ndim == 2:
        value, slope = value.sum(-1), slope.sum(-1)
    rows = grid.shape[0] * grid.shape[1]
    return value.expand(rows).view(grid.shape), slope.expand(rows).view(grid.shape)
