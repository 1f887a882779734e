"""What several files that import torch alone hold: parts of this package's own source, and how classes begin."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from torch.nn import Module

BEGIN = """\
    def __init__(self, reduction: str = "mean", ignore_index: int = -100) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction is 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction
        self.ignore_index = ignore_index
"""
"""How the class of a classification loss begins."""

FITS = """\
        fits = logits.dim() == 2 and logits.is_floating_point() and target.shape == logits.shape[:1]
        if not fits or target.dtype != torch.int64:
            got = f"{tuple(logits.shape)} {logits.dtype} and {tuple(target.shape)} {target.dtype}"
            raise ValueError(f"logits must be float (N, C) and target (N,) int64 class indices, got {got}")
"""
"""The look at shapes and types with which its `forward` begins."""

MOVING = """\
        self.register_buffer("epoch", torch.tensor(0))

    def set_epoch(self, epoch: int) -> None:
        \"""Train the epoch `epoch`, from 0, next: one of {epochs}, after which the last one's loss stays.\"""
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise ValueError(f"epoch is a whole number of at least 0, got {{epoch!r}}")
        self.epoch.fill_(min(epoch, {last}))

    def set_progress(self, share: float) -> None:
        \"""Say before each step what share of the training is done, 0 to 1: the epochs span it all.\"""
        if not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise ValueError(f"share is a number from 0 to 1, got {{share!r}}")
        self.set_epoch(min(int(share * {epochs} + 1e-9), {last}))
"""
"""What a loss an epoch has besides: the index of its tables, and who moves it."""


def moving(epochs: int) -> str:
    """`MOVING` of so many epochs; of one epoch nothing, for such a loss does not move."""
    return MOVING.format(epochs=epochs, last=epochs - 1) if epochs > 1 else ""


def body_of(module: ModuleType) -> str:
    """A module's source after its docstring and imports."""
    source = inspect.getsource(module)
    first = next(
        node
        for node in ast.parse(source).body
        if not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.Expr) and ast.get_docstring(ast.Module([node], [])))
    )
    start = min((first.lineno, *(one.lineno for one in getattr(first, "decorator_list", ()))))
    return "\n".join(source.splitlines()[start - 1 :]).strip()


def helpers_of(method: Callable[..., Any]) -> list[FunctionType]:
    """The functions of this package that a method calls, and those that they call, in the order of their calls."""
    package = __name__.partition(".")[0]
    found: list[FunctionType] = []
    assert isinstance(method, FunctionType)
    waiting = [method]
    while waiting:
        one = waiting.pop(0)
        for name in one.__code__.co_names:
            called = one.__globals__.get(name)
            if (
                isinstance(called, FunctionType)
                and called.__module__.startswith(package)
                and called not in found
            ):
                found.append(called)
                waiting.append(called)
    return found


def numbers_of(loss: Module) -> dict[str, float]:
    """What a loss's formula takes from `self`, but for what every module has."""
    inherited = {*vars(Module()), "reduction", "taking"}
    return {name: value for name, value in vars(loss).items() if name not in inherited}
