"""What a certificate is: property by property proved, refuted with a witness, or open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["proved", "refuted", "open"]


@dataclass(frozen=True)
class Finding:
    """One property of a loss.

    Attributes:
        name: the property in words.
        outcome: proved over the whole domain; refuted by the witness; or open: neither was found.
        domain: where it was looked for.
        detail: what there is to say: a bound, how far it holds, why it is open.
        witness: a place where it does not hold, and what the loss itself, evaluated there, comes to.
        required: whether a right loss must have it; others are told for what they mean.
        remaining: of an open one the boxes of the domain that are not decided, each a range by variable.
    """

    name: str
    outcome: Outcome
    domain: str
    detail: str = ""
    witness: Mapping[str, Any] | None = None
    remaining: tuple[Mapping[str, tuple[float, float]], ...] = ()
    required: bool = True

    def __str__(self) -> str:
        told = f"{self.name} ({self.domain})"
        if self.witness is not None:
            at = ", ".join(f"{name} = {_shown(value)}" for name, value in self.witness.items())
            return f"{told}: not at {at}" + (f"; {self.detail}" if self.detail else "")
        return f"{told}: {self.detail}" if self.detail else told

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what says nothing is left out."""
        plain: dict[str, Any] = {"name": self.name, "outcome": self.outcome, "domain": self.domain}
        plain["required"] = self.required
        if self.detail:
            plain["detail"] = self.detail
        if self.witness is not None:
            plain["witness"] = dict(self.witness)
        if self.remaining:
            plain["remaining"] = [{name: list(ends) for name, ends in box.items()} for box in self.remaining]
        return plain


@dataclass(frozen=True)
class Certificate:
    """What is known of a loss for sure.

    Attributes:
        formula: prefix notation.
        signature: its name.
        findings: property by property.
        alpha: the weighting α·y + (1 − α)(1 − y) that the findings hold with; None for none.
    """

    formula: str
    signature: str
    findings: tuple[Finding, ...] = field(default_factory=tuple)
    alpha: float | None = None

    def of(self, outcome: Outcome) -> tuple[Finding, ...]:
        """The findings of one outcome."""
        return tuple(one for one in self.findings if one.outcome == outcome)

    @property
    def refuted(self) -> bool:
        """Whether a property that a right loss must have is refuted."""
        return any(one.required for one in self.of("refuted"))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        weighting = {} if self.alpha is None else {"alpha": self.alpha}
        return {
            "formula": self.formula,
            "signature": self.signature,
            **weighting,
            "findings": [one.to_dict() for one in self.findings],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Certificate:
        """The certificate that `to_dict` gave."""
        findings = tuple(Finding(**one) for one in data["findings"])
        return cls(data["formula"], data["signature"], findings, data.get("alpha"))

    def brief(self) -> dict[str, str]:
        """One line an outcome, for the head of an exported file."""
        told = {
            outcome: "; ".join(one.name for one in self.of(outcome) if one.required or outcome == "proved")
            for outcome in _OUTCOMES
        }
        return {outcome: text for outcome, text in told.items() if text}


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_OUTCOMES: tuple[Outcome, ...] = ("proved", "refuted", "open")
