"""What a search may use: the branches of a detector's loss."""

from cse_autoloss.spaces.branches import (
    BRANCHES,
    CLS_BINARY,
    CLS_MULTICLASS,
    REG,
    binary_inputs,
    box_inputs,
    branch,
    multiclass_inputs,
    parse,
)

__all__ = [
    "BRANCHES",
    "CLS_BINARY",
    "CLS_MULTICLASS",
    "REG",
    "binary_inputs",
    "box_inputs",
    "branch",
    "multiclass_inputs",
    "parse",
]
