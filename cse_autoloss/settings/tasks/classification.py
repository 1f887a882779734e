"""Settings of image classification; search_configs/classification.yaml says what they mean."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from cse_autoloss.settings.fields import Count, Number, Place, Spaces, Whole
from cse_autoloss.settings.stacked import ImageSize, TrainingSettings, ValShare


class ClassificationSettings(TrainingSettings):
    """The images, as of `tasks.image_splits.load_splits`, and how the models are trained."""

    data: Place = "digits"
    label_noise: Annotated[Number, Field(ge=0.0, lt=1.0)] = 0.0
    val_share: ValShare = 0.2
    train_limit: Count | None = None
    image_size: ImageSize = 32
    grey: bool = False
    shrink: Annotated[Whole, Field(ge=1, le=64)] = 1
    spaces: Spaces = "paper"
    draw: Annotated[Whole, Field(ge=0, lt=1000)] = 0


SECTION: Final = ClassificationSettings
