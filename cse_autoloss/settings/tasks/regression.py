"""Settings of tabular regression; search_configs/regression.yaml says what they mean."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from cse_autoloss.settings.fields import Number, Positive, Text, Whole, like
from cse_autoloss.settings.stacked import SgdSettings, ValShare


class RegressionSettings(SgdSettings):
    """The table, the outliers that are put into it, and how the model is trained.

    Attributes:
        data: "diabetes" for scikit-learn's table, "csv:FILE" for one of your own.
        target: name of the column that is predicted, of a CSV file.
        outliers: share of the targets to train on that is made wrong on purpose.
        outlier_size: by how much, in deviations of the targets, from half of it to all; always upwards, or either way.
        outlier_sign: "up" or "both".
        val_share, test_share: of the rows, drawn by the seed.
        draw: another one has other outliers among the same rows.
        model: "linear", or "mlp" with one hidden layer of `width`.
    """

    data: Annotated[str, like(r"diabetes|csv:.+", "'diabetes' or 'csv:FILE'")] = "diabetes"
    target: Text | None = None
    outliers: Annotated[Number, Field(ge=0.0, lt=1.0)] = 0.2
    outlier_size: Positive = 10.0
    outlier_sign: Literal["up", "both"] = "up"
    val_share: ValShare = 0.25
    test_share: ValShare = 0.35
    draw: Annotated[Whole, Field(ge=0, lt=1000)] = 0
    model: Literal["linear", "mlp"] = "mlp"
    width: Annotated[Whole, Field(ge=1, le=4096)] = 32
    batch: Annotated[Whole, Field(ge=2)] = 32
    lr: Positive = 0.01


SECTION: Final = RegressionSettings
