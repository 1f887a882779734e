"""Losses of a user's signature, and of residuals: what is said of them are their walks."""

from __future__ import annotations

from typing import Any

import torch

from cse_autoloss.certify.bisect import Axis, Budget
from cse_autoloss.certify.columns import Column, total, written
from cse_autoloss.certify.properties import bounded_below, largest_slope, never_rises
from cse_autoloss.certify.result import Finding
from cse_autoloss.certify.scene import Evaluated, Point, Scene
from cse_autoloss.certify.tape import Tape
from cse_autoloss.graph import Kind, LossGraph, Signature, Value, Walk, compile_graph, stabilize


def findings(graph: LossGraph, budget: Budget) -> list[Finding]:
    """That the loss never rises along a walk, and bounds on the walks."""
    scenes = [scene_of(graph, walk, Tape()) for walk in graph.signature.walks]
    found = [never_rises("Never rises along the walk", one, budget) for one in scenes]
    if budget.signs:
        return found
    return [
        *found,
        bounded_below("Bounded below on its walks", scenes, budget),
        largest_slope("Slope is bounded on its walks", scenes, budget),
    ]


def scene_of(graph: LossGraph, walk: Walk, tape: Tape) -> Scene:
    """The loss along a walk, t from 0 to 1."""
    signature = graph.signature
    t = tape.variable("t")
    ends = {name: (a, b) for name, a, b in zip(walk.moving, walk.start, walk.end, strict=True)}
    ends |= {name: (value, value) for name, value in walk.at.items()}
    count = _classes(signature)

    def step(name: str, place: int) -> int:
        a, b = (value[place] if isinstance(value, tuple) else value for value in ends[name])
        return tape.apply("Add", tape.number(a), tape.apply("Mul", tape.number(b - a), t))

    per_class = [one.name for one in signature.inputs if one.kind is Kind.PER_CLASS]
    sample = {one.name: step(one.name, 0) for one in signature.inputs if one.kind is Kind.PER_SAMPLE}
    columns = [Column({name: step(name, place) for name in per_class}) for place in range(count)]
    values = written(tape, stabilize(graph), columns, sample)
    loss = values[0] if len(values) == 1 else total(tape, values, columns)
    return Scene(
        tape, loss, (Axis("t", 0.0, 1.0),), {"t": tape.number(1)}, 1, f"on the walk of {walk}",
        f"the walk of {walk}", _Evaluation(graph, ends, count), {},
    )  # fmt: skip


def _classes(signature: Signature) -> int:
    if not any(one.kind is Kind.PER_CLASS for one in signature.inputs):
        return 1
    places = [v for walk in signature.walks for v in (*walk.start, *walk.end, *walk.at.values())]
    return max(2, *(len(v) for v in places if isinstance(v, tuple)), 2)


class _Evaluation:
    """The slope of the loss itself along a walk."""

    def __init__(self, graph: LossGraph, ends: dict[str, tuple[Value, Value]], count: int) -> None:
        self._graph, self._ends, self._count = graph, ends, count
        self._evaluate = compile_graph(graph)

    def __call__(self, point: Point) -> Evaluated:
        t = torch.tensor(point["t"], dtype=torch.float64, requires_grad=True)
        inputs, told = {}, dict[str, Any]()
        for name, (a, b) in self._ends.items():
            first, last = (torch.tensor(value, dtype=torch.float64) for value in (a, b))
            value = first + t * (last - first)
            per_class = self._graph.signature.kind_of(name) is Kind.PER_CLASS
            inputs[name] = value.expand(1, self._count) if per_class else value.reshape(1, 1)
            told[name] = value.detach().tolist()
        (slope,) = torch.autograd.grad(
            self._evaluate(inputs).sum(), t, allow_unused=True, materialize_grads=True
        )
        return float(slope), {"t": point["t"], **told}
