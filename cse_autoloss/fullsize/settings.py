"""Everything that decides a full-size training."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator, model_validator

from cse_autoloss.errors import shorten
from cse_autoloss.settings.fields import (
    Count,
    NotNegative,
    Number,
    Positive,
    Section,
    Share,
    Text,
    Whole,
    like,
)
from cse_autoloss.settings.tasks.detection import DATA

NOT_PART_OF_THE_RESULT = frozenset(
    {
        "data",
        "val_file",
        "val_images",
        "test_file",
        "test_images",
        "test",
        "workers",
        "save_every",
        "max_steps",
        "tensorboard",
    }
)
"""Settings that may differ when a training goes on: the weights do not depend on them."""


class TrainSettings(Section):
    """The defaults are the 1x schedule: 12 epochs of 16 images a step, the rate cut to a tenth after 8 and 11.

    Attributes:
        detector: "torchvision:NAME", for example "torchvision:fcos_resnet50_fpn".
        data: "DIR", "coco:DIR", "yolo:DIR" or "voc:DIR": a folder of images with boxes; see docs/data.md.
        train_file, val_file, test_file: JSON files in it.
        train_images, val_images, test_images: folders in it that `file_name` starts from.
        test: score the test file too, after the training.
        skip_bad: leave out wrong items in place of an error.
        loss: classification loss, or both: a catalogue name, "cse-autoloss-a" or "-b" for a published pair, a
            formula, a loss.json or a run directory; None keeps torchvision's.
        loss_reg: box loss, in the same forms; None is the one that comes with `loss`, or else torchvision's.
        alpha: class weighting of a cls-binary loss; "default" is the one that the loss comes with.
        cls_weight, box_weight: factors on the two losses where they are ours.
        centerness: what FCOS's centre-ness head learns: "centerness", or "iou" as for searched losses.
        weights: what to start from: "none", "backbone" for torchvision's ImageNet weights (a download), or a
            file with a backbone's or a detector's weights.
        new_head: leave out those of the file's weights that depend on the number of classes.
        image_size, max_size: the shorter side that images are scaled to, pixels, and the limit of the longer
            one; None is 5/3 of the shorter.
        epochs: passes over the training images.
        milestones: epochs after which the learning rate falls to a tenth.
        batch: images a step, of all processes together.
        lr: learning rate; None is 0.02 for Faster and Mask R-CNN and 0.01 for dense detectors, times batch / 16.
        momentum, weight_decay: of SGD.
        warmup: steps in which the rate rises from a thousandth.
        clip: largest gradient norm of a step; None for no limit.
        amp: run the network in bfloat16 where torch's autocast would; losses are computed in float32.
        workers: processes a process that read images; 0 reads in the training process.
        seed: of weights, order, flips and sampling.
        save_every: steps between checkpoints; one is made at the end always.
        max_steps: stop after so many steps, None for the whole schedule.
        tensorboard: write TensorBoard's files; None does where TensorBoard is installed.
    """

    detector: Annotated[Text, Field(description="give --detector, for example torchvision:fcos_resnet50_fpn")]
    data: Annotated[
        Text,
        Field(description="give --data DIR, a folder of images with boxes; see docs/data.md"),
        like(DATA, "a folder, coco:DIR, yolo:DIR or voc:DIR"),
    ]
    train_file: Text = "train.json"
    val_file: Text = "val.json"
    test_file: Text = "test.json"
    train_images: Text = "."
    val_images: Text = "."
    test_images: Text = "."
    test: bool = False
    skip_bad: bool = False
    loss: Text | None = None
    loss_reg: Text | None = None
    alpha: Share | Literal["default"] | None = "default"
    cls_weight: Positive = 1.0
    box_weight: Positive = 1.0
    centerness: Literal["centerness", "iou"] = "centerness"
    weights: Text = "backbone"
    new_head: bool = False
    image_size: Annotated[Whole, Field(ge=32, le=8192)] = 800
    max_size: Annotated[Whole, Field(ge=32, le=16384)] | None = None
    epochs: Count = 12
    milestones: tuple[Count, ...] = (8, 11)
    batch: Count = 16
    lr: Positive | None = None
    momentum: Annotated[Number, Field(ge=0.0, lt=1.0)] = 0.9
    weight_decay: NotNegative = 1e-4
    warmup: Annotated[Whole, Field(ge=0)] = 500
    clip: Positive | None = None
    amp: bool = False
    workers: Annotated[Whole, Field(ge=0, le=256)] = 4
    seed: Annotated[Whole, Field(ge=0, lt=2**31)] = 0
    save_every: Count = 1000
    max_steps: Count | None = None
    tensorboard: bool | None = None

    @field_validator("alpha", mode="wrap")
    @classmethod
    def _one_fault(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        """Of a value that may be of several types, pydantic tells what is wrong with it as each of them."""
        try:
            return check(value)
        except ValidationError:
            raise ValueError(
                f"expected a number from 0 to 1, 'default' or null, got {shorten(repr(value))}"
            ) from None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_size is not None and self.max_size < self.image_size:
            raise ValueError(
                f"max_size: expected at least image_size = {self.image_size}, got {self.max_size}"
            )
        return self

    @property
    def longest_side(self) -> int:
        """Limit of an image's longer side, pixels."""
        return self.max_size if self.max_size is not None else round(self.image_size * 5 / 3)


def rate_at(step: int, steps_an_epoch: int, settings: TrainSettings, peak: float) -> float:
    """Learning rate of a step, counted from 0: linear warm-up from peak / 1000, a tenth each milestone."""
    passed = sum(step >= milestone * steps_an_epoch for milestone in settings.milestones)
    rate = peak * 0.1**passed
    if step < settings.warmup:
        rate *= 0.001 + 0.999 * step / settings.warmup
    return rate
