"""What a loss is among those that people know."""

from __future__ import annotations

from cse_autoloss.losses import GraphLoss, ReducedLoss, find_alike, nearest
from cse_autoloss.losses.parametric import ParametricLoss


def comparable(loss: ReducedLoss) -> str:
    """The text of a loss that gradients, sample by sample, can be compared of; empty for the others."""
    if isinstance(loss, ParametricLoss):
        return "" if loss.whole else loss.text
    return loss.formula if isinstance(loss, GraphLoss) else ""


def what_it_is(loss: ReducedLoss) -> str:
    """The losses of the catalogue that a loss is, or the nearest one and how near; empty for a torch module."""
    text = comparable(loss)
    if not text:
        return ""
    matches = find_alike(text, loss.signature)
    if matches:
        return "; ".join(str(match).removeprefix("this is ") for match in matches)
    close = nearest(text, loss.signature)
    if close is None or close[1] < 0.5:
        return "none of the catalogue's losses, nor near any"
    return f"none of the catalogue's losses; nearest is {close[0].title} (cosine of the gradients {close[1]:.3f})"
