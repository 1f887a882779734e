"""What is compared and how, as it is kept in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cse_autoloss.bench.audit import AuditPlan, Contestant
from cse_autoloss.bench.jobs import LossPair
from cse_autoloss.bench.session import SEEDS_OF_AUDIT, SEEDS_OF_TUNING
from cse_autoloss.compare.contestants import Field
from cse_autoloss.settings.load import SearchConfig, parse_config
from cse_autoloss.settings.tasks.detection import DetectionSettings


@dataclass(frozen=True)
class Request:
    """What is compared and how; kept in the run's store, so that a resume goes on with the same.

    Attributes:
        field: the contestants.
        config: its task's section and `audit` say what a training is and how it is tuned.
        seeds: final trainings of each contestant.
        split: that they are scored on.
        tune: whether box weight and learning rate are tuned first; else all have the configuration's.
    """

    field: Field
    config: SearchConfig
    seeds: int
    split: Literal["val", "test"] = "test"
    tune: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain values, under the one key that tells a comparison's store from a search's."""
        kept = {
            "contestants": [
                {"name": c.name, "cls": c.pair.cls, "reg": c.pair.reg, "alpha": c.pair.alpha, "unit": c.unit}
                for c in self.field.contestants
            ],
            "notes": list(self.field.notes),
            "seeds": self.seeds,
            "split": self.split,
            "tune": self.tune,
            "search": self.config.model_dump(mode="json"),
        }
        return {"compare": kept}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Request:
        """The inverse of `to_json`."""
        kept = kept["compare"]
        contestants = tuple(
            Contestant(c["name"], LossPair(c["cls"], c["reg"], c["alpha"]), False, unit=c["unit"])
            for c in kept["contestants"]
        )
        field = Field(contestants, tuple(kept["notes"]))
        return cls(field, parse_config(kept["search"]), kept["seeds"], kept["split"], kept["tune"])

    @property
    def plan(self) -> AuditPlan:
        """Trainings; without tuning its grid is empty."""
        audit, config = self.config.audit, self.config
        first = config.seed * 10_000
        return AuditPlan(
            seeds=tuple(first + SEEDS_OF_AUDIT + i for i in range(self.seeds)),
            box_weights=audit.box_weights if self.tune else (),
            lrs=tuple(config.own_as(DetectionSettings).lr * factor for factor in audit.lr_factors)
            if self.tune
            else (),
            tune_epochs=audit.tune_epochs,
            tune_seeds=tuple(first + SEEDS_OF_TUNING + i for i in range(audit.tune_seeds))
            if self.tune
            else (),
            epochs=audit.epochs,
            confidence=audit.confidence,
            resamples=audit.resamples,
            edge_steps=audit.edge_steps,
            split=self.split,
        )
