"""`export_loss`: a loss, or both losses of a detector, into the file whose suffix says the form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cse_autoloss.errors import AutoLossError, nearest, not_written
from cse_autoloss.export.docstring import provenance_lines
from cse_autoloss.export.draw import FORMATS, draw, draw_pair
from cse_autoloss.export.handcrafted import Handcrafted, handcrafted_source
from cse_autoloss.export.json_form import to_json, to_json_pair
from cse_autoloss.export.latex import to_latex
from cse_autoloss.export.parametric_source import parametric_forms
from cse_autoloss.export.torch_source import torch_source, torch_source_pair
from cse_autoloss.graph import LossGraph
from cse_autoloss.losses.parametric import ParametricLoss

SUFFIXES = (".py", ".json", *FORMATS, ".tex", ".onnx")
"""What `export_loss` writes."""


def export_loss(
    loss: LossGraph | tuple[LossGraph, LossGraph] | ParametricLoss | Handcrafted,
    path: str | Path,
    *,
    name: str = "DiscoveredLoss",
    alpha: float | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write a loss; the suffix decides the form.

    .py standalone torch module; .json data that `load_loss` reads; .svg .png .dot drawing; .tex formula;
    .onnx forward pass as an ONNX model (one loss, needs the packages onnx and onnxscript).

    Args:
        loss: one loss, or (classification, box); a parametric one is written as .py or .json, a handcrafted one
            that is no expression as .py.
        path: file to write; its folder must exist.
        name: class name in a .py file of one loss.
        alpha: class weighting of a sigmoid head's loss.
        provenance: where it comes from, for .py and .json, .tex as comments and .onnx as `metadata_props`.

    Returns:
        The path.

    Raises:
        AutoLossError: an unknown suffix, an argument that does not fit, or a file that can't be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        close = nearest(suffix, SUFFIXES)
        hint = f"; did you mean {close!r}?" if close else ""
        raise AutoLossError(f"{path}: expected a file name that ends in {', '.join(SUFFIXES)}{hint}")
    if isinstance(loss, ParametricLoss | Handcrafted):
        if isinstance(loss, ParametricLoss):
            kind, forms = "a parametric loss", parametric_forms(loss, provenance)
        else:
            kind, forms = type(loss).__name__, {".py": handcrafted_source(loss)}
        if suffix not in forms:
            raise AutoLossError(f"{path}: {kind} is no expression; it is written as {' or '.join(forms)}")
        return _written(path, forms[suffix])
    if suffix in FORMATS:
        return draw_pair(*loss, path) if isinstance(loss, tuple) else draw(loss, path)
    if suffix == ".onnx":
        from cse_autoloss.export.onnx_form import write_onnx

        if isinstance(loss, tuple):
            raise AutoLossError(f"{path}: an ONNX file holds one loss; export the two losses to two files")
        return write_onnx(loss, path, alpha=alpha, provenance=provenance)
    if suffix == ".py":
        if isinstance(loss, tuple):
            text = torch_source_pair(*loss, alpha=alpha, provenance=provenance)
        else:
            text = torch_source(loss, name=name, alpha=alpha, provenance=provenance)
    elif suffix == ".json":
        if isinstance(loss, tuple):
            data = to_json_pair(*loss, alpha=alpha, provenance=provenance)
        else:
            data = to_json(loss, alpha, provenance)
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    else:
        losses = loss if isinstance(loss, tuple) else (loss,)
        text = "".join(f"\\[ L = {to_latex(graph)} \\]\n" for graph in losses)
        text += "".join(f"% {line}\n" for line in provenance_lines(provenance))
    return _written(path, text)


def _written(path: Path, text: str) -> Path:
    try:
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise not_written(path, error) from None
    return path
