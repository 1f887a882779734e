"""The answer of a filter: a rejection is a result, with its reason in words, and never an exception."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """What one stage of the funnel says of one candidate.

    Attributes:
        stage: "verify", "simulate" or "proxy".
        accepted: whether the candidate goes on.
        reason: why, in words a person can read; for an accepted one, what was shown.
        figure: the measured figure that decided, in the unit the reason names, or None.
        seconds: time the stage took for this candidate.
        where: the place where the property failed, for example "y=1, w=1, x=3.5"; empty when accepted.
        code: short name of the violated property, for counting, for example "rises-with-logit".
    """

    stage: str
    accepted: bool
    reason: str
    figure: float | None = None
    seconds: float = 0.0
    where: str = ""
    code: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def __bool__(self) -> bool:
        return self.accepted

    def __str__(self) -> str:
        place = f" (at {self.where})" if self.where else ""
        return f"{'accepted' if self.accepted else 'rejected'} by {self.stage}: {self.reason}{place}"
