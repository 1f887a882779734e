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
