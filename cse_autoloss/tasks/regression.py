"""Tabular regression with outliers among the targets to train on: errors on clean data are what counts."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cse_autoloss.classifiers.seeds import derived_seed
from cse_autoloss.settings.tasks.regression import RegressionSettings
from cse_autoloss.spaces.signatures import REGRESSION
from cse_autoloss.tasks.one_loss import OneLossTask
from cse_autoloss.tasks.parts import Part, spread
from cse_autoloss.tasks.pictures import MOST_DOTS, Dots, thinned
from cse_autoloss.tasks.protocol import LossFunction, Metric, SplitName, drawn_seed
from cse_autoloss.tasks.tables import Table, diabetes, read_csv, repeated_rows, split_table, with_outliers


class RegressionTask(OneLossTask):
    """Scores by the mean absolute and the root mean square error, in deviations of the targets; no outliers there.

    The loss is called (residuals (N,),) -> scalar sum. Features and targets are brought to median 0 and to a deviation
    of about 1 (the distance of the quartiles over 1.349), of the training rows, so that outliers do not set the unit.
    """

    name = "regression"
    Settings = RegressionSettings
    slots: ClassVar = {"loss": REGRESSION}
    metrics: ClassVar = (
        Metric("mae", higher=False, title="MAE", factor=1.0, digits=4, worst=10.0, range=(0.0, math.inf)),
        Metric("rmse", higher=False, title="RMSE", factor=1.0, digits=4, worst=10.0, range=(0.0, math.inf)),
    )
    plain = (
        "squared-error",
        "welsch",
        "cauchy",
        "huber",
        "absolute-error",
        "pseudo-huber",
        "log-cosh",
    )
    settings: RegressionSettings

    @property
    def notes(self) -> tuple[str, ...]:
        """That targets are wrong on purpose."""
        share = self.settings.outliers
        return (f"{share:.0%} of the targets to train on are outliers, put in on purpose",) if share else ()

    def check(self) -> tuple[str, ...]:
        """Read the table; see `Task.check`."""
        return (*super().check(), *self._whole.notes, *repeated_rows(self._whole))

    @cached_property
    def _whole(self) -> Table:
        own = self.settings
        kind, _, path = own.data.partition(":")
        return diabetes() if kind == "diabetes" else read_csv(Path(path).expanduser(), own.target)

    @cached_property
    def splits(self) -> dict[str, Table]:
        """Train, with its outliers, val and test."""
        own = self.settings
        where = own.data.partition(":")[2] or own.data
        parts = split_table(self._whole, own.seed, own.val_share, own.test_share, where)
        both = own.outlier_sign == "both"
        return {
            **parts,
            "train": with_outliers(
                parts["train"], own.outliers, own.outlier_size, both, drawn_seed(own.seed, own.draw)
            ),
        }

    def parts(self) -> dict[str, Part]:
        """See `Task.parts`."""
        return {
            name: Part(len(own), facts={"features": str(own.features.shape[1]), "target": spread(own.target)})
            for name, own in sorted(
                self.splits.items(), key=lambda item: ("train", "val", "test").index(item[0])
            )
        }

    def drawn(self, draw: int) -> RegressionSettings | None:
        """Other outliers among the same rows."""
        return self.settings.model_copy(update={"draw": draw}) if self.settings.outliers else None

    @property
    def samples(self) -> int:
        """Rows to train on."""
        return len(self.splits["train"])

    def model(self, seed: int) -> nn.Module:
        """A linear model, or one hidden layer."""
        inputs, own = self.splits["train"].features.shape[1], self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed("weights", seed))
            if own.model == "linear":
                return nn.Linear(inputs, 1)
            return nn.Sequential(nn.Linear(inputs, own.width), nn.ReLU(), nn.Linear(own.width, 1))

    def batch_loss(
        self, model: nn.Module, loss: LossFunction, index: Tensor, source: torch.Generator
    ) -> Tensor:
        """Mean over the rows."""
        features, target = self._train
        mean: Tensor = loss(model(features[index]).squeeze(-1) - target[index]) / len(index)
        return mean

    def score(self, model: nn.Module, split: SplitName, limit: int | None) -> dict[str, float]:
        """{"mae", "rmse"}."""
        residual, _ = self._residuals(model, split, limit)
        return {"mae": float(residual.abs().mean()), "rmse": math.sqrt(float(residual.square().mean()))}

    def pictures(self, model: nn.Module, split: SplitName) -> tuple[Dots]:
        """Residuals over the targets."""
        residual, target = self._residuals(model, split)
        dots = list(zip(target.tolist(), residual.tolist(), strict=True))
        x, y = "target, in its deviations", "prediction − target"
        return (Dots("Residuals", x, y, thinned(dots, MOST_DOTS)),)

    @torch.no_grad()
    def _residuals(
        self, model: nn.Module, split: SplitName, limit: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Of the first so many rows, and their targets."""
        features, target = (values[:limit] for values in self._tensors(self.splits[split]))
        return (model(features).squeeze(-1) - target).double(), target

    @cached_property
    def _train(self) -> tuple[Tensor, Tensor]:
        return self._tensors(self.splits["train"])

    @cached_property
    def _units(self) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Median and deviation of each feature, and of the target."""
        train = self.splits["train"]
        middle, unit = _middle(train.target)
        return (*_middle(train.features), float(middle), float(unit))

    def _tensors(self, part: Table) -> tuple[Tensor, Tensor]:
        centre, spread, middle, unit = self._units
        pairs = ((part.features - centre) / spread, (part.target - middle) / unit)
        features, target = (torch.from_numpy(values).float().to(self.device) for values in pairs)
        return features, target


def _middle(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median, and the quartiles' distance over 1.349: the deviation where there are no outliers; 1 where it is 0."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    spread = (high - low) / 1.349
    plain = values.std(axis=0)
    return middle, np.where(spread > 0, spread, np.where(plain > 0, plain, 1.0))
