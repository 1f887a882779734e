"""Losses of the catalogue that see a batch as one ranking."""

from __future__ import annotations

from functools import partial

from cse_autoloss.losses.entry import Entry
from cse_autoloss.losses.ranking import ErrorDriven
from cse_autoloss.spaces import CLS_BINARY

_ERROR_DRIVEN = "Its gradient is error-driven, not the derivative of its value; a batch is one ranking."

RANKING_ENTRIES: tuple[Entry, ...] = (
    Entry(
        "ap-loss", "AP loss (δ = 1)", CLS_BINARY, "Chen et al., CVPR 2019", whole=True, seed=False,
        factory=partial(ErrorDriven, "ap-loss"), properties=frozenset({"non-negative"}),
        note=f"{_ERROR_DRIVEN} The release's interpolation of precisions is left out.",
    ),
    Entry(
        "alrp", "aLRP (δ = 1), its half for classes", CLS_BINARY, "Oksuz et al., NeurIPS 2020", whole=True, seed=False,
        factory=partial(ErrorDriven, "alrp"), properties=frozenset({"non-negative", "iou-aware"}),
        note=f"{_ERROR_DRIVEN} Its error of a box is 1 - IoU; boxes learn from the other slot's loss.",
    ),
    Entry(
        "rank-sort", "Rank & Sort (δ = 0.5)", CLS_BINARY, "Oksuz et al., ICCV 2021", whole=True, seed=False,
        factory=partial(ErrorDriven, "rank-sort"), properties=frozenset({"non-negative", "iou-aware"}),
        note=_ERROR_DRIVEN,
    ),
)  # fmt: skip
