"""Losses of the catalogue that are no expressions, as files that import torch alone: their own source."""

from __future__ import annotations

from cse_autoloss.export.box_source import box_source
from cse_autoloss.export.margin_source import margin_source
from cse_autoloss.export.ranking_source import error_driven_source
from cse_autoloss.losses.boxes import BoxLoss
from cse_autoloss.losses.margin import MarginSoftmax
from cse_autoloss.losses.ranking import ErrorDriven

Handcrafted = MarginSoftmax | ErrorDriven | BoxLoss
"""What has a source form though it is no expression."""


def handcrafted_source(loss: Handcrafted) -> str:
    """Python source of a standalone module `DiscoveredLoss` that equals the loss."""
    if isinstance(loss, MarginSoftmax):
        return margin_source(loss)
    return box_source(loss) if isinstance(loss, BoxLoss) else error_driven_source(loss)
