"""torchvision's detectors by name, with our losses in their heads; importing this module needs
torchvision."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torchvision import models
from torchvision.models import detection

from cse_autoloss.errors import ConfigError, UnknownNameError
from cse_autoloss.export.adapters.torchvision import with_losses
from cse_autoloss.fullsize.settings import TrainSettings

PREFIX = "torchvision:"
FAMILIES = {"fasterrcnn": 1, "fcos": 0, "retinanet": 0}
"""First label of each family's classes: Faster R-CNN keeps 0 for the background, dense detectors do not."""
PEAK_RATES = {"fasterrcnn": 0.02, "fcos": 0.01, "retinanet": 0.01}
"""Usual learning rate of each family for 16 images a step."""


class FullSizeModel(NamedTuple):
    """A detector, and how it counts.

    Attributes:
        network: torchvision's, with our losses.
        first_label: the label of class index 0.
        peak_rate: its usual learning rate for 16 images a step.
    """

    network: nn.Module
    first_label: int
    peak_rate: float


def detector_names() -> list[str]:
    """What can be trained at full size: "torchvision:NAME"."""
    found = models.list_models(module=detection)
    return [PREFIX + name for name in found if name.partition("_")[0] in FAMILIES]


def make_model(settings: TrainSettings, num_classes: int) -> FullSizeModel:
    """The detector that the settings name, weights drawn with their seed.

    Raises:
        UnknownNameError: no such detector; the nearest is offered.
        ConfigError: a detector of torchvision's whose targets are more than boxes.
        AutoLossError: a loss that does not fit the detector.
    """
    name = settings.detector.removeprefix(PREFIX)
    if settings.detector not in detector_names():
        if settings.detector != name and name in models.list_models(module=detection):
            raise ConfigError(
                f"detector {settings.detector!r}: its heads have no place for our losses, "
                f"or it needs more than boxes; expected one of {', '.join(detector_names())}"
            )
        raise UnknownNameError.of("detector", settings.detector, detector_names())
    family = name.partition("_")[0]
    first_label = FAMILIES[family]
    torch.manual_seed(settings.seed)
    network = models.get_model(
        name,
        weights=None,
        weights_backbone="DEFAULT" if settings.weights == "backbone" else None,
        num_classes=num_classes + first_label,
        min_size=settings.min_size,
        max_size=settings.max_size,
    )
    with_losses(
        network,
        settings.cls_loss,
        settings.box_loss,
        cls_weight=settings.cls_weight,
        box_weight=settings.box_weight,
        centerness=settings.centerness,
    )
    return FullSizeModel(network, first_label, PEAK_RATES[family])
