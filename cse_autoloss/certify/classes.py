"""Scenes of classification: a target's column, another one, and the rest; one of the first two moves."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cse_autoloss.certify.bisect import Axis
from cse_autoloss.certify.columns import Column, total, written
from cse_autoloss.certify.scene import Evaluated, Point, Scene
from cse_autoloss.certify.tape import Tape
from cse_autoloss.graph import LossGraph, compile_graph, stabilize
from cse_autoloss.spaces.standing import FREQUENCY, PROGRESS, Standing, standing_in

REACH = 100.0
"""Logits are looked at from −100 to 100."""
CLASSES = (1, 2, 10, 80, 1000)
"""Numbers of classes, where they matter."""
NEAR = 6.0
"""The largest slope up to this logit is a scene's scale."""
REST_ALIKE = ", the rest of the logits alike"
"""How a domain tells that columns beside the first two have one logit."""
_FAR = 2 * REACH + 10
"""Largest difference of a logit and the others' log-sum, for up to e¹⁰ classes."""


def is_coupled(graph: LossGraph) -> bool:
    """Whether the classes of a sample see each other."""
    return any(node.symbol in ("Softmax", "LogSoftmax", "Dot") for node in graph.nodes)


def reads_quality(graph: LossGraph) -> bool:
    """Whether w matters."""
    return bool({"Q", "Z"} & set(graph.variables))


