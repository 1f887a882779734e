"""Losses and batches that the export tests share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from cse_autoloss.graph import LossGraph, compile_graph
from cse_autoloss.losses import CATALOGUE
from cse_autoloss.spaces import binary_inputs, box_inputs, multiclass_inputs, parse

# Exports of a user's signature, and of regression, are tested in test_signatures.py.
ENTRIES = [entry for entry in CATALOGUE.values() if entry.formula and entry.signature.name != "regression"]
NAMES = [entry.name for entry in ENTRIES]


def catalogue_graph(name: str) -> LossGraph:
    """A catalogue loss as a graph."""
    entry = CATALOGUE[name]
    assert entry.formula is not None
    return parse(entry.formula, entry.signature.name)


def batch(branch: str, dtype: torch.dtype = torch.float64, rows: int = 14, seed: int = 0) -> list[Tensor]:
    """Arguments of a loss of that branch; the first one is what it is differentiated by."""
    torch.manual_seed(seed)
    if branch == "reg":
        boxes = []
        for _ in range(2):
            low = torch.rand(rows, 2, dtype=torch.float64) * 20
            boxes.append(
                torch.cat([low, low + 1 + torch.rand(rows, 2, dtype=torch.float64) * 20], -1).to(dtype)
            )
        return boxes
    columns = 5
    logits = (torch.randn(rows, columns, dtype=torch.float64) * 3).to(dtype)
    background = columns if branch == "cls-binary" else columns - 1
    target = torch.arange(rows) % (background + 1)
    return [logits, target, torch.rand(rows, dtype=torch.float64).to(dtype)]


def imported(source: str, folder: Path, name: str = "exported") -> ModuleType:
    """The exported text as a module, through a file, as a user would have it."""
    path = folder / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    # Bytecode of another text of the same length, written within the same second, would be taken for its own.
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # for pickle, which looks classes up by module
    spec.loader.exec_module(module)
    return module


def value_and_gradient(loss: torch.nn.Module, arguments: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The loss and the gradient of its sum by the first argument; a constant has gradient 0."""
    first = arguments[0].clone().requires_grad_()
    value = loss(first, *arguments[1:])
    if value.requires_grad:
        value.sum().backward()
    gradient = torch.zeros_like(first) if first.grad is None else first.grad
    return value.detach(), gradient


class PlainLoss(torch.nn.Module):
    """The loss by torch's own autograd, operator by operator, without reduction."""

    def __init__(self, graph: LossGraph) -> None:
        super().__init__()
        self.branch = graph.signature.name
        self.evaluate = compile_graph(graph)

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        if self.branch == "reg":
            return self.evaluate(box_inputs(first, *others)).expand(len(first))
        if self.branch == "cls-binary":
            return self.evaluate(binary_inputs(first, *others)).expand(first.shape)
        return self.evaluate(multiclass_inputs(first, *others)).expand(len(first), 1).squeeze(-1)
