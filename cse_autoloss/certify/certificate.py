"""The certificate of a loss."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from cse_autoloss.certify import binary, boxes, coupled, walks
from cse_autoloss.certify.bisect import Budget
from cse_autoloss.certify.classes import is_coupled
from cse_autoloss.certify.result import Certificate, Finding
from cse_autoloss.errors import AutoLossError
from cse_autoloss.graph import LossGraph
from cse_autoloss.spaces import REG, form_of, plain_of
from cse_autoloss.threads import one_torch_thread

SECONDS = 30.0
"""What a certificate may take of one core."""


QUICK = 15_000
"""Boxes a property in a run and on a page, where a certificate must not take long."""


def certificate_of(
    graph: LossGraph,
    seconds: float = SECONDS,
    boxes: int = Budget.boxes,
    *,
    alpha: float | None = None,
    signs: bool = False,
) -> Certificate:
    """What is known of a loss for sure, over the domain that each finding names.

    The loss is taken as it runs, in its stable form, with real numbers in the place of floating-point ones.

    Args:
        graph: the loss.
        seconds: after which what is not decided stays open.
        boxes: how many a property may cost, which decides the same on every machine.
        alpha: the weighting that the loss is used with, α·y + (1 − α)(1 − y) on each element of a sigmoid head's
            loss; other losses have none.
        signs: look only at what a right loss can't be without, the signs of its slopes.
    """
    weighting = alpha if form_of(graph.signature).weighted else None
    with one_torch_thread():  # arrays are short, and threads would wait for each other
        budget = Budget(boxes, time.thread_time() + seconds, signs)
        findings = tuple(_findings(graph, budget, weighting))
        return Certificate(graph.formula, graph.signature.name, findings, weighting)


def write_certificates(certificates: Sequence[Certificate], path: str | Path) -> None:
    """Write certificates as JSON, a list; AutoLossError where the file can't be written."""
    path = Path(path)
    if path.suffix != ".json":
        raise AutoLossError(f"{path}: certificates are JSON; name a file that ends in .json")
    text = json.dumps([one.to_dict() for one in certificates], indent=2, ensure_ascii=False) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise AutoLossError(f"can not write {path}: {error.strerror or error}") from None


def _findings(graph: LossGraph, budget: Budget, alpha: float | None) -> list[Finding]:
    head = form_of(graph.signature).head
    if head == "sigmoid":
        return (coupled if is_coupled(graph) else binary).findings(graph, budget, alpha)
    if head == "softmax":
        return coupled.findings(graph, budget)
    if plain_of(graph.signature) == REG:
        return boxes.findings(graph, budget)
    return walks.findings(graph, budget)