def logit_axis(name: str = "x", low: float = -REACH, high: float = REACH, split: bool = True) -> Axis:
    """A logit over its range, cut to begin with."""
    return Axis(
        name, low, high, split, cuts=tuple(range(int(low) // 10 * 10, int(high) + 1, 10)) if split else ()
    )


@dataclass(frozen=True)
class Sample:
    """A kind of sample.

    Attributes:
        positive: whether the first column is its target; else it is background, and all columns are alike.
        others: columns beside the first.
        first: whether the first column's logit moves; else the second's.
        w: range of the positive's IoU.
        factors: of a sigmoid head, what the losses of a target's column and of any other are multiplied by.
    """

    positive: bool
    others: int = 0
    first: bool = True
    w: tuple[float, float] = (1.0, 1.0)
    factors: tuple[float, float] = (1.0, 1.0)

    @property
    def rises(self) -> bool:
        """Whether the moving logit ought to rise."""
        return self.positive and self.first


def factors_of(alpha: float | None) -> tuple[float, float]:
    """α and 1 − α, what a target's column and any other are multiplied by; 1 and 1 where there is no α."""
    return (1.0, 1.0) if alpha is None else (alpha, 1.0 - alpha)


OF_COLUMN = {"x": "f", "y": "f of the second", "z": "f of the rest"}
"""The frequency of a column's class, as an axis."""


def standing_axes(read: Collection[Standing], columns: Sequence[str]) -> list[Axis]:
    """Axes of what stands still and is read, a class's frequency one a column."""
    axes = [Axis(PROGRESS.symbol, PROGRESS.low, 1.0)] if PROGRESS in read else []
    if FREQUENCY in read:
        axes += [Axis(OF_COLUMN[name], FREQUENCY.low, 1.0, geometric=True) for name in columns]
    return axes


def standing_steps(tape: Tape, read: Collection[Standing], column: str = "x") -> dict[str, int]:
    """The same as steps, of one column."""
    names = {PROGRESS: PROGRESS.symbol, FREQUENCY: OF_COLUMN[column]}
    return {one.name: tape.variable(name) for one, name in names.items() if one in read}


def scene(
    graph: LossGraph,
    sample: Sample,
    tape: Tape | None = None,
    raw: bool = False,
    read: Collection[Standing] | None = None,
) -> Scene:
    """The sum of a sample's losses, where one of its logits moves.

    Where the logits are read through softmax alone, the columns are told by their shares, and the rest may be anything;
    else, or where `raw`, the rest have one logit. `read` is what stands still and has an axis, by default what the loss
    reads of it.
    """
    tape = tape or Tape()
    softmax = "Y" in graph.signature.variables
    shares = sample.others > 0 and not raw and reads_softmax_alone(graph)
    w = tape.variable("w")
    shared, read = read is not None, standing_in(graph) if read is None else read
    kinds = [("x", 1), ("y", min(sample.others, 1)), ("z", max(sample.others - 1, 0))]
    steps = _shares(tape, sample.others) if shares else {}
    columns = [
        Column(
            {**_inputs(tape, name, sample.positive and name == "x", w), **standing_steps(tape, read, name)},
            count,
            {"X": steps[name]} if shares else {},
        )
        for name, count in kinds
        if count
    ]
    values = written(
        tape, stabilize(graph), columns, {"Z": w, **standing_steps(tape, read)} if softmax else {}
    )
    if not softmax:
        factors = [sample.factors[not (sample.positive and name == "x")] for name, count in kinds if count]
        values = tuple(
            tape.apply("Mul", tape.number(factor), values[place % len(values)])
            for place, factor in enumerate(factors)
        )
    loss = values[0] if softmax and len(values) == 1 else total(tape, values, columns)
    reads = sample.positive and reads_quality(graph)
    axes = [logit_axis("x") if not shares else logit_axis("x", -_FAR, _FAR)]
    if shares:
        axes += [logit_axis("v", -_FAR, _FAR)] if sample.others > 1 else []
        axes += [Axis("u", -_FAR, 0.0, split=False)] if sample.others > 2 else []
    else:
        axes += [logit_axis(name) for name, count in kinds[1:] if count]
    standing = standing_axes(read, [name for name, count in kinds if count])
    axes += [
        axis for axis in standing if shared or axis.name == PROGRESS.symbol or axis.name in tape.reads(loss)
    ]
    axes.append(Axis("w", *(sample.w if reads else (1.0, 1.0)), split=reads and sample.w[0] < sample.w[1]))
    moved = {"x": tape.number(1)} if sample.first else {"y": tape.number(1)}
    if shares and not sample.first:
        share = tape.apply("Sig", tape.variable("v")) if sample.others > 1 else tape.number(1)
        moved = {"x": tape.apply("Neg", share), "v": tape.number(1)}
    return Scene(
        tape, loss, tuple(axes), moved, 1 if sample.rises else -1, _place(sample, softmax),
        _domain(sample, softmax, shares, axes), _Evaluation(graph, sample, shares), _NEAR,
    )  # fmt: skip


_NEAR: Mapping[str, tuple[float, float]] = dict.fromkeys(("x", "y", "z", "v"), (-NEAR, NEAR)) | {
    "u": (0.0, 0.0)
}


def _inputs(tape: Tape, logit: str, target: bool, w: int) -> dict[str, int]:
    mark, other = tape.number(float(target)), tape.number(1.0 - target)
    return {
        "X": tape.variable(logit),
        "Y": mark,
        "PY": mark,
        "NY": other,
        "Q": w if target else tape.number(0),
    }


def reads_softmax_alone(graph: LossGraph) -> bool:
    """Whether the logits are read through their softmax alone."""
    steps = stabilize(graph).nodes
    leaf = [i for i, node in enumerate(steps) if node.symbol == "X"]
    users = [node.symbol for node in steps if set(leaf) & set(node.args)]
    return bool(users) and all(symbol in ("Softmax", "LogSoftmax") for symbol in users)


def _shares(tape: Tape, others: int) -> dict[str, tuple[int, int]]:
    """By column, softmax and its logarithm: x is the first logit's lead over the others, v the second's over the rest,
    and eᵘ the share of one of the rest among them."""
    x, one = tape.variable("x"), tape.number(0)
    behind = tape.apply("Neg", x)
    found = {"x": (tape.apply("Sig", x), tape.apply("LogSig", x))}
    beside = tape.apply("LogSig", behind)
    second, rest = one, one
    if others > 1:
        v = tape.variable("v")
        second, rest = tape.apply("LogSig", v), tape.apply("LogSig", tape.apply("Neg", v))
    if others > 2:
        rest = tape.apply("Add", rest, tape.variable("u"))
    for name, inner in (("y", second), ("z", rest)):
        logarithm = tape.apply("Add", beside, inner)
        found[name] = (tape.apply("Exp", logarithm), logarithm)
    return found


class _Evaluation:
    """The loss itself at a point of a scene."""

    def __init__(self, graph: LossGraph, sample: Sample, shares: bool) -> None:
        self._graph, self._sample, self._shares = graph, sample, shares
        self._evaluate = compile_graph(graph)

    def logits(self, point: Point) -> Tensor:
        """(1, n) the first column, the second, the rest."""
        others = self._sample.others
        rows = [point["x"]]
        if self._shares:
            lead = torch.tensor(point.get("v", math.inf), dtype=torch.float64)
            rows += [float(torch.nn.functional.logsigmoid(lead))] if others else []
            if others > 1:
                rest = float(torch.nn.functional.logsigmoid(-lead)) - math.log(others - 1)
                rows += [rest] * (others - 1)
        else:
            rows += [point.get("y", 0.0)] * min(others, 1) + [point.get("z", 0.0)] * (others - 1)
        found = torch.tensor([rows], dtype=torch.float64)
        # Softmax does not see a shift: so the logits stay within reach.
        return found - 0.5 * (found.amin() + found.amax()) if self._shares else found

    def __call__(self, point: Point) -> Evaluated:
        x = self.logits(point).requires_grad_()
        mark = torch.zeros_like(x.detach())
        mark[0, 0] = float(self._sample.positive)
        w = point["w"]
        inputs = {
            "X": x,
            "Y": mark,
            "PY": mark,
            "NY": 1 - mark,
            "Q": mark * w,
            "Z": torch.full((1, 1), w).double(),
            PROGRESS.name: torch.full((1, 1), point.get("t", 1.0)).double(),
            FREQUENCY.name: frequencies(point, x.shape[1]),
        }
        values = self._evaluate({name: inputs[name] for name in self._graph.signature.variables})
        if "PY" in self._graph.signature.variables:
            positive, other = self._sample.factors
            values = values.expand_as(x) * (mark * positive + (1 - mark) * other)
        slope = _gradient(values, x)[0, 0 if self._sample.first else 1]
        told: dict[str, Any] = {"logit": round(float(x.detach()[0, 0 if self._sample.first else 1]), 6)}
        if self._sample.others:
            told["logits"] = [round(v, 6) for v in x.detach()[0, :3].tolist()] + ["…"] * (x.shape[1] > 3)
            told["columns"] = x.shape[1]
        if self._sample.positive and reads_quality(self._graph):
            told["w"] = w
        if "t" in point:
            told["t"] = point["t"]
        told |= {name: point[name] for name in OF_COLUMN.values() if name in point}
        return float(slope), told


def frequencies(point: Point, columns: int) -> Tensor:
    """(1, n) of the classes of a scene's columns; 1 where a point has none."""
    first, second, rest = (point.get(name, 1.0) for name in OF_COLUMN.values())
    return torch.tensor([[first, second, *[rest] * columns][:columns]], dtype=torch.float64)


def _gradient(values: Tensor, by: Tensor) -> Tensor:
    if not values.requires_grad:
        return torch.zeros_like(by)
    (found,) = torch.autograd.grad(values.sum(), by, allow_unused=True, materialize_grads=True)
    return found


def _place(sample: Sample, softmax: bool) -> str:
    if softmax:
        return "the target's logit" if sample.first else "another class's logit"
    if not sample.positive:
        return "a negative's logit"
    return "a positive's logit" if sample.first else "another class's logit at a positive"


def _domain(sample: Sample, softmax: bool, shares: bool, axes: list[Axis]) -> str:
    w = axes[-1]
    told = f", w in [{w.low:g}, {w.high:g}]" if w.split else ""
    standing = {axis.name: axis for axis in axes if axis.name in (PROGRESS.symbol, *OF_COLUMN.values())}
    told += "".join(f", {name} in [{axis.low:g}, 1]" for name, axis in standing.items())
    if sample.others == 0:
        return f"logits from −{REACH:g} to {REACH:g}{told}"
    rest = "" if shares or sample.others < 2 else REST_ALIKE
    return f"{sample.others + 1} columns, logits from −{REACH:g} to {REACH:g}{rest}{told}"
