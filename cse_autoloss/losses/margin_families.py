"""The margins of the margin softmax losses as inner parameters: what suits a head depends on its s."""

from __future__ import annotations

from functools import partial

from cse_autoloss.losses.family import Family, Parameter
from cse_autoloss.losses.margin import ArcFace, ASoftmax, CombinedMargin, CosFace, LSoftmax
from cse_autoloss.losses.margin_entries import MARGIN_ENTRIES

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
