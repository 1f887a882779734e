"""torchvision's detectors by name, with our losses in their heads; importing this module needs
torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torchvision import models
from torchvision.models import detection
from torchvision.ops import FrozenBatchNorm2d

from cse_autoloss.errors import RunError, UnknownNameError
from cse_autoloss.export.adapters.torchvision import with_losses
from cse_autoloss.fullsize.families import FAMILIES, PREFIX, Family, family_of
from cse_autoloss.fullsize.losses import loss_modules
from cse_autoloss.fullsize.settings import TrainSettings
from cse_autoloss.fullsize.weights import load_weights


class FullSizeModel(NamedTuple):
    """A detector, and what it is.

    Attributes:
        network: torchvision's, with our losses.
        family: what it has in common with its kin.
        start: in words, which weights it starts from.
    """

    network: nn.Module
    family: Family
    start: str


def detector_names() -> list[str]:
    """What can be trained at full size: "torchvision:NAME"."""
    found = models.list_models(module=detection)
    return [PREFIX + name for name in found if name.partition("_")[0] in FAMILIES]


def make_model(settings: TrainSettings, class_names: list[str], *, load: bool = True) -> FullSizeModel:
    """The detector that settled settings name, weights drawn with their seed.

    Args:
        settings: as `losses.settle` leaves them.
        class_names: of the data.
        load: False leaves weights away that a checkpoint will replace.

    Raises:
        UnknownNameError: no such detector; the nearest is offered.
        ConfigError: a detector of torchvision's that our losses do not fit.
        RunError: weights that can not be had or do not fit.
        AutoLossError: a loss that does not fit the detector.
    """
    family = family_of(settings.detector)
    name = settings.detector.removeprefix(PREFIX)
    if settings.detector not in detector_names():
        raise UnknownNameError.of("detector", settings.detector, detector_names())
    torch.manual_seed(settings.seed)
    options = {
        "num_classes": len(class_names) + family.first_label,
        "min_size": settings.image_size,
        "max_size": settings.longest_side,
    }
    if settings.weights == "backbone" and load:
        network, start = _with_downloaded_backbone(name, options)
    else:
        network = models.get_model(name, weights=None, weights_backbone=None, **options)
        start = "random weights"
        if settings.weights != "none":
            _freeze(network, norms=not name.endswith("_v2"))
            if load:
                start = load_weights(
                    network,
                    Path(settings.weights).expanduser(),
                    detector=settings.detector,
                    classes=class_names,
                    new_head=settings.new_head,
                )
    cls_loss, box_loss = loss_modules(settings)
    with_losses(
        network,
        cls_loss,
        box_loss,
        cls_weight=settings.cls_weight,
        box_weight=settings.box_weight,
        centerness=settings.centerness,
    )
    return FullSizeModel(network, family, start)


def _with_downloaded_backbone(name: str, options: dict[str, int]) -> tuple[nn.Module, str]:
    try:
        # Left unsaid, the backbone's weights are those that torchvision's own detectors were trained from.
        return models.get_model(name, weights=None, **options), "torchvision's ImageNet backbone"
    except (OSError, RuntimeError, EOFError) as error:
        why = " ".join(str(error).split())
        raise RunError(
            f"weights: the ImageNet backbone of {name} can not be had ({why[:200]}); "
            "give a file by --weights FILE, or start from --weights none"
        ) from None


def _freeze(network: nn.Module, *, norms: bool) -> None:
    """What torchvision does to a detector with a trained backbone: its first layers, and norms, do not learn."""
    body = network.get_submodule("backbone.body")
    if norms:
        for path, module in list(body.named_modules()):
            if isinstance(module, nn.BatchNorm2d):
                frozen = FrozenBatchNorm2d(module.num_features, module.eps)
                frozen.load_state_dict(module.state_dict())
                parent, _, leaf = path.rpartition(".")
                setattr(body.get_submodule(parent), leaf, frozen)
    for name, layer in body.named_children():
        if name in _first_layers(body):
            layer.requires_grad_(False)


def _first_layers(body: nn.Module) -> list[str]:
    """Those of the first stages, all but the last three."""
    layers = list(body.named_children())
    if any(name == "layer4" for name, _ in layers):
        return [name for name, _ in layers if name not in ("layer2", "layer3", "layer4")]
    # A MobileNet's stages begin where its blocks stride.
    starts = [0] + [i for i, (_, block) in enumerate(layers) if getattr(block, "_is_cn", False)]
    starts.append(len(layers) - 1)
    return [name for name, _ in layers[: starts[-3:][0]]]
