"""The primitive operators of the loss expressions: see `table.py`."""

from cse_autoloss.operators.operator import Operator, ShapeRule
from cse_autoloss.operators.table import ALL_OPERATORS, CONSTANTS, EPSILON, OPERATORS, PAPER_OPERATORS

__all__ = [
    "ALL_OPERATORS",
    "CONSTANTS",
    "EPSILON",
    "OPERATORS",
    "PAPER_OPERATORS",
    "Operator",
    "ShapeRule",
]
