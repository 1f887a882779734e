"""Losses in the forms that people use: torch code, LaTeX, JSON, drawings, ONNX, other libraries' calls."""

from cse_autoloss.export.draw import draw, draw_pair
from cse_autoloss.export.json_form import (
    from_json,
    from_json_pair,
    holds_pair,
    make_pair,
    to_json,
    to_json_pair,
)
from cse_autoloss.export.latex import to_latex
from cse_autoloss.export.precision import PrecisionReport, report_overflow
from cse_autoloss.export.torch_source import torch_source, torch_source_pair
from cse_autoloss.export.write import export_loss

__all__ = [
    "PrecisionReport",
    "draw",
    "draw_pair",
    "export_loss",
    "from_json",
    "from_json_pair",
    "holds_pair",
    "make_pair",
    "report_overflow",
    "to_json",
    "to_json_pair",
    "to_latex",
    "torch_source",
    "torch_source_pair",
]
