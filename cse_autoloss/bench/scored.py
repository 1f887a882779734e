"""What a task's `train` gave back, held against what a score is: a task may be anybody's."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from cse_autoloss.errors import AutoLossError, shorten
from cse_autoloss.tasks.protocol import Task, TaskScore


def scored(given: Any, task: Task) -> TaskScore:
    """The score that a training gave; its figures are made floats, so that tensors and numpy's scalars will do.

    One that says "ok" beside a figure that is not finite diverged.

    Raises:
        AutoLossError: it is no score, or lacks a metric that the task declares.
    """
    where = f"the task {task.name}: train"
    if not isinstance(given, TaskScore):
        raise AutoLossError(f"{where} must return a TaskScore, got {shorten(repr(given), 100)}")
    if given.status not in ("ok", "diverged"):
        raise AutoLossError(f"{where} gave the status {given.status!r}; expected 'ok' or 'diverged'")
    if given.status == "diverged":
        return given if not given.metrics else replace(given, metrics={})
    metrics = {name: _number(value, f"{where}: {name}") for name, value in given.metrics.items()}
    missing = [metric.name for metric in task.metrics if metric.name not in metrics]
    if missing:
        there = ", ".join(metrics) or "none"
        raise AutoLossError(
            f"{where} gave no {', '.join(missing)}, which the task declares; there is {there}"
        )
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        return replace(
            given, metrics={}, status="diverged", detail=f"not finite: {', '.join(broken)}", parts={}
        )
    parts = {name: _number(value, f"{where}: {name}") for name, value in given.parts.items()}
    return replace(given, metrics=metrics, parts=parts)


def _number(value: Any, where: str) -> float:
    try:
        if not isinstance(value, (str, bytes)):
            return float(value)
    except Exception:  # a stranger's __float__ may raise anything
        pass
    raise AutoLossError(f"{where}: expected a number, got {shorten(repr(value), 100)}")
