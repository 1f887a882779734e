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


def elements_of(loss: LossSource, *signatures: str) -> nn.Module:
    """The loss without reduction; a module is copied, so that its own reduction stays.

    Args:
        loss: what to use.
        signatures: names of those that fit the call.

    Raises:
        AutoLossError: no such loss, or one of another signature.
    """
    if isinstance(loss, LossGraph):
        module: nn.Module = GraphLoss(loss, "none")
    elif isinstance(loss, nn.Module):
        if not hasattr(loss, "reduction"):
            raise ConfigError(f"a loss needs the attribute `reduction`; {type(loss).__name__} has none")
        module = copy.deepcopy(loss)
        module.reduction = "none"  # type: ignore[assignment]
    else:
        # A formula has no signature of its own, and a run's file may hold losses of several.
        asked = "(" in str(loss) or Path(loss).suffix == ".json"
        only = signatures[0] if len(signatures) == 1 and signatures[0] != "margin" and asked else None
        module = load_loss(loss, only, reduction="none")
    # A module of the user's own states none: it is taken at its word.
    name = signature_name(module) or signatures[0]
    if name not in signatures:
        named = shorten(str(loss)) if isinstance(loss, (str, Path, LossGraph)) else type(loss).__name__
        raise ConfigError(
            f"expected a loss of {' or '.join(signatures)}, got {named!r}, which is one of {name}"
        )
    return module


def signature_name(module: nn.Module) -> str:
    """Name of the signature of one of our losses; empty for any other module."""
    return str(getattr(getattr(module, "signature", None), "name", ""))


def paired_iou(pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """(N,) IoU of each predicted box with its target, without gradient."""
    areas = box_inputs(pred_boxes.detach().float(), target_boxes.float())
    return areas["I"] / areas["U"]
