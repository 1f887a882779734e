"""What a softmax head's loss asks for on average: of shares η of the classes, where the expected loss is least.

All logits but one are alike. With x that one's lead over the log-sum of the n − 1 others, its softmax is σ(x), and the
others' are σ(−x)/(n − 1) each. So with s₁ the loss's slope by the lead where its class is the target, and s₀ where
another is, all is as for a sigmoid head: the expected loss stands still where η = s₀/(s₀ − s₁), and the sum over the
targets is constant where s₁ + (n − 1)·s₀ = 0. Of two columns that tells all logits, of more a part of them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from cse_autoloss.certify.bisect import Axis, Budget
from cse_autoloss.certify.calibration import told
from cse_autoloss.certify.classes import (
    NEAR,
    OF_COLUMN,
    frequencies,
    logit_axis,
    standing_axes,
    standing_steps,
)
from cse_autoloss.certify.columns import Column, written
from cse_autoloss.certify.result import Finding
from cse_autoloss.certify.scene import Evaluated, Point, Scene
from cse_autoloss.certify.tape import Tape
from cse_autoloss.graph import LossGraph, compile_graph, stabilize
from cse_autoloss.spaces.standing import FREQUENCY, PROGRESS, standing_in

COLUMNS = (2, 10)
"""How many columns are looked at, background among them."""
_CONSTANT = "L(x, c) summed over the targets c is constant"


def choices(graph: LossGraph, budget: Budget) -> list[Finding]:
    """Is the loss proper, and its sum over the targets constant, with w = 1; of losses that read softmax alone."""
    share = replace(budget, boxes=budget.boxes // len(COLUMNS))
    found = []
    for columns in COLUMNS:
        tape = Tape()
        scenes = [_scene(graph, columns, target, tape) for target in (True, False)]
        reads = {"t", "w", "x"}.union(*(tape.reads(one.loss) for one in scenes))
        scenes = [replace(one, axes=tuple(a for a in one.axes if a.name in reads)) for one in scenes]
        place = f"{columns} columns, all logits but one alike, "
        found.append(told(scenes[0], scenes[1], share, _CONSTANT, columns - 1, place))
    return [_of_all(each) for each in zip(*found, strict=True)]


def _of_all(parts: tuple[Finding, ...]) -> Finding:
    """Refuted where one is, proved where all are."""
    for outcome in ("refuted", "open"):
        for one in parts:
            if one.outcome == outcome:
                return one
    listed = " and ".join(map(str, COLUMNS))
    return replace(parts[0], domain=f"{listed} columns, {parts[0].domain.partition(' columns, ')[2]}")


def _scene(graph: LossGraph, columns: int, target: bool, tape: Tape) -> Scene:
    """The loss where one logit's lead moves, and its class is the target, or another one is."""
    x, one = tape.variable("x"), tape.number(1)
    behind = tape.apply("LogSig", tape.apply("Neg", x))
    behind = tape.apply("Sub", behind, tape.number(math.log(columns - 1)))
    leads = (tape.apply("Sig", x), tape.apply("LogSig", x))
    follows = (tape.apply("Exp", behind), behind)
    read = standing_in(graph)
    lead, rest = (standing_steps(tape, read, name) for name in ("x", "y"))
    kinds = [(target, 1, leads), (not target, 1, follows), (False, columns - 2, follows)]
    parts = [
        Column(
            {"X": x, "Y": tape.number(float(mark)), **(lead if shares == leads else rest)},
            count,
            {"X": shares},
        )
        for mark, count, shares in _joined(kinds)
    ]
    loss = written(tape, stabilize(graph), parts, {"Z": tape.variable("w"), **lead})[0]
    axes = [logit_axis("x"), *standing_axes(read, ("x", "y")), Axis("w", 1.0, 1.0, split=False)]
    return Scene(
        tape, loss, tuple(axes), {"x": one}, 1 if target else -1, "", "", _Evaluation(graph, columns, target),
        {"x": (-NEAR, NEAR)},
    )  # fmt: skip


_Kind = tuple[bool, int, tuple[int, int]]


def _joined(kinds: list[_Kind]) -> list[_Kind]:
    """Kinds of columns with a count; those beside a leading target are one."""
    lead, second, rest = kinds
    if not second[0]:
        return [lead, (False, second[1] + rest[1], second[2])]
    return [one for one in (lead, second, rest) if one[1]]


class _Evaluation:
    """The slope of the loss itself by the leading logit."""

    def __init__(self, graph: LossGraph, columns: int, target: bool) -> None:
        self._variables, self._columns, self._target = graph.signature.variables, columns, target
        self._evaluate = compile_graph(graph)

    def __call__(self, point: Point) -> Evaluated:
        # The log-sum of the others is 0, so the first logit is its lead.
        behind = 0.0 - math.log(self._columns - 1)
        x = torch.full((1, self._columns), behind, dtype=torch.float64)
        x[0, 0] = point["x"]
        x.requires_grad_()
        mark = torch.zeros_like(x.detach())
        mark[0, 0 if self._target else 1] = 1.0
        inputs = {"X": x, "Y": mark, "Z": torch.ones(1, 1).double()}
        inputs[PROGRESS.name] = torch.full((1, 1), point.get("t", 1.0)).double()
        second = point.get("f of the second", 1.0)
        inputs[FREQUENCY.name] = frequencies({**point, "f of the rest": second}, self._columns)
        value = self._evaluate({name: inputs[name] for name in self._variables}).sum()
        (slope,) = torch.autograd.grad(value, x, allow_unused=True, materialize_grads=True)
        beside = {name: point[name] for name in OF_COLUMN.values() if name in point}
        return float(slope[0, 0]), {"columns": self._columns, "the other logits": behind, **beside}
