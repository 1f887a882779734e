"""The jobs of a run: what is sent to a worker, under which key its result is kept, and what a worker does with it.

Only plain values cross to a worker: formulas or catalogue names, numbers, and back come figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from cse_autoloss.runs.records import Score, job_key

STATES = "states"
"""Folder in a run's directory where workers keep the states of paused trainings."""

_KEPT = ("seconds_train", "seconds_score", "epochs_trained", "train_images")

Purpose = Literal["proxy", "rung", "combine", "tune", "audit", "filter-audit"]


@dataclass(frozen=True)
class LossPair:
    """A classification and a box loss, each a formula or a catalogue name, and how they are weighted.

    Attributes:
        cls: formula or catalogue name of the classification loss.
        reg: formula or catalogue name of the box loss.
        alpha: α weighting of a formula in the binary branch; None for none. A catalogue name brings its own.
        box_weight: factor on the box loss.
        lr: peak learning rate; None is the task's.
    """

    cls: str
    reg: str
    alpha: float | None = None
    box_weight: float = 1.0
    lr: float | None = None

    @property
    def name(self) -> str:
        """`cls + reg` as it stands in tables."""
        return f"{self.cls} + {self.reg}"

    def tuned(self, box_weight: float, lr: float) -> LossPair:
        """The same pair with other settings."""
        return replace(self, box_weight=box_weight, lr=lr)


@dataclass(frozen=True)
class Training:
    """A proxy training to be done.

    Attributes:
        purpose: what for.
        pair: the losses.
        seed: of weights and batches.
        epochs: passes over the training scenes.
        split: "val", or "test" in the audit alone.
        train_limit: number of training scenes, None for all.
        task: digest of the data and model settings, so that a score is not taken over to another task.
        until: epochs of the schedule after which it pauses and is scored, to be gone on with if it is worth it; None
            for the end.
        scenes: number of scenes that it is scored on, None for all.
    """

    purpose: Purpose
    pair: LossPair
    seed: int
    epochs: float
    split: Literal["val", "test"] = "val"
    train_limit: int | None = None
    task: str = ""
    until: float | None = None
    scenes: int | None = None

    @property
    def key(self) -> str:
        """Hash of everything that decides the result."""
        parts = asdict(self)
        del parts["purpose"]
        # Left out where they say nothing, so that scores of runs from before they existed are found again.
        for name in ("until", "scenes"):
            if parts[name] is None:
                del parts[name]
        return job_key(**parts)

    def rung(self, until: float, scenes: int | None) -> Training:
        """The same training up to a pause."""
        return replace(self, purpose="rung", until=until, scenes=scenes)

    @property
    def state_name(self) -> str:
        """Names the state that is kept at its pauses: that of the whole training."""
        return replace(self, until=None, scenes=None).key

    def payload(self, pauses: bool = False) -> dict[str, Any]:
        """What the worker receives.

        Args:
            pauses: whether the training has pauses, this one or earlier ones.
        """
        return {"kind": "train", **asdict(self), "state": self.state_name if pauses else None}

    def score(self, status: str, value: dict[str, Any], detail: str, seconds: float) -> Score:
        """The record to keep: `value` is what `run` gave, empty where the job failed."""
        trained = status == "ok" and value.get("status") == "ok"
        return Score(
            key=self.key,
            purpose=self.purpose,
            cls=self.pair.cls,
            reg=self.pair.reg,
            split=self.split,
            seed=self.seed,
            epochs=self.epochs if self.until is None else self.until,
            box_weight=self.pair.box_weight,
            lr=self.pair.lr if self.pair.lr is not None else 0.0,
            status="ok" if trained else str(value.get("status", status)),
            ap=value["ap"] if trained else None,
            ap50=value["ap50"] if trained else None,
            ap75=value["ap75"] if trained else None,
            detail=detail or str(value.get("detail", "")),
            seconds=seconds,
            extra={name: value[name] for name in _KEPT if name in value},
        )


def simulation_payload(branch: str, formulas: Sequence[str], alpha: float | None) -> dict[str, Any]:
    """Ask a worker to simulate candidates side by side."""
    return {"kind": "simulate", "branch": branch, "formulas": list(formulas), "alpha": alpha}
