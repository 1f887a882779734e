"""Whether two losses are the same but for a constant: the interval of the difference of their slopes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cse_autoloss.certify import walks
from cse_autoloss.certify.bisect import Axis, Budget, Ranges, decide
from cse_autoloss.certify.boxes import LONGEST, degree_of
from cse_autoloss.certify.classes import CLASSES, Sample, is_coupled, scene
from cse_autoloss.certify.columns import Column, written
from cse_autoloss.certify.properties import centred
from cse_autoloss.certify.result import Outcome
from cse_autoloss.certify.scene import Scene
from cse_autoloss.certify.tape import Tape
from cse_autoloss.graph import LossGraph, stabilize
from cse_autoloss.spaces import REG, form_of, plain_of
from cse_autoloss.spaces.boxes import BOX_EPSILON
from cse_autoloss.spaces.standing import standing_in, standing_of

SAME = 1e-5
"""Slopes that differ by less than this share of the scene's scale are the same."""
BOXES = 20_000
_LEAST_W = 1e-6
"""An IoU of exactly 0 is left out: there q/q is 0."""
_OUT = 20.0
"""How many unions the enclosing box may hold besides the union itself."""


@dataclass(frozen=True)
class _Pair:
    """Two losses on one tape, and what moves."""

    one: Scene
    other: Scene


def same_function(one: LossGraph, other: LossGraph, boxes: int = BOXES) -> Outcome:
    """Whether the slopes of two losses of a signature are the same over the whole domain.

    proved: nowhere do they differ by more than `SAME` of the largest; refuted: somewhere they surely do; open else.
    Logits from −100 to 100, w from 1e-6 to 1, and the numbers of classes in `CLASSES`; all boxes, also apart, of an
    area of up to 2,000 × 2,000 pixels; a user's losses on their walks.
    """
    outcome: Outcome = "proved"
    for pair in _pairs(one, other):
        tape = pair.one.tape
        difference = tape.apply("Sub", pair.one.slope, pair.other.slope)
        if tape.value_of(difference) == 0 or pair.one.slope == pair.other.slope:
            outcome = outcome if _has_values(pair.one, tape.dropped) else "open"
            continue
        found = _vanishes(pair, difference, boxes)
        if found == "proved" and not _has_values(pair.one, tape.dropped):
            found = "open"
        if found == "refuted":
            return found
        outcome = found if found == "open" else outcome
    return outcome


def _has_values(scene: Scene, steps: Sequence[int]) -> bool:
    """Whether steps surely have a value over the whole domain."""
    whole = {axis.name: (axis.low, axis.high) for axis in scene.axes}
    return not steps or not any(np.isnan(low).any() for low, _ in scene.all_ranges(steps, whole))


def _vanishes(pair: _Pair, difference: int, boxes: int) -> Outcome:
    scene = pair.one
    allowed = SAME * min(scene.scale, pair.other.scale)
    split = [axis.name for axis in scene.axes if axis.split]
    by = {name: scene.tape.slope(difference, {name: scene.tape.number(1)}) for name in split}

    def status(ranges: Ranges) -> tuple[Any, Any, Any]:
        low, high = centred(scene, difference, ranges, by)
        far = np.maximum(low, -high)
        return (high <= allowed) & (low >= -allowed), far > allowed, far

    # Most parts that do nothing do so at any w: its whole range is taken at once before it is halved too.
    whole = tuple(replace(axis, split=axis.split and axis.name != "w") for axis in scene.axes)
    for axes in dict.fromkeys((whole, scene.axes)):
        decision = decide(axes, status, Budget(boxes), scene.near)
        if decision.violation is not None:
            return "refuted"
        if not decision.remaining:
            return "proved"
    return "open"


def _pairs(one: LossGraph, other: LossGraph) -> Iterator[_Pair]:
    """All scenes that tell two losses of a signature apart, both losses on one tape."""
    head = form_of(one.signature).head
    if plain_of(one.signature) == REG:
        yield from _areas(one, other)
    elif head is None:
        for walk in one.signature.walks:
            tape = Tape(holes=False)
            yield _Pair(walks.scene_of(one, walk, tape), walks.scene_of(other, walk, tape))
    else:
        coupled = is_coupled(one) or is_coupled(other)
        counts = CLASSES if head == "softmax" else tuple(n - 1 for n in CLASSES) if coupled else (0,)
        for count in counts:
            for positive in (True,) if head == "softmax" else (True, False):
                for first in (True, False) if count else (True,):
                    tape, sample = Tape(holes=False), Sample(positive, count, first, (_LEAST_W, 1.0))
                    read = None
                    if len(standing_of(one.signature)) > 1:
                        read = {*standing_in(one), *standing_in(other)}
                    left, right = (scene(each, sample, tape, read=read) for each in (one, other))
                    if [axis.name for axis in left.axes] == [axis.name for axis in right.axes]:
                        wide = left if left.axes[-1].split else right
                        yield _Pair(_at(left, wide.axes), _at(right, wide.axes))
                    else:
                        raw = (scene(each, sample, tape, True, read) for each in (one, other))
                        yield _Pair(*raw)


def _at(scene: Scene, axes: tuple[Axis, ...]) -> Scene:
    return Scene(
        scene.tape,
        scene.loss,
        axes,
        scene.moved,
        scene.sign,
        scene.place,
        scene.domain,
        scene.evaluate,
        scene.near,
    )


def _areas(one: LossGraph, other: LossGraph) -> Iterator[_Pair]:
    """Slopes by i = I/U, by g = E/U − 1 and by the area U."""
    free = degree_of(one) == degree_of(other) == 0
    axes = [
        Axis("i", 0.0, 1.0),
        Axis("g", 0.0, _OUT),
        Axis("tiny", 0.0 if free else BOX_EPSILON, BOX_EPSILON, split=False),
    ]
    axes += [] if free else [Axis("area", 1.0, LONGEST**2, geometric=True)]
    standing = standing_of(one.signature)
    read = {*standing_in(one), *standing_in(other)}
    axes += [Axis(each.word, each.low, 1.0) for each in standing if each in read]
    for name in ("i", "g") if free else ("i", "g", "area"):
        tape = Tape(holes=False)
        area = tape.number(1) if free else tape.variable("area")
        union = tape.apply("Add", area, tape.variable("tiny"))
        inputs = {
            **{each.name: tape.variable(each.word) for each in standing},
            "I": tape.apply("Mul", area, tape.variable("i")),
            "U": union,
            "E": tape.apply("Add", union, tape.apply("Mul", area, tape.variable("g"))),
        }
        scenes = []
        for graph in (one, other):
            (loss,) = written(tape, stabilize(graph), [Column({})], inputs)
            scenes.append(Scene(tape, loss, tuple(axes), {name: tape.number(1)}, 1, "", "", _nowhere, {}))
        yield _Pair(*scenes)


def _nowhere(point: Any) -> tuple[float, dict[str, Any]]:
    raise NotImplementedError
