"""Standalone torch modules: one file that imports torch alone and reads as if a person had written it."""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Mapping
from typing import Any

from cse_autoloss.errors import AutoLossError, FormulaError, shorten
from cse_autoloss.export.docstring import provenance_lines, wrapped_formula, wrapped_latex
from cse_autoloss.export.latex import to_latex
from cse_autoloss.export.statements import Program, statements
from cse_autoloss.export.words import MEANINGS
from cse_autoloss.graph import LossGraph
from cse_autoloss.losses.reduction import check_alpha

_RESERVED = frozenset({"torch", "Tensor", "nn", "F", "annotations"})


def torch_source(
    graph: LossGraph,
    *,
    name: str = "DiscoveredLoss",
    alpha: float | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """A Python file with the loss as a `torch.nn.Module`; it imports torch and nothing else.

    The module means what `GraphLoss(graph, alpha=alpha)` means and is called the same way.

    Args:
        graph: the loss.
        name: of the class.
        alpha: weight of a positive's class, 1 − alpha elsewhere; binary branch only. None weights nothing.
        provenance: where the loss comes from (run, seed, AP with its interval): stands in the docstring of
            the file, escaped, so that no text in it can become code.

    Raises:
        AutoLossError: a name that is no class name, an alpha or a provenance that does not fit.
    """
    _check_name(name)
    kind = {"cls-binary": "classification", "cls-multiclass": "classification", "reg": "box"}[graph.branch]
    return _file(f"A {kind} loss discovered by cse-autoloss.", [(name, graph, alpha)], provenance)


def torch_source_pair(
    cls_graph: LossGraph,
    reg_graph: LossGraph,
    *,
    names: tuple[str, str] = ("ClassificationLoss", "BoxLoss"),
    alpha: float | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """A Python file with both losses of a detector as two classes; arguments as for `torch_source`.

    Raises:
        FormulaError: the branches are not a classification one and "reg".
    """
    for name in names:
        _check_name(name)
    if names[0] == names[1]:
        raise AutoLossError(f"the two classes need different names, got {names[0]!r} twice")
    if cls_graph.branch == "reg" or reg_graph.branch != "reg":
        raise FormulaError(
            f"a pair is a classification loss and a box loss, got {cls_graph.branch} and {reg_graph.branch}"
        )
    title = "The two losses of a detector, discovered by cse-autoloss."
    return _file(title, [(names[0], cls_graph, alpha), (names[1], reg_graph, None)], provenance)


def _check_name(name: str) -> None:
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name) or name in _RESERVED:
        raise AutoLossError(f"{shorten(name)!r} is no name for a class; expected one like 'DiscoveredLoss'")


def _file(
    title: str, losses: list[tuple[str, LossGraph, float | None]], provenance: Mapping[str, Any] | None
) -> str:
    programs = [statements(graph) for _, graph, _ in losses]
    lines = [f'"""{title}', "", "This file needs torch and nothing else."]
    found = provenance_lines(provenance)
    if found:
        lines += ["", "Provenance:", *(f"    {line}".rstrip() for line in found)]
    lines += ['"""', "", "from __future__ import annotations", "", "import torch"]
    if any("F." in program.text for program in programs):
        lines.append("import torch.nn.functional as F")
    lines += ["from torch import Tensor, nn"]
    for (name, graph, alpha), program in zip(losses, programs, strict=True):
        lines += ["", "", *_class(name, graph, check_alpha(alpha, graph.branch), program)]
    if any({"I", "U"} & set(graph.variables) for _, graph, _ in losses):
        lines += _AREA.splitlines()
    lines += [*_HALF.splitlines(), ""]
    return "\n".join(line.rstrip() for line in lines)


def _class(name: str, graph: LossGraph, alpha: float | None, program: Program) -> list[str]:
    is_box = graph.branch == "reg"
    title = {
        "cls-binary": "Classification loss on the logits of a sigmoid head.",
        "cls-multiclass": "Classification loss on the logits of a softmax head.",
        "reg": "Box loss on the areas of intersection, union and smallest enclosing box.",
    }[graph.branch]
    body = [f'r"""{title}', "", ".. math::", ""]
    body += [f"    {line}" for line in wrapped_latex("L = " + to_latex(graph), 92)]
    body += ["", *textwrap.wrap(f"with {_legend(graph)}.", 96), "", f"Formula ({graph.branch}):", ""]
    body += [f"    {line}" for line in wrapped_formula(graph.formula, 92)]
    body += ["", "Args:", '    reduction: "mean", "sum" or "none".']
    arguments = ['reduction: str = "mean"']
    keep = ["self.reduction = reduction"]
    if not is_box:
        body.append("    ignore_index: target of samples that count neither in the sum nor in the mean.")
        arguments.append("ignore_index: int = -100")
        keep.append("self.ignore_index = ignore_index")
    if alpha is not None:
        body.append("    alpha: weight of a positive's class; all other entries weigh 1 - alpha.")
        arguments.append(f"alpha: float = {alpha!r}")
        keep.append("self.alpha = alpha")
    body += ['"""', "", f"def __init__(self, {', '.join(arguments)}) -> None:", "    super().__init__()"]
    body += ['    if reduction not in ("mean", "sum", "none"):']
    body += ["        raise ValueError(f\"reduction is 'mean', 'sum' or 'none', got {reduction!r}\")"]
    body += [*(f"    {line}" for line in keep), ""]
    forward = _box_forward(program) if is_box else _class_forward(graph.branch, alpha, program)
    return [f"class {name}(nn.Module):", *(f"    {line}" for line in [*body, *forward])]


def _legend(graph: LossGraph) -> str:
    parts = [f":math:`{graph.signature.variables[v].latex}` {MEANINGS[v]}" for v in graph.variables]
    if not parts:
        return "no variable: a constant"
    return ", ".join(parts) + (" (square pixels)" if graph.branch == "reg" else "")


def _steps(program: Program, like: str) -> list[str]:
    lines = [f"{name} = {expression}" for name, expression in program.lines]
    result = f"torch.full_like({like}, {program.result})" if program.constant else program.result
    return [*lines, f"loss = {result}"]


def _class_forward(branch: str, alpha: float | None, program: Program) -> list[str]:
    binary = branch == "cls-binary"
    columns = "(N, C)" if binary else "(N, C + 1), background last"
    read, named = set(program.variables), program.names
    lines = [
        '"""Loss of a batch.',
        "",
        "Args:",
        f"    logits: {columns}; half precision is computed in float32.",
        "    target: (N,) class index; C means background.",
        "    iou: (N,) IoU of each positive's box with its object, without gradient; None means 1."
        + ("" if read & {"Q", "Z"} else " Not read."),
        "    weight: (N,) factor of each sample.",
        "",
        "Returns:",
        f'    {"(N, C)" if binary else "(N,)"} for reduction "none", else a scalar;'
        + (" the mean is over all N * C entries." if binary else " the mean is over samples."),
        '"""',
        "logits = _at_least_float32(logits)",
        "kept = target != self.ignore_index",
    ]
    one_hot = "positive" if binary else "one_hot"
    if alpha is not None or read & {"PY", "NY", "Q"} or one_hot in named:
        lines += [
            "classes = torch.arange(logits.shape[-1], device=logits.device)",
            f"{one_hot} = (target.unsqueeze(-1) == classes).to(logits.dtype)",
        ]
    if alpha is not None or "NY" in read:
        lines.append("negative = 1 - positive")
    if "Q" in read:
        lines += [
            "quality = positive",
            "if iou is not None:",
            "    quality = torch.where(positive > 0, iou.detach().to(logits.dtype).unsqueeze(-1), 0.0)",
        ]
    if "label" in named:
        lines.append("label = torch.where(kept, target, 0).unsqueeze(-1)")
    if "Z" in read:
        lines += [
            "quality = torch.ones_like(logits[:, :1])",
            "if iou is not None:",
            "    is_object = (target >= 0) & (target < logits.shape[-1] - 1)",
            "    quality = torch.where(is_object, iou.detach().to(logits.dtype), 1.0).unsqueeze(-1)",
        ]
    lines += ["", *_steps(program, "logits" if binary else "logits[:, :1]")]
    if alpha is not None:
        lines.append("loss = loss * (self.alpha * positive + (1 - self.alpha) * negative)")
    if not binary:
        lines.append("loss = loss.squeeze(-1)")
    rows = ".unsqueeze(-1)" if binary else ""
    lines += ["", 'if self.reduction == "none":']
    lines += [
        f"    loss = torch.where(kept{rows}, loss, 0.0)",
        f"    return loss if weight is None else loss * weight{rows}",
        f"loss = torch.where(kept, loss{'.sum(-1)' if binary else ''}, 0.0)",
        "total = loss.sum() if weight is None else (loss * weight).sum()",
        'if self.reduction == "sum":',
        "    return total",
        f"return total / (kept.sum().clamp(min=1){' * logits.shape[-1]' if binary else ''})",
    ]
    return [
        "def forward(",
        "    self, logits: Tensor, target: Tensor, iou: Tensor | None = None, weight: Tensor | None = None",
        ") -> Tensor:",
        *(f"    {line}" for line in lines),
    ]


def _box_forward(program: Program) -> list[str]:
    read = set(program.variables)
    lines = [
        '"""Loss of a batch.',
        "",
        "Args:",
        "    pred_boxes: (N, 4) x1, y1, x2, y2 in pixels; half precision is computed in float32.",
        "    target_boxes: (N, 4) likewise.",
        "    weight: (N,) factor of each box.",
        "",
        "Returns:",
        '    (N,) for reduction "none", else a scalar; the mean of no boxes is 0.',
        '"""',
        "px1, py1, px2, py2 = _at_least_float32(pred_boxes).unbind(-1)",
        "tx1, ty1, tx2, ty2 = _at_least_float32(target_boxes).unbind(-1)",
    ]
    if read & {"I", "U"}:
        lines += [
            "left, top = torch.maximum(px1, tx1), torch.maximum(py1, ty1)",
            "inter = _area(left, top, torch.minimum(px2, tx2), torch.minimum(py2, ty2))",
        ]
    if "U" in read:
        lines.append("union = _area(px1, py1, px2, py2) + _area(tx1, ty1, tx2, ty2) - inter + 1e-7")
    if "E" in read:
        lines += [
            "width = torch.maximum(px2, tx2) - torch.minimum(px1, tx1)",
            "height = torch.maximum(py2, ty2) - torch.minimum(py1, ty1)",
            "enclosing = width * height + 1e-7",
        ]
    lines += ["", *_steps(program, "px1"), ""]
    lines += [
        "if weight is not None:",
        "    loss = loss * weight",
        'if self.reduction == "none":',
        "    return loss",
        'return loss.sum() if self.reduction == "sum" else loss.sum() / max(len(loss), 1)',
    ]
    return [
        "def forward(",
        "    self, pred_boxes: Tensor, target_boxes: Tensor, weight: Tensor | None = None",
        ") -> Tensor:",
        *(f"    {line}" for line in lines),
    ]


_AREA = """

def _area(x1: Tensor, y1: Tensor, x2: Tensor, y2: Tensor) -> Tensor:
    return (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)"""

_HALF = """

def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x"""
