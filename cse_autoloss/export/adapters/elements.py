"""Any of our losses, as a module that gives its values before the reduction."""

from __future__ import annotations

import copy
from pathlib import Path

from torch import Tensor, nn

from cse_autoloss.errors import ConfigError, shorten
from cse_autoloss.graph import LossGraph
from cse_autoloss.losses import GraphLoss, load_loss
from cse_autoloss.spaces import box_inputs

LossSource = str | Path | LossGraph | nn.Module
"""A catalogue name, a formula, a loss.json, a graph, or a module called as our losses are."""


def elements_of(loss: LossSource, *branches: str) -> nn.Module:
    """The loss without reduction; a module is copied, so that its own reduction stays.

    Args:
        loss: what to use.
        branches: which branches fit the call.

    Raises:
        AutoLossError: no such loss, or one of another branch.
    """
    if isinstance(loss, LossGraph):
        module: nn.Module = GraphLoss(loss, "none")
    elif isinstance(loss, nn.Module):
        if not hasattr(loss, "reduction"):
            raise ConfigError(f"a loss needs the attribute `reduction`; {type(loss).__name__} has none")
        module = copy.deepcopy(loss)
        module.reduction = "none"  # type: ignore[assignment]
    else:
        only = branches[0] if len(branches) == 1 and branches[0] != "margin" and "(" in str(loss) else None
        module = load_loss(loss, only, reduction="none")
    branch = getattr(module, "branch", branches[0])
    if branch not in branches:
        named = shorten(str(loss)) if isinstance(loss, (str, Path, LossGraph)) else type(loss).__name__
        raise ConfigError(
            f"expected a loss of {' or '.join(branches)}, got {named!r}, which is one of {branch}"
        )
    return module


def paired_iou(pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """(N,) IoU of each predicted box with its target, without gradient."""
    areas = box_inputs(pred_boxes.detach().float(), target_boxes.float())
    return areas["I"] / areas["U"]
