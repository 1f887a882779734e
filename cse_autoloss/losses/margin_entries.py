"""Margin softmax losses of the catalogue: on cosines, for face recognition and re-identification."""

from __future__ import annotations

from cse_autoloss.losses.entry import Entry
from cse_autoloss.losses.margin import ArcFace, ASoftmax, CombinedMargin, CosFace, LSoftmax

MARGIN_ENTRIES: tuple[Entry, ...] = (
    Entry(
        "l-softmax", "L-softmax, m = 2, s = 30", "margin", "Liu et al., ICML 2016",
        factory=LSoftmax, properties=frozenset({"non-negative", "monotone"}),
        note="On normalised features and weights; the paper leaves the norms in.",
    ),
    Entry(
        "a-softmax", "A-softmax (SphereFace), m = 4, λ = 5, s = 30", "margin", "Liu et al., CVPR 2017",
        factory=ASoftmax, properties=frozenset({"non-negative", "monotone"}),
    ),
    Entry(
        "cosface", "CosFace (AM-softmax), m = 0.35, s = 64", "margin", "Wang et al., CVPR 2018",
        factory=CosFace, properties=frozenset({"non-negative", "monotone", "convex"}),
    ),
    Entry(
        "arcface", "ArcFace, m = 0.5, s = 64", "margin", "Deng et al., CVPR 2019",
        factory=ArcFace, properties=frozenset({"non-negative", "monotone"}),
    ),
    Entry(
        "combined-margin", "Combined margin, m = (1, 0.3, 0.2), s = 64", "margin", "Deng et al., CVPR 2019",
        factory=CombinedMargin, properties=frozenset({"non-negative", "monotone"}),
    ),
)  # fmt: skip
