"""What a study hands out: candidates to be trained with, and the best that it found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from cse_autoloss.graph import Signature
from cse_autoloss.losses import load_loss

FEWEST_TO_STOP = 5
"""A candidate is stopped early only where so many others have reported the same step."""


def modules(
    losses: Mapping[str, str], slots: Mapping[str, Signature], reduction: str = "mean"
) -> dict[str, Any]:
    """Torch modules of losses by slot."""
    return {slot: load_loss(text, slots[slot], reduction) for slot, text in losses.items()}


@dataclass
class Trial:
    """What a training function may be told while it trains: give it a parameter called `trial`.

    Attributes:
        others: step -> values that other candidates reported there.
        higher: whether higher is better.
        steps: what this one reported.
    """

    others: Mapping[int, list[float]] = field(default_factory=dict)
    higher: bool = True
    steps: dict[int, float] = field(default_factory=dict)

    def report(self, step: int, value: float) -> None:
        """A value on the way, as after an epoch; what is no finite number is kept as the worst."""
        worst = -math.inf if self.higher else math.inf
        try:
            told = float(value)
        except (TypeError, ValueError, OverflowError):
            told = math.nan
        self.steps[int(step)] = told if math.isfinite(told) else worst

    @property
    def should_stop(self) -> bool:
        """Whether the last report is worse than the median of the others at that step."""
        if not self.steps:
            return False
        step = max(self.steps)
        others = self.others.get(step, [])
        if len(others) < FEWEST_TO_STOP:
            return False
        middle = median(others)
        return self.steps[step] < middle if self.higher else self.steps[step] > middle


@dataclass
class Candidate(Trial):
    """A loss to be trained with: verified, and unlike all before it.

    Attributes:
        number: counted from 0.
        slot: the slot that it is searched for.
        texts: formula or name of each slot's loss.
        slots: their signatures.
        origin: how it was made.
    """

    number: int = 0
    slot: str = "loss"
    texts: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, Signature] = field(default_factory=dict)
    origin: str = ""
    _fail: Callable[[Candidate, object], None] | None = None

    @property
    def formula(self) -> str:
        """Of the loss that is searched."""
        return self.texts[self.slot]

    @property
    def losses(self) -> dict[str, Any]:
        """Fresh torch modules by slot, reduction "mean"."""
        return modules(self.texts, self.slots)

    @property
    def loss(self) -> Any:
        """The torch module of the slot that is searched, reduction "mean"."""
        return modules({self.slot: self.formula}, self.slots)[self.slot]

    def fail(self, why: object) -> None:
        """Tell the study that no training came of it: in words, or with the error that was raised."""
        assert self._fail is not None
        self._fail(self, why)


@dataclass(frozen=True)
class Found:
    """The best losses of a study.

    Attributes:
        number: of the candidate.
        value: that was told of it.
        texts: formula or name of each slot's loss.
        slots: their signatures.
    """

    number: int
    value: float
    texts: Mapping[str, str]
    slots: Mapping[str, Signature] = field(repr=False)

    @property
    def formula(self) -> str:
        """Of the loss; of several, of the first slot."""
        return next(iter(self.texts.values()))

    @property
    def losses(self) -> dict[str, Any]:
        """Torch modules by slot, reduction "mean"."""
        return modules(self.texts, self.slots)

    @property
    def loss(self) -> Any:
        """The torch module; of several, of the first slot."""
        return next(iter(self.losses.values()))

    def _repr_html_(self) -> str:
        """What a notebook shows: each loss."""
        return "".join(loss._repr_html_() for loss in self.losses.values())

    def export(self, path: str | Path, slot: str | None = None) -> None:
        """Write a loss as .py, .json, .tex, .onnx, .svg, .png or .dot; see `export_loss`."""
        from cse_autoloss.api.files import export_loss

        chosen = next(iter(self.texts)) if slot is None else slot
        export_loss(modules(self.texts, self.slots)[chosen].graph, path)
