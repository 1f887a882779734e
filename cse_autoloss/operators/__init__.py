"""The 21 primitive operators of the loss expressions: see `table.py`."""

from cse_autoloss.operators.operator import Operator, ShapeRule
from cse_autoloss.operators.stable import STABLE_OPERATORS
from cse_autoloss.operators.table import CONSTANTS, EPSILON, OPERATORS

__all__ = ["CONSTANTS", "EPSILON", "OPERATORS", "STABLE_OPERATORS", "Operator", "ShapeRule"]
