"""Losses as torch modules: any expression, and a catalogue of handcrafted and published ones."""

from cse_autoloss.losses.catalogue import (
    CATALOGUE,
    is_point_of,
    list_losses,
    open_parameters,
    weighs_negatives,
    with_parameters,
)
from cse_autoloss.losses.entry import Entry, Point
from cse_autoloss.losses.like import Match, find_alike, nearest
from cse_autoloss.losses.load import (
    LossFile,
    infer_signature,
    load_loss,
    parse_loss_json,
    read_loss_file,
    read_parametric,
)
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.losses.reduction import ReducedLoss

__all__ = [
    "CATALOGUE",
    "Entry",
    "GraphLoss",
    "LossFile",
    "Match",
    "Point",
    "ReducedLoss",
    "find_alike",
    "infer_signature",
    "is_point_of",
    "list_losses",
    "load_loss",
    "nearest",
    "open_parameters",
    "parse_loss_json",
    "read_loss_file",
    "read_parametric",
    "weighs_negatives",
    "with_parameters",
]
