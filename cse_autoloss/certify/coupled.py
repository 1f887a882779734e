"""Losses whose classes see each other: softmax heads, and sigmoid heads with a Softmax in the formula.

Each statement is proved for each number of classes in `CLASSES`; where the slope's steps are the same for all, it holds
of any number. Permuting the classes changes nothing, so one target and one other class stand for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

from cse_autoloss.certify.aim import LEAST_W, aims
from cse_autoloss.certify.bisect import Axis, Budget
from cse_autoloss.certify.choices import choices
from cse_autoloss.certify.classes import (
    CLASSES,
    REST_ALIKE,
    Sample,
    factors_of,
    reads_quality,
    reads_softmax_alone,
    scene,
)
from cse_autoloss.certify.properties import ALL_LOGITS, bounded_below, largest_slope, never_rises, vanishes
from cse_autoloss.certify.result import Finding
from cse_autoloss.certify.scene import Scene
from cse_autoloss.certify.tape import Tape
from cse_autoloss.graph import LossGraph


def findings(graph: LossGraph, budget: Budget, alpha: float | None = None) -> list[Finding]:
    """The properties of such a loss, of a sigmoid head's weighted by α."""
    softmax = "Y" in graph.signature.variables
    # A softmax head has a column for the background beside the classes.
    counts = CLASSES if softmax else tuple(n - 1 for n in CLASSES)

    def over(
        positive: bool, first: bool, w: tuple[float, float] = (1.0, 1.0), tape: Tape | None = None
    ) -> list[Scene]:
        tape = tape or Tape()
        samples = [Sample(positive, n, first, w, factors_of(alpha)) for n in counts if first or n]
        return [scene(graph, one, tape) for one in samples]

    def each(name: str, prove: Callable[[str, Scene, Budget], Finding], scenes: Sequence[Scene]) -> Finding:
        unique = {(one.slope, tuple(axis.name for axis in one.axes)): one for one in scenes}
        few = _alike(scenes, [one.slope for one in scenes])
        share = replace(budget, boxes=budget.boxes // len(unique))
        return together(name, [prove(name, one, share) for one in unique.values()], any_number=few)

    own, other = over(True, True), over(True, False)
    target = "the target's logit" if softmax else "the logit of a positive"
    found = [
        each(f"Never rises with {target}, at w = 1", never_rises, own),
        each("Never falls with another class's logit, at w = 1", never_rises, other),
    ]
    if not softmax:
        found.append(each("Never falls with a logit of background", never_rises, over(False, True)))
    if reads_quality(graph):
        weighted = over(True, True, (LEAST_W, 1.0))
        found.append(each("At every w falls, or has one minimum, which rises with w", aims, weighted))
    found.append(each("Slope vanishes towards the right answer", vanishes, own))
    if budget.signs:
        return found
    tape, w = Tape(), (0.0, 1.0)
    kinds = [over(True, True, w, tape), over(True, False, w, tape)]
    kinds += [] if softmax else [over(False, True, w, tape)]
    if softmax and reads_softmax_alone(graph):
        found += choices(graph, budget)
    return [
        *found,
        _bound("Bounded below", bounded_below, [[(one, one.loss) for one in kind] for kind in kinds], budget),
        _bound(
            "Slope is bounded", largest_slope, [[(one, one.slope) for one in kind] for kind in kinds], budget
        ),
    ]


_Kind = list[tuple[Scene, int]]
"""For each number of classes the scene, and the step that is bounded in it."""


def _bound(
    name: str, prove: Callable[[str, list[Scene], Budget], Finding], kinds: Sequence[_Kind], budget: Budget
) -> Finding:
    """One bound over all scenes of all kinds; those where the same step reads the same axes are looked at once."""
    unique: dict[tuple[int, tuple[Axis, ...]], Scene] = {}
    for one, step in chain.from_iterable(kinds):
        narrow = one.where_read(step)
        unique.setdefault((step, narrow.axes), narrow)
    found = prove(name, list(unique.values()), replace(budget, boxes=budget.boxes // len(unique)))
    any_number = all(_alike([one for one, _ in kind], [step for _, step in kind]) for kind in kinds)
    domain = kinds[0][-1][0].domain.partition(" columns, ")[2]
    if found.domain == ALL_LOGITS:
        domain = ALL_LOGITS + (REST_ALIKE if REST_ALIKE in domain else "")
    return replace(found, domain=f"{_classes(any_number)}; {domain}")


def _alike(scenes: Sequence[Scene], steps: Sequence[int]) -> bool:
    """Whether from some number of classes on the steps are the same: then they are of any number."""
    last = scenes[-1].axes[-2].name
    return len({step for one, step in zip(scenes, steps, strict=True) if one.axes[-2].name == last}) == 1


def together(name: str, parts: Sequence[Finding], any_number: bool = False) -> Finding:
    """One finding of several: refuted where one is, proved where all are."""
    worst = next((one for kind in ("refuted", "open") for one in parts if one.outcome == kind), None)
    if worst is not None:
        return worst
    domain = parts[-1].domain
    domain = domain.partition(" columns, ")[2] or domain
    return replace(parts[-1], name=name, domain=f"{_classes(any_number)}; {domain}")


def _classes(any_number: bool) -> str:
    listed = ", ".join(map(str, CLASSES[:-1]))
    return "any number of classes" if any_number else f"{listed} and {CLASSES[-1]} classes"
