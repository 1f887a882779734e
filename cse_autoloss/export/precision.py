"""Where a loss would fail in half precision: why the exported modules compute in float32 under autocast."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cse_autoloss.errors import AutoLossError, shorten
from cse_autoloss.export.domain import sample_domain
from cse_autoloss.export.readable import readable
from cse_autoloss.graph import LossGraph, stabilize
from cse_autoloss.graph.loss_graph import operator_of

Fault = Literal["overflows", "is not finite"]


@dataclass(frozen=True)
class Finding:
    """One subexpression that half precision can't hold.

    Attributes:
        formula: the subexpression, in stable form.
        fault: "overflows": the value is larger than the type holds; "is not finite": the value is in range,
            but what it is computed from is not.
        share: how many of the compared places are hit, 0 to 1.
        value: the exact value at the first of them.
        where: the variables there.
    """

    formula: str
    fault: Fault
    share: float
    value: float
    where: str

    def __str__(self) -> str:
        place = f" at {self.where}" if self.where else ""
        name = shorten(self.formula)
        return f"{name} {self.fault} at {self.share:.0%} of places, first {self.value:.4g}{place}"


@dataclass(frozen=True)
class PrecisionReport:
    """What half precision does to a loss that is computed in it step by step.

    Attributes:
        dtype: the half-precision type.
        findings: subexpressions that fail, arguments before users; empty where none does.
        error: largest relative error of the loss where it stays finite, |half − exact| / max(|exact|, 0.01).
        limit: largest number that the type holds.
    """

    dtype: torch.dtype
    findings: tuple[Finding, ...]
    error: float
    limit: float

    def __str__(self) -> str:
        name = str(self.dtype).removeprefix("torch.")
        lines = [f"computed in {name} (largest number {self.limit:.4g}): error up to {self.error:.2g}"]
        lines += [f"  {finding}" for finding in self.findings] or ["  nothing overflows"]
        return "\n".join(lines)


def report_overflow(
    graph: LossGraph, dtype: torch.dtype = torch.float16, *, count: int = 2048, seed: int = 0
) -> PrecisionReport:
    """Run a loss step by step in half precision and in float64 over the signature's domain, and compare.

    The exported modules avoid all this: they turn half-precision inputs into float32. The report says what
    would happen without that.

    Args:
        graph: the loss.
        dtype: torch.float16 or torch.bfloat16.
        count: places to compare at.
        seed: of the places.

    Raises:
        AutoLossError: another dtype.
    """
    if dtype not in (torch.float16, torch.bfloat16):
        raise AutoLossError(f"expected torch.float16 or torch.bfloat16, got {dtype}")
    shown = readable(stabilize(graph))
    inputs = sample_domain(shown.signature, count, seed=seed)
    limit = torch.finfo(dtype).max
    exact: list[Tensor] = []
    half: list[Tensor] = []
    formulas: list[str] = []
    findings: list[Finding] = []
    for node in shown.nodes:
        inner = ",".join(formulas[a] for a in node.args)
        formulas.append(f"{node.symbol}({inner})" if node.args else node.symbol)
        operator = operator_of(node.symbol)
        if operator is None:
            value = inputs.get(node.symbol)
            exact.append(torch.tensor(float(node.symbol), dtype=torch.float64) if value is None else value)
            half.append(exact[-1].to(dtype))
        else:
            exact.append(operator.torch(*(exact[a] for a in node.args)))
            half.append(operator.torch(*(half[a] for a in node.args)))
        failed = exact[-1].isfinite() & ~half[-1].isfinite()
        if failed.any():
            findings.append(_finding(formulas[-1], failed, exact[-1], limit, inputs))
    finite = half[-1].isfinite() & exact[-1].isfinite()
    error = (half[-1].double() - exact[-1]).abs() / exact[-1].abs().clamp(min=0.01)
    worst = float(error[finite].max()) if finite.any() else float("inf")
    return PrecisionReport(dtype, tuple(findings), worst, limit)


def _finding(formula: str, failed: Tensor, exact: Tensor, limit: float, inputs: dict[str, Tensor]) -> Finding:
    place = int(failed.flatten().nonzero()[0])
    largest = float(exact.flatten()[place])
    fault: Fault = "overflows" if abs(largest) > limit else "is not finite"
    read = set(re.findall(r"[A-Za-z]+", formula))
    # A sum over the classes has no single place among them: its variables are left out.
    where = ", ".join(
        f"{name}={float(value.expand(exact.shape).flatten()[place]):.4g}"
        for name, value in inputs.items()
        if name in read and value.shape[-1] <= exact.shape[-1]
    )
    return Finding(formula, fault, float(failed.double().mean()), largest, where)
