"""Margin softmax losses of the catalogue: on cosines, for face recognition and re-identification.

Their margins are inner parameters, as what suits a head depends on its s.
"""

from __future__ import annotations

from functools import partial

from cse_autoloss.losses.entry import Entry, Numbers, Point
from cse_autoloss.losses.family import Family, Parameter
from cse_autoloss.losses.margin import ArcFace, ASoftmax, CombinedMargin, CosFace, LSoftmax
from cse_autoloss.spaces.cosines import MARGIN


def _cosines(value: Numbers, gradient: Numbers, value_2: Numbers, gradient_2: Numbers) -> tuple[Point, ...]:
    """A sample that is recognised and one that is far off."""
    return (
        Point((0.6, -0.2, 0.1), 0, value, gradient),
        Point((0.2, 0.5, -0.7), 2, value_2, gradient_2),
    )


MARGIN_ENTRIES: tuple[Entry, ...] = (
    Entry(
        "l-softmax", "L-softmax (m = 2, s = 30)", MARGIN, "Liu et al., ICML 2016",
        factory=LSoftmax, properties=frozenset({"non-negative", "monotone"}),
        note="On normalised features and weights; the paper leaves the norms in.",
        points=_cosines(
            (11.4001345962,), (-71.9991940336, 0.0037017958413, 29.9959623848),
            (74.4001234022,), (0.00370183727959, 29.9962981627, -84),
        ),
    ),
    Entry(
        "a-softmax", "A-softmax, SphereFace (m = 4, λ = 5, s = 30)", MARGIN, "Liu et al., CVPR 2017",
        factory=ASoftmax, properties=frozenset({"non-negative", "monotone"}),
        points=_cosines(
            (0.00199547232977,), (-0.0766294749301, 7.3795485695e-06, 0.0597971014063),
            (57.4961234022,), (0.00370183727959, 29.9962981627, -26.12),
        ),
    ),
    Entry(
        "cosface", "CosFace, AM-softmax (m = 0.35, s = 64)", MARGIN, "Wang et al., CVPR 2018",
        factory=CosFace, properties=frozenset({"non-negative", "monotone", "convex"}),
        points=_cosines(
            (6.77264433142e-05,), (-0.00433434559555, 1.98824309083e-11, 0.00433434557566),
            (99.2000000046,), (2.93579630439e-07, 63.9999997064, -64),
        ),
    ),
    Entry(
        "arcface", "ArcFace (m = 0.5, s = 64)", MARGIN, "Deng et al., CVPR 2019",
        factory=ArcFace, properties=frozenset({"non-negative", "monotone"}),
        points=_cosines(
            (0.0618125857046,), (-4.74598708273, 1.7597441718e-08, 3.83622073201),
            (93.2279110701,), (2.93579630439e-07, 63.9999997064, -26.089698461),
        ),
    ),
    Entry(
        "combined-margin", "combined margin (m = 1, 0.3, 0.2, s = 64)", MARGIN, "Deng et al., CVPR 2019",
        factory=CombinedMargin, properties=frozenset({"non-negative", "monotone"}),
        points=_cosines(
            (0.0907189544422,), (-6.53274038895, 2.54608852945e-08, 5.55044179645),
            (101.10586771,), (2.93579630439e-07, 63.9999997064, -42.6027998243),
        ),
    ),
)  # fmt: skip

_ENTRIES = {entry.name: entry for entry in MARGIN_ENTRIES}
_ADDITIVE = "m, taken off the target's cos θ"
_ANGLE = "m in radians, put onto the target's angle"

MARGIN_FAMILIES = (
    Family(
        _ENTRIES["l-softmax"], "L-softmax (m = {multiple:g}, s = 30)",
        (Parameter("multiple", 2, (1, 4), 1, 10, "m, times the target's angle", whole=True),),
        lambda multiple: partial(LSoftmax, multiple=int(multiple)),
    ),
    Family(
        _ENTRIES["a-softmax"], "A-softmax, SphereFace (m = 4, λ = {mixing:g}, s = 30)",
        (Parameter("mixing", 5, (0.5, 100), 0, 10_000, "λ, the weight of the plain cos θ", log=True),),
        lambda mixing: partial(ASoftmax, mixing=mixing),
    ),
    Family(
        _ENTRIES["cosface"], "CosFace, AM-softmax (m = {margin:g}, s = 64)",
        (Parameter("margin", 0.35, (0, 0.5), 0, 2, _ADDITIVE),),
        lambda margin: partial(CosFace, additive=margin),
    ),
    Family(
        _ENTRIES["arcface"], "ArcFace (m = {margin:g}, s = 64)",
        (Parameter("margin", 0.5, (0, 0.8), 0, 3, _ANGLE),),
        lambda margin: partial(ArcFace, angle=margin),
    ),
    Family(
        _ENTRIES["combined-margin"], "combined margin (m = 1, {angle:g}, {margin:g}, s = 64)",
        (
            Parameter("angle", 0.3, (0, 0.6), 0, 3, _ANGLE),
            Parameter("margin", 0.2, (0, 0.4), 0, 2, _ADDITIVE),
        ),
        lambda angle, margin: partial(CombinedMargin, angle=angle, additive=margin),
    ),
)  # fmt: skip
"""Their s is that of the entry; on a head of a task, whose logits are s·cos θ, it is the head's."""
