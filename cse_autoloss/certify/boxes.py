"""Losses of boxes: a predicted box that overlaps its target and moves straight onto it.

In units of the target's sides, let δ be the share of a side that the predicted box misses, and k how far it reaches out
beyond the target. With δ, k along x and ε, l along y, and A the target's area::

    I = A(1 − δ)(1 − ε),   U = A(1 + k(1 − ε) + l(1 − δ) + kl),   E = U + A(kε + lδ)

and as all corners go straight to their places, all four shrink in proportion: (δ, k, ε, l) = t·(a direction), t → 0. So
four numbers and the area tell all pairs of boxes, and a statement about the slope by t is one about all such motions.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cse_autoloss.certify.bisect import Axis, Budget, Ranges, decide
from cse_autoloss.certify.columns import Column, written
from cse_autoloss.certify.properties import bounded_below, decided, largest_slope, never_rises
from cse_autoloss.certify.result import Finding
from cse_autoloss.certify.scene import TOLERANCE, Evaluated, Point, Scene
from cse_autoloss.certify.tape import Tape
from cse_autoloss.graph import LossGraph, compile_graph, stabilize
from cse_autoloss.operators.intervals import add, negative
from cse_autoloss.spaces.boxes import BOX_EPSILON, box_inputs
from cse_autoloss.spaces.standing import CHANCE, PROGRESS, SIZE, standing_in
from cse_autoloss.spaces.wide import MEDIUM, box_size

LONGEST = 2000.0
"""Longest side of a target, in pixels."""
OUTSIDE = 4.0
"""How many sides of its target a predicted box may reach out beyond it."""
_MISSED = 0.999
_MOTIONS = 150_000
"""Boxes for the slopes along motions, at most: what is asked first of a box loss, and in the most dimensions."""
_LEAST = "Least where the boxes coincide"
_TOLD = (
    f"overlapping boxes, targets of 1 to {LONGEST:g} px a side, predictions up to {OUTSIDE:g} sides beyond"
)


_ANY = {PROGRESS: ", all through the training", CHANCE: ", any chance of the class"}
_RANGES = {SIZE: (1 / (1 + MEDIUM), LONGEST / (LONGEST + MEDIUM))}


def findings(graph: LossGraph, budget: Budget) -> list[Finding]:
    """The properties of a box loss."""
    degree = degree_of(graph)
    many = replace(budget, boxes=min(5 * budget.boxes, _MOTIONS))
    budget = replace(budget, boxes=min(budget.boxes, 60_000))
    scenes = [_scene(graph, lead, degree) for lead in ("missed", "outside")]
    name = "Never rises while overlapping boxes come together"
    parts = [never_rises(name, one, many, sharp=True) for one in scenes]
    worst = next((one for kind in ("refuted", "open") for one in parts if one.outcome == kind), parts[0])
    least = replace(worst, name=_LEAST)
    if worst.outcome != "proved":
        found = [_least(one, budget) for one in scenes]
        least = next((one for kind in ("refuted", "open") for one in found if one.outcome == kind), found[0])
    if budget.signs:
        return [worst, least]
    return [
        worst,
        least,
        _homogeneous(graph, degree if all(_has_values(one) for one in scenes) else None),
        bounded_below("Bounded below", scenes, budget),
        largest_slope("Slope along the motions is bounded", scenes, budget),
    ]


def _least(scene: Scene, budget: Budget) -> Finding:
    """Whether no box has a lower loss than the target itself, by more than `TOLERANCE` of the largest slope."""
    allowed = TOLERANCE * scene.scale
    nowhere = np.zeros(1)

    def status(boxes: Ranges) -> tuple[Any, Any, Any]:
        there = scene.ranges(scene.loss, {**boxes, "t": (nowhere, nowhere)})
        low, high = add(scene.ranges(scene.loss, boxes), negative(there))
        return low >= -allowed, high < -allowed, -high

    decision = decide(scene.axes, status, budget)
    if decision.violation is None:
        return decided(_LEAST, scene, decision)
    assert isinstance(scene.evaluate, _Evaluation)
    value, told = scene.evaluate.loss(decision.violation)
    least, _ = scene.evaluate.loss({**decision.violation, "t": 0.0})
    witness = {**told, "loss": float(value), "loss of the target itself": float(least)}
    if value < least:
        return Finding(_LEAST, "refuted", scene.domain, "another box has a lower loss", witness)
    return Finding(_LEAST, "open", scene.domain, "intervals refute it where the loss itself does not")


def _scene(graph: LossGraph, lead: str, degree: float | None) -> Scene:
    """Motions on which the part missed along x is the largest of the four, or the part outside along x, in eighths."""
    tape = Tape()
    t, one = tape.variable("t"), tape.number(1)
    parts = {}
    for name, most in (("δ", _MISSED), ("k", OUTSIDE), ("ε", _MISSED), ("l", OUTSIDE)):
        leads = name == ("δ" if lead == "missed" else "k")
        direction = one if leads else tape.variable(name)
        parts[name] = tape.apply("Mul", tape.apply("Mul", tape.number(most), direction), t)
    has_x, has_y = (tape.apply("Sub", one, parts[name]) for name in ("δ", "ε"))
    beyond = tape.apply("Add", tape.apply("Mul", parts["k"], has_y), tape.apply("Mul", parts["l"], has_x))
    beyond = tape.apply("Add", beyond, tape.apply("Mul", parts["k"], parts["l"]))
    around = tape.apply(
        "Add", tape.apply("Mul", parts["k"], parts["ε"]), tape.apply("Mul", parts["l"], parts["δ"])
    )
    area = one if degree is not None else tape.variable("area")
    relative = {"I": tape.apply("Mul", has_x, has_y), "U": tape.apply("Add", one, beyond), "E": around}
    inputs = {name: tape.apply("Mul", area, step) for name, step in relative.items()}
    inputs["U"] = tape.apply("Add", inputs["U"], tape.variable("tiny"))
    # E as U and what is around it, so that E − U is seen to be that.
    inputs["E"] = tape.apply("Add", inputs["U"], inputs["E"])
    standing = [still for still in standing_in(graph) if still != SIZE or degree is not None]
    inputs |= {still.name: tape.variable(still.word) for still in standing}
    if degree is None:
        # The size is that of the area; else the area is the unit, and targets of all sizes are meant.
        side = tape.apply("Sqrt", area)
        inputs[SIZE.name] = tape.apply("Div", side, tape.apply("Add", side, tape.number(MEDIUM)))
    (loss,) = written(tape, stabilize(graph), [Column({})], inputs)
    free = [name for name in ("δ", "k", "ε", "l") if name != ("δ" if lead == "missed" else "k")]
    axes = [Axis("t", 0.0, 1.0), *(Axis(name, 0.0, 1.0) for name in free)]
    # In units of the target's area the 1e-7 that is added to U and E is anything up to itself.
    axes.append(Axis("tiny", 0.0 if degree is not None else BOX_EPSILON, BOX_EPSILON, split=False))
    if degree is None:
        axes.append(Axis("area", 1.0, LONGEST**2, geometric=True))
    told = _TOLD
    for still in standing:
        axes.append(Axis(still.word, *_RANGES.get(still, (still.low, 1.0))))
        told += _ANY.get(still, "")
    return Scene(
        tape, loss, tuple(axes), {"t": one}, -1, "as the boxes come together", told, _Evaluation(graph, lead), {}
    )  # fmt: skip


class _Evaluation:
    """The slope of the loss itself as real boxes come together."""

    def __init__(self, graph: LossGraph, lead: str) -> None:
        self._lead, self._evaluate, self._standing = lead, compile_graph(graph), standing_in(graph)

    def __call__(self, point: Point) -> Evaluated:
        t = torch.tensor(point["t"], dtype=torch.float64, requires_grad=True)
        value, told = self.loss(point, t)
        (slope,) = torch.autograd.grad(value, t)
        return float(slope), told

    def loss(self, point: Point, t: Tensor | None = None) -> tuple[Tensor, dict[str, Any]]:
        """The loss, at another t where one is given, and the two boxes."""
        t = torch.tensor(point["t"], dtype=torch.float64) if t is None else t
        side = math.sqrt(point.get("area", 1024.0))
        if "size" in point:
            side = MEDIUM * point["size"] / (1 - point["size"])
        full = {**point, "δ" if self._lead == "missed" else "k": 1.0}
        start = [
            _MISSED * full["δ"] * t,
            _MISSED * full["ε"] * t,
            1 + OUTSIDE * full["k"] * t,
            1 + OUTSIDE * full["l"] * t,
        ]
        boxes = torch.stack(start)[None] * side
        target = torch.tensor([[0.0, 0.0, side, side]], dtype=torch.float64)
        told: dict[str, Any] = {
            "predicted box": [round(v, 4) for v in boxes.detach()[0].tolist()],
            "target": [0.0, 0.0, round(side, 4), round(side, 4)],
        }
        standing = {}
        for one in self._standing:
            value = point.get(one.word, 1.0) if one != SIZE else float(box_size(target))
            standing[one.name] = torch.tensor(value, dtype=torch.float64)
            if one == SIZE or one.word in point:
                told[one.word] = round(float(value), 4)
        return self._evaluate({**box_inputs(boxes, target), **standing}).sum(), told


def degree_of(graph: LossGraph) -> float | None:
    """d where the loss of boxes that are all s times as large is s²ᵈ times the loss; None where no d is seen."""
    degrees: list[float | None] = []
    for node in graph.nodes:
        args = [degrees[arg] for arg in node.args]
        degrees.append(_degree(node.symbol, args) if None not in args else None)  # type: ignore[arg-type]
    return degrees[-1]


def _degree(symbol: str, args: list[float]) -> float | None:
    if not args:
        return 1.0 if symbol in ("I", "U", "E") else 0.0
    if symbol in ("Mul", "Div"):
        return args[0] + args[1] if symbol == "Mul" else args[0] - args[1]
    if symbol == "Sqrt":
        return args[0] / 2
    if symbol in ("Add", "Sub", "Neg", "Abs", "Relu"):
        return args[0] if len(set(args)) == 1 else None
    return 0.0 if not any(args) else None


def _has_values(scene: Scene) -> bool:
    """Whether the loss surely has a value in all of the domain."""

    def status(boxes: Ranges) -> tuple[Any, Any, Any]:
        low, _ = scene.ranges(scene.loss, boxes)
        return ~np.isnan(low), np.zeros(len(low), dtype=bool), low

    return not decide(scene.axes, status, Budget(2_000)).remaining


def _homogeneous(graph: LossGraph, degree: float | None) -> Finding:
    """Whether the loss is the same at every scale, but for the 1e-7 that is added to U and E."""
    name, domain = "The same at every scale of the image", "all boxes, but for the 1e-7 added to U and E"
    if degree == 0 and SIZE not in standing_in(graph):
        return Finding(name, "proved", domain, required=False)
    evaluate = compile_graph(graph)
    boxes = torch.tensor([[2.0, 1.0, 12.0, 9.0]], dtype=torch.float64)
    target = torch.tensor([[0.0, 0.0, 10.0, 10.0]], dtype=torch.float64)
    half = torch.tensor(0.5, dtype=torch.float64)
    state = {one.name: half for one in standing_in(graph)}
    small = float(evaluate({**box_inputs(boxes, target), **state, SIZE.name: box_size(target)}).sum())
    for times in (10, 100):
        larger = {**box_inputs(boxes * times, target * times), **state, SIZE.name: box_size(target * times)}
        large = float(evaluate(larger).sum())
        if abs(large - small) > 1e-6 * (abs(small) + 1e-6):
            pair = {"box": boxes[0].tolist(), "target": target[0].tolist()}
            witness = {**pair, "loss": small, f"loss at {times} times the size": large}
            return Finding(name, "refuted", domain, "", witness, required=False)
    detail = "its terms have different units, or no value somewhere, and yet it did not change"
    return Finding(name, "open", domain, detail, required=False)
