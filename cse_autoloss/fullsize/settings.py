"""Everything that decides a full-size training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cse_autoloss.errors import ConfigError


@dataclass(frozen=True)
class TrainSettings:
    """The defaults are the 1x schedule: 12 epochs of 16 images a step, the rate cut to a tenth after 8 and
    11.

    Attributes:
        detector: "torchvision:NAME", for example "torchvision:fcos_resnet50_fpn".
        root: folder in COCO's format.
        train_file, val_file: JSON files in it.
        train_images, val_images: folders in it that `file_name` starts from.
        skip_bad: leave out wrong items in place of an error.
        cls_loss, box_loss: catalogue name, formula or loss.json; None keeps torchvision's.
        cls_weight, box_weight: factors on the two.
        centerness: what FCOS's centre-ness head learns: "centerness", or "iou" as for searched losses.
        weights: "none" starts from scratch, "backbone" from torchvision's ImageNet weights (a download).
        min_size, max_size: shorter side that images are scaled to, and the limit of the longer one, pixels.
        epochs: passes over the training images.
        milestones: epochs after which the learning rate falls to a tenth.
        batch: images a step, of all processes together.
        lr: learning rate; None is 0.02 for Faster R-CNN and 0.01 for dense detectors, times batch / 16.
        momentum, weight_decay: of SGD.
        warmup: steps in which the rate rises from a thousandth.
        clip: largest gradient norm of a step; None for no limit.
        amp: run the network in bfloat16 where torch's autocast would; losses are computed in float32.
        workers: processes a process that read images; 0 reads in the training process.
        seed: of weights, order, flips and sampling.
        save_every: steps between checkpoints; one is made at the end always.
        max_steps: stop after so many steps, None for the whole schedule.
    """

    detector: str
    root: Path
    train_file: str = "train.json"
    val_file: str = "val.json"
    train_images: str = "."
    val_images: str = "."
    skip_bad: bool = False
    cls_loss: str | None = None
    box_loss: str | None = None
    cls_weight: float = 1.0
    box_weight: float = 1.0
    centerness: Literal["centerness", "iou"] = "centerness"
    weights: Literal["none", "backbone"] = "backbone"
    min_size: int = 800
    max_size: int = 1333
    epochs: int = 12
    milestones: tuple[int, ...] = (8, 11)
    batch: int = 16
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: int = 500
    clip: float | None = None
    amp: bool = False
    workers: int = 4
    seed: int = 0
    save_every: int = 1000
    max_steps: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that no training can be made of, naming the setting."""
        for name, least in (("epochs", 1), ("batch", 1), ("save_every", 1), ("warmup", 0), ("workers", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if not 1 <= self.min_size <= self.max_size:
            raise ConfigError(
                f"min_size, max_size: expected 1 <= min <= max, got {self.min_size} and {self.max_size}"
            )
        if self.lr is not None and not self.lr > 0:
            raise ConfigError(f"lr: expected a number above 0, got {self.lr}")
        if self.weights not in ("none", "backbone"):
            raise ConfigError(f"weights: expected 'none' or 'backbone', got {self.weights!r}")


def rate_at(step: int, steps_an_epoch: int, settings: TrainSettings, peak: float) -> float:
    """Learning rate of a step, counted from 0: linear warm-up from peak / 1000, a tenth each milestone."""
    passed = sum(step >= milestone * steps_an_epoch for milestone in settings.milestones)
    rate = peak * 0.1**passed
    if step < settings.warmup:
        rate *= 0.001 + 0.999 * step / settings.warmup
    return rate
