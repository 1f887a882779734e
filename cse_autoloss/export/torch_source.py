"""Standalone torch modules: one file that imports torch alone and reads as if a person had written it."""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Mapping
from typing import Any

from cse_autoloss.errors import AutoLossError, shorten
from cse_autoloss.export.docstring import provenance_lines, wrapped_formula, wrapped_latex
from cse_autoloss.export.json_form import check_pair
from cse_autoloss.export.latex import to_latex
from cse_autoloss.export.statements import Program, statements
from cse_autoloss.graph import LossGraph
from cse_autoloss.losses.reduction import check_alpha
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.form import Written
from cse_autoloss.spaces.standing import standing_of

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
        alpha: weight of a positive's class, 1 − alpha elsewhere; of sigmoid heads only. None weights nothing.
        provenance: where the loss comes from (run, seed, AP with its interval): stands in the docstring of
            the file, escaped, so that no text in it can become code.

    Raises:
        AutoLossError: a name that is no class name, an alpha or a provenance that does not fit.
    """
    _check_name(name)
    noun = form_of(graph.signature).noun
    return _file(f"A {noun} loss discovered by cse-autoloss.", [(name, graph, alpha)], provenance)


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
        AutoLossError: they are not a classification loss and a box loss.
    """
    for name in names:
        _check_name(name)
    if names[0] == names[1]:
        raise AutoLossError(f"the two classes need different names, got {names[0]!r} twice")
    check_pair(cls_graph, reg_graph)
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
        lines += ["", "", *_class(name, graph, check_alpha(alpha, graph.signature), program)]
    for helper in dict.fromkeys(form_of(g.signature).helpers(g.variables) for _, g, _ in losses):
        lines += helper.splitlines()
    lines += [*_HALF.splitlines(), ""]
    return "\n".join(line.rstrip() for line in lines)


def _class(name: str, graph: LossGraph, alpha: float | None, program: Program) -> list[str]:
    form = form_of(graph.signature)
    body = [f'r"""{form.summary}', "", ".. math::", ""]
    body += [f"    {line}" for line in wrapped_latex("L = " + to_latex(graph), 92)]
    body += ["", *textwrap.wrap(f"with {_legend(graph)}.", 96), "", f"Formula ({graph.signature.name}):", ""]
    body += [f"    {line}" for line in wrapped_formula(graph.formula, 92)]
    body += ["", "Args:", '    reduction: "mean", "sum" or "none".']
    arguments = ['reduction: str = "mean"']
    keep = ["self.reduction = reduction"]
    if form.ignores:
        body.append("    ignore_index: target of samples that count neither in the sum nor in the mean.")
        arguments.append("ignore_index: int = -100")
        keep.append("self.ignore_index = ignore_index")
    if alpha is not None:
        body.append("    alpha: weight of a positive's class; all other entries weigh 1 - alpha.")
        arguments.append(f"alpha: float = {alpha!r}")
        keep.append("self.alpha = alpha")
    told = [one for one in standing_of(graph.signature) if one.given == "told"]
    keep += [
        f'self.register_buffer("{one.word}", torch.tensor(1.0), persistent=False)'
        for one in told
        if one.name in program.variables
    ]
    body += ['"""', "", f"def __init__(self, {', '.join(arguments)}) -> None:", "    super().__init__()"]
    body += ['    if reduction not in ("mean", "sum", "none"):']
    body += ["        raise ValueError(f\"reduction is 'mean', 'sum' or 'none', got {reduction!r}\")"]
    body += [*(f"    {line}" for line in keep), ""]
    lines = tuple(f"{name} = {expression}" for name, expression in program.lines)
    written = Written(
        lines,
        program.result,
        frozenset(program.variables),
        program.names,
        program.constant,
        alpha is not None,
    )
    return [f"class {name}(nn.Module):", *(f"    {line}" for line in [*body, *form.forward(written)])]


def _legend(graph: LossGraph) -> str:
    read = [graph.signature.variables[name] for name in graph.variables]
    parts = [f":math:`{one.latex}` {one.meaning}".rstrip() for one in read]
    if not parts:
        return "no variable: a constant"
    return ", ".join(parts) + form_of(graph.signature).unit


_HALF = """

def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x"""
