"""What is compared and how, as it is kept in the store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from cse_autoloss.bench.audit import AuditPlan, Contestant
from cse_autoloss.bench.jobs import LossSet
from cse_autoloss.bench.session import SEEDS_OF_AUDIT, Session
from cse_autoloss.bench.stored import stored_config
from cse_autoloss.compare.contestants import Field
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import SearchConfig


@dataclass(frozen=True)
class Request:
    """What is compared and how; kept in the run's store, so that a resume goes on with the same.

    Attributes:
        field: the contestants.
        config: the task's section and `audit` say what a training is and how it is tuned.
        seeds: final trainings of each contestant.
        split: that they are scored on.
        tune: whether the task's tunables are tuned first; else all have the defaults.
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
                {"name": c.name, "losses": c.losses.losses, "alpha": c.losses.alpha, "units": dict(c.units)}
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
    def of(cls, store: RunStore, code: Collection[str] = (), cluster: str | None = None) -> Request:
        """What `to_json` gave, from a store; `code`, `cluster` and errors as of `stored_config`."""
        with store.understood("the comparison"):
            kept = store.config["compare"]
            contestants = tuple(
                Contestant(
                    c["name"], LossSet.of(c["losses"], c["alpha"]), False, units=tuple(c["units"].items())
                )
                for c in kept["contestants"]
            )
            field = Field(contestants, tuple(kept["notes"]))
            config = stored_config(store, code, kept["search"], cluster=cluster)
            return cls(field, config, int(kept["seeds"]), kept["split"], bool(kept["tune"]))

    def plan(self, session: Session) -> AuditPlan:
        """Trainings; without tuning none has tries."""
        audit = self.config.audit
        return AuditPlan(
            metric=session.metric,
            task=session.digest,
            seeds=tuple(session.first_seed(SEEDS_OF_AUDIT) + i for i in range(self.seeds)),
            space=session.space() if self.tune else (),
            tries=audit.tuning if self.tune else 0,
            tune_epochs=audit.tune_epochs,
            tune_seeds=session.tune_seeds,
            epochs=audit.epochs,
            confidence=audit.confidence,
            resamples=audit.resamples,
            split=self.split,
            draws=session.draws if self.split == "test" else 0,
            sigmoids=session.sigmoids,
            negatives=session.negatives,
        )
