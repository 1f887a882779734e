"""Settings of models on labelled images that are trained side by side, each with a loss of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cse_autoloss.settings.fields import NotNegative, Number, Positive, Section, Seed, Whole

Model = Literal["mlp", "small", "face", "resnet20"]
Head = Literal["plain", "cosine"]
Epochs = Annotated[Whole, Field(ge=1, le=10_000)]
ImageSize = Annotated[Whole, Field(ge=8, le=1024)]
ValShare = Annotated[Number, Field(gt=0.0, lt=1.0)]


class TrainingSettings(Section):
    """How the models are trained; the tasks on labelled images add their data to it.

    Attributes:
        model: one of `classifiers.MODELS`.
        head: plain logits, or cosine: normalised features and weights, so that logits are scale·cos θ.
        scale: s; with plain logits the unit of the losses' transforms.
        epochs: of a whole training side by side; the learning rate falls over them as half a cosine.
        batch: images of a step; the last, incomplete batch of an epoch is left out.
        lr: at the start.
        momentum, weight_decay: of `Sgd`.
        seed: of splits, subsets and wrong labels. A search of a parametric space takes one more with each of its runs.
        augment: random crops after padding by an eighth, and mirror images.
    """

    model: Model = "mlp"
    head: Head = "plain"
    scale: Positive = 10.0
    epochs: Epochs = 30
    batch: Annotated[Whole, Field(ge=2)] = 50
    lr: Positive = 0.1
    momentum: Annotated[Number, Field(ge=0.0, lt=1.0)] = 0.9
    weight_decay: NotNegative = 5e-4
    augment: bool = False
    seed: Seed = 0

    @property
    def cosine_scale(self) -> float | None:
        """s where features are normalised, None where logits are plain."""
        return self.scale if self.head == "cosine" else None


class IdentitySettings(TrainingSettings):
    """What suits photographs of some forty people, as ORL's: places matter, and so do mirror images."""

    image_size: ImageSize = 24
    model: Model = "face"
    head: Head = "cosine"
    epochs: Epochs = 40
    augment: bool = True
