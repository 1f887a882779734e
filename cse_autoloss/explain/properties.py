"""The verifier's verdict, property by property."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cse_autoloss.graph import Signature
from cse_autoloss.spaces import form_of
from cse_autoloss.verdict import Verdict

Outcome = Literal["passed", "failed", "open"]
"""open: the verifier stopped at an earlier fault, so it was not looked at."""


@dataclass(frozen=True)
class Finding:
    """One property of a loss: its name, what was found, and detail in words where it fails."""

    name: str
    outcome: Outcome
    detail: str = ""


_ALWAYS_FIRST = 2
"""The first two properties are looked at before all others; the order of the rest is the judge's own."""


def findings(verdict: Verdict, signature: Signature) -> tuple[Finding, ...]:
    """What the verdict says of each property that is verified of the signature's losses.

    The verifier stops at the first fault, so of a rejected loss only the properties before it are known to hold.
    """
    table = form_of(signature).properties
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
