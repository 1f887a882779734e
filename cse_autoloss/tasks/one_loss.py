"""A task with one loss, one model and SGD: what is left to say is the data, the model and the metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cse_autoloss.settings.stacked import SgdSettings
from cse_autoloss.tasks.data_digest import digest_of
from cse_autoloss.tasks.early_stopping import keep_best
from cse_autoloss.tasks.pictures import Picture
from cse_autoloss.tasks.protocol import LossFunction, Schedule, SplitName, Task, TaskScore, Tunable
from cse_autoloss.tasks.trained import trained
from cse_autoloss.training.loop import Schedule as OneCycle
from cse_autoloss.training.loop import TrainingRun, watched
from cse_autoloss.training.precision import in_precision


class OneLossTask(Task):
    """Its slot is called "loss", and its learning rate is tuned.

    Attributes:
        plain: losses that people use, by name or formula: see `Task.baselines`.
        settings: of data and training.
    """

    plain: ClassVar[tuple[str, ...]]
    quickens = True
    settings: SgdSettings

    @property
    def pauses(self) -> bool:  # type: ignore[override]
        """Not with early stopping: a state on disk holds no best model."""
        return not self.settings.early_stopping

    @property
    def tunables(self) -> tuple[Tunable, ...]:
        """The learning rate."""
        return (Tunable("lr", self.settings.lr, (0.1, 10.0)),)

    @property
    def baselines(self) -> tuple[dict[str, str], ...]:
        """`plain`."""
        return tuple({"loss": text} for text in self.plain)

    @property
    def samples(self) -> int:
        """How many there are to train on."""
        raise NotImplementedError

    @property
    def frequency(self) -> Tensor | None:
        """(C,) samples of each class to train on over those of the most frequent class; None where there are none."""
        return None

    def model(self, seed: int) -> nn.Module:
        """Untrained, with weights by the seed; the global generator stays as it was."""
        raise NotImplementedError

    def batch_loss(
        self, model: nn.Module, loss: LossFunction, index: Tensor, source: torch.Generator
    ) -> Tensor:
        """Mean loss of some training samples.

        Args:
            model: on the task's device.
            loss: of the slot.
            index: (N,) of the samples.
            source: of whatever is drawn at random.
        """
        raise NotImplementedError

    def order(self, count: int, source: torch.Generator) -> Tensor:
        """The first so many training samples in the order in which one pass takes them, (count,): by chance."""
        return torch.randperm(count, generator=source)

    def score(self, model: nn.Module, split: SplitName, limit: int | None) -> dict[str, float]:
        """All metrics of a model on the first so many samples; "test" is for the final audit alone."""
        raise NotImplementedError

    def pictures(self, model: nn.Module, split: SplitName) -> Sequence[Picture]:
        """What is to be seen of a model whose metrics are finite."""
        return ()

    def detail(self, model: nn.Module, split: SplitName) -> Mapping[str, float]:
        """See `TaskScore.parts`; asked for on test alone."""
        return {}

    def logits(self, model: nn.Module) -> Mapping[str, Any]:
        """See `TaskScore.logits`; asked for where pictures are."""
        return {}

    @property
    def data_digest(self) -> str:
        """Of the files of `data`, as KIND:PLACE, and of those of pairs and groups where there are any."""
        _, _, place = str(getattr(self.settings, "data", "")).partition(":")
        others = [getattr(self.settings, name, None) for name in ("pairs", "groups")]
        if not place:
            return ""
        return digest_of(Path(place).expanduser(), *(path.expanduser() for path in others if path))

    def check(self) -> tuple[str, ...]:
        """Read the data; notes on them. See `Task.check`."""
        _ = self.samples
        return tuple(self.notes)

    def train(
        self,
        losses: Mapping[str, LossFunction],
        *,
        seed: int,
        schedule: Schedule,
        settings: Mapping[str, float],
        split: SplitName,
    ) -> TaskScore:
        """Train a model with `losses["loss"]` and score it; see `Task.train`."""
        own, loss = self.settings, watched(losses["loss"])
        precision = schedule.precision or own.precision
        count = min(self.samples, schedule.train_limit or self.samples)

        def run() -> TrainingRun:
            model = self.model(seed).to(self.device)
            cycle = OneCycle(
                schedule.epochs,
                min(own.batch, count),
                settings.get("lr", own.lr),
                own.weight_decay,
                own.momentum,
                warmup=0.0,
                precision=precision,
                optimizer=schedule.optimizer,
            )
            learner = in_precision(model, precision)
            return TrainingRun(
                model,
                count,
                lambda index, source: self.batch_loss(learner, loss, index, source),
                cycle,
                seed=seed,
                losses=[losses["loss"]],
                frequency=self.frequency,
                order=lambda source: self.order(count, source),
            )

        shown: list[Picture] = []
        parts: dict[str, float] = {}
        logits: dict[str, Any] = {}

        def score(run: TrainingRun) -> dict[str, float]:
            found = self.score(run.model, split, schedule.score_limit)
            if all(map(math.isfinite, found.values())):
                if split == "test":  # a search, which has no use for them, is spared their time
                    parts.update(self.detail(run.model, split))
                if schedule.show:
                    shown.extend(self.pictures(run.model, split))
                    logits.update(self.logits(run.model))
            return found

        def worth(model: nn.Module) -> float:
            return self.metrics[0].worth(self.score(model, "val", None))

        advance = keep_best(worth, schedule.epochs) if own.early_stopping else TrainingRun.advance
        found = trained(run, schedule, score, self.samples, advance)
        return replace(found, parts=parts, pictures=tuple(shown), logits=logits)
