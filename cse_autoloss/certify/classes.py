"""Scenes of classification: a target's column, a moving one, and the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cse_autoloss.certify.bisect import Axis
from cse_autoloss.certify.columns import Column, written
from cse_autoloss.certify.scene import Evaluated, Point, Scene
from cse_autoloss.certify.tape import Tape
from cse_autoloss.graph import LossGraph, compile_graph, stabilize

REACH = 100.0
"""Logits are looked at from −100 to 100."""
CLASSES = (1, 2, 10, 80, 1000)
"""Numbers of classes, where they matter."""
_CUTS = tuple(float(x) for x in range(-90, 100, 10))
NEAR = 6.0


def is_coupled(graph: LossGraph) -> bool:
    """Whether the classes of a sample see each other."""
    return any(node.symbol in ("Softmax", "LogSoftmax", "Dot") for node in graph.nodes)


def logit_axis(name: str = "x", low: float = -REACH, high: float = REACH) -> Axis:
    """A logit over its range, cut to begin with."""
    return Axis(name, low, high, cuts=_CUTS)


def quality_axis(graph: LossGraph, low: float, high: float) -> Axis:
    """w, the IoU of a positive; at 1 where the loss does not read it."""
    reads = bool({"Q", "Z"} & set(graph.variables))
    return Axis("w", low if reads else 1.0, high if reads else 1.0, split=reads and low < high)


def single(graph: LossGraph, positive: bool, w: tuple[float, float] = (1.0, 1.0)) -> Scene:
    """One logit of a sigmoid head's loss whose classes do not see each other."""
    tape = Tape()
    y = tape.number(float(positive))
    quality = tape.variable("w") if positive else tape.number(0)
    column = Column({"X": tape.variable("x"), "Q": quality, "PY": y, "NY": tape.number(1.0 - positive)})
    (loss,) = written(tape, stabilize(graph), [column])
    evaluate = compile_graph(graph)

    def at(point: Point) -> Evaluated:
        x = torch.tensor([[point["x"]]], dtype=torch.float64, requires_grad=True)
        one = torch.ones_like(x.detach())
        inputs = {"X": x, "Q": one * (point["w"] if positive else 0), "PY": one * positive}
        told: dict[str, Any] = {"x": point["x"], "y": int(positive)}
        told |= {"w": point["w"]} if positive and quality_axis(graph, 0, 1).split else {}
        return _slope(evaluate({**inputs, "NY": 1 - inputs["PY"]}), x), told

    axis = quality_axis(graph, *w)
    axes = (logit_axis(), axis) if positive else (logit_axis(),)
    place = "positives" if positive else "negatives"
    told = f", w in [{axis.low:g}, {axis.high:g}]" if positive and axis.split else ""
    told = told or (", w = 1" if positive and "Q" in graph.variables else "")
    return Scene(
        tape, loss, axes, {"x": tape.number(1)}, 1 if positive else -1, place,
        f"{place}, logit in [−{REACH:g}, {REACH:g}]{told}", at, {"x": (-NEAR, NEAR)},
    )  # fmt: skip


def _slope(values: Tensor, by: Tensor) -> float:
    total_value = values.sum()
    if not total_value.requires_grad:
        return 0.0
    (slope,) = torch.autograd.grad(total_value, by, allow_unused=True, materialize_grads=True)
    return float(slope.sum())
