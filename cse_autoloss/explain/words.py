"""What a loss is among those that people know."""

from __future__ import annotations

from cse_autoloss.losses import GraphLoss, ReducedLoss, find_alike, nearest
from cse_autoloss.losses.parametric import ParametricLoss, ParametricSchedule


def comparable(loss: ReducedLoss) -> str:
    """The text of a loss that gradients, sample by sample, can be compared of; empty for the others, a schedule of
    several losses among them."""
    if isinstance(loss, ParametricSchedule) and len(loss.path) > 1:
        return ""
    if isinstance(loss, ParametricLoss):
        return "" if loss.whole else loss.text
    return loss.formula if isinstance(loss, GraphLoss) else ""


def what_it_is(loss: ReducedLoss) -> str:
    """The losses of the catalogue that a loss is, or the nearest one and how near; empty for a torch module.

    Of a schedule that is told of its first and its last loss.
    """
    if isinstance(loss, ParametricSchedule) and len(loss.path) > 1:
        stages = loss.quarters()
        ends = [
            f"the {name}: {what_it_is(stages[at])}"
            for name, at in (("first", min(stages)), ("last", max(stages)))
        ]
        told = [] if loss.whole else ends
        return "; ".join([f"{len(loss.path)} losses one after another", *told])
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
