"""Settings of tasks whose models are trained by gradient descent with one loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cse_autoloss.settings.fields import NotNegative, Number, Positive, Precision, Section, Seed, Whole

Model = Literal["mlp", "small", "face", "resnet20", "mgn"]
Head = Literal["plain", "cosine"]
Epochs = Annotated[Whole, Field(ge=1, le=10_000)]
ImageSize = Annotated[Whole, Field(ge=8, le=1024)]
ValShare = Annotated[Number, Field(gt=0.0, lt=1.0)]


class SgdSettings(Section):
    """How a model is trained, whatever it is.

    Attributes:
        batch: samples of a step.
        lr: at the start; it falls as half a cosine.
        momentum: of SGD.
        weight_decay: on matrices and kernels.
        precision: of the model's forward pass; losses and weights are float32 in any.
        early_stopping: the model that is scored is that of the epoch which did best on validation, by the task's
            first metric; else it is the last epoch's.
        seed: of splits, subsets and faults; weights and batches have the training's own.
    """

    batch: Annotated[Whole, Field(ge=2)] = 50
    lr: Positive = 0.1
    momentum: Annotated[Number, Field(ge=0.0, lt=1.0)] = 0.9
    weight_decay: NotNegative = 5e-4
    precision: Precision = "float32"
    early_stopping: bool = False
    seed: Seed = 0


class TrainingSettings(SgdSettings):
    """How models on labelled images are trained, side by side or alone; the tasks add their data to it.

    Attributes:
        model: one of `classifiers.MODELS`.
        head: plain logits, or cosine: normalised features and weights, so that logits are scale·cos θ.
        scale: s; with plain logits the unit of the losses' transforms.
        epochs: of a whole training side by side; the learning rate falls over them as half a cosine.
        augment: random crops after padding by an eighth, and mirror images.
    """

    model: Model = "mlp"
    head: Head = "plain"
    scale: Positive = 10.0
    epochs: Epochs = 30
    augment: bool = False

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
