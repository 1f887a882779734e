"""What a loss is among those that people know."""

from __future__ import annotations

from cse_autoloss.losses import GraphLoss, ReducedLoss, find_alike, nearest


def what_it_is(loss: ReducedLoss) -> str:
    """The losses of the catalogue that a formula is, or the nearest one and how near; empty for a torch module."""
    if not isinstance(loss, GraphLoss):
        return ""
    matches = find_alike(loss.formula, loss.signature)
    if matches:
        return "; ".join(str(match).removeprefix("this is ") for match in matches)
    close = nearest(loss.formula, loss.signature)
    if close is None or close[1] < 0.5:
        return "none of the catalogue's losses, nor near any"
    return f"none of the catalogue's losses; nearest is {close[0].title} (cosine of the gradients {close[1]:.3f})"
