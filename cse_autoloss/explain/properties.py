"""The verifier's verdict, property by property."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cse_autoloss.verdict import Verdict

Outcome = Literal["passed", "failed", "open"]
"""open: the verifier stopped at an earlier fault, so it was not looked at."""


@dataclass(frozen=True)
class Finding:
    """One property of a loss: its name, what was found, and detail in words where it fails."""

    name: str
    outcome: Outcome
    detail: str = ""


_CLASSIFICATION: tuple[tuple[str, frozenset[str]], ...] = (
    ("Reads the logit and the target", frozenset({"ignores-logit", "ignores-target"})),
    ("Finite for logits from −100 to 100", frozenset({"not-finite"})),
    (
        "Falls towards the right answer everywhere, at w = 1",
        frozenset({"constant", "rises-with-logit", "falls-with-logit", "oscillates", "jumps"}),
    ),
    (
        "Moves with every logit that should move",
        frozenset({"ignores-positives", "ignores-negatives", "ignores-background", "ignores-other-classes"}),
    ),
    ("Gradient vanishes towards the right answer", frozenset({"gradient-does-not-vanish"})),
    (
        "For w < 1 falls, or aims at a logit that rises with w",
        frozenset({"aim-not-single", "aim-does-not-rise"}),
    ),
)

_BOXES: tuple[tuple[str, frozenset[str]], ...] = (
    ("Reads the intersection, and the union or the enclosing area", frozenset({"ignores-intersection"})),
    ("Finite along every motion", frozenset({"not-finite"})),
    (
        "Never rises while the boxes come together",
        frozenset({"constant", "rises-towards-target", "jumps"}),
    ),
    ("Least where the boxes coincide", frozenset({"least-elsewhere"})),
    ("Falls as long as the boxes overlap", frozenset({"flat-while-overlapping"})),
)

_ALWAYS_FIRST = 2
"""The first two properties are looked at before all others; the order of the rest is the judge's own."""


def findings(verdict: Verdict, branch: str) -> tuple[Finding, ...]:
    """What the verdict says of each property of the branch.

    The verifier stops at the first fault, so of a rejected loss only the properties before it are known to hold.
    """
    table = _BOXES if branch == "reg" else _CLASSIFICATION
    if verdict.accepted:
        return tuple(Finding(name, "passed") for name, _ in table)
    failed = next((index for index, (_, codes) in enumerate(table) if verdict.code in codes), None)
    found = []
    for index, (name, _) in enumerate(table):
        if index == failed:
            detail = f"{verdict.reason} (at {verdict.where})" if verdict.where else verdict.reason
            found.append(Finding(name, "failed", detail))
        elif failed is not None and index < min(failed, _ALWAYS_FIRST):
            found.append(Finding(name, "passed"))
        else:
            found.append(Finding(name, "open", "not looked at after the first fault"))
    if failed is None:
        found.append(Finding(verdict.reason, "failed", verdict.where))
    return tuple(found)
