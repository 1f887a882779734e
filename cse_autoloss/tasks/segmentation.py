"""Binary segmentation: which pixels are foreground? A small net on embedded scenes, or on images and masks of yours."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cse_autoloss.classifiers.seeds import derived_seed
from cse_autoloss.graph import Signature
from cse_autoloss.settings.tasks.segmentation import SegmentationSettings
from cse_autoloss.spaces import CLS_BINARY
from cse_autoloss.spaces.wide import in_spaces
from cse_autoloss.tasks.mask_files import Masked, notes_on, read_masked, scene_masks
from cse_autoloss.tasks.one_loss import OneLossTask
from cse_autoloss.tasks.parts import Part, spread
from cse_autoloss.tasks.pictures import MOST_PHOTOGRAPHS, Photograph, Photographs, encoded, painted
from cse_autoloss.tasks.pixel_spread import summed_spread
from cse_autoloss.tasks.protocol import LossFunction, Metric, SplitName, drawn_seed


class SegmentationTask(OneLossTask):
    """Scores by IoU and Dice of the foreground, the mean over images; a pixel is foreground where its logit is above 0.

    The loss is called (logits (P, 1), target (P,)) -> scalar sum, for all P pixels of a batch; target is 0, the one
    class, where a pixel is foreground, and 1 elsewhere. It is a loss of single pixels, so that Dice and Lovász losses,
    which look at an image as a whole, are none of this signature, and not among the baselines.
    """

    name = "segmentation"
    Settings = SegmentationSettings
    metrics: ClassVar = (Metric("iou", title="IoU"), Metric("dice", title="Dice"))
    plain = ("bce", "focal", "asymmetric", "poly-1", "varifocal")
    settings: SegmentationSettings

    @cached_property
    def slots(self) -> dict[str, Signature]:
        """Sigmoid heads' loss, in the settings' spaces."""
        return in_spaces({"loss": CLS_BINARY}, self.settings.spaces)

    @cached_property
    def splits(self) -> dict[str, Masked]:
        """Train, val and test."""
        own = self.settings
        kind, _, folder = own.data.partition(":")
        if kind == "digits":
            return scene_masks(own.scenes, own.cache)
        return read_masked(Path(folder).expanduser(), own.image_size, own.grey, own.seed, self.progress)

    def check(self) -> tuple[str, ...]:
        """Read the images; see `Task.check`."""
        kind, _, folder = self.settings.data.partition(":")
        return (*super().check(), *(() if kind == "digits" else notes_on(Path(folder).expanduser())))

    def parts(self) -> dict[str, Part]:
        """See `Task.parts`."""
        return {
            name: Part(
                len(own),
                own.images,
                masks=own.masks,
                facts={"foreground of an image": spread(own.masks.mean((1, 2)), "{:.1%}")},
            )
            for name, own in self.splits.items()
        }

    def drawn(self, draw: int) -> SegmentationSettings | None:
        """Other scenes of the same people's digits."""
        if self.settings.data != "digits":
            return None
        scenes = self.settings.scenes
        fresh = scenes.model_copy(update={"seed": drawn_seed(scenes.seed, draw)})
        return self.settings.model_copy(update={"scenes": fresh})

    @property
    def samples(self) -> int:
        """Images to train on."""
        return len(self.splits["train"])

    @property
    def frequency(self) -> Tensor:
        """Of the one class, so 1."""
        return torch.ones(1)

    def model(self, seed: int) -> nn.Module:
        """A `MaskNet` with weights by the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed("weights", seed))
            return MaskNet(self._images.shape[1], self.settings.width)

    def batch_loss(
        self, model: nn.Module, loss: LossFunction, index: Tensor, source: torch.Generator
    ) -> Tensor:
        """Mean over the pixels of the images."""
        target = self._targets[index].flatten()
        mean: Tensor = loss(model(self._images[index]).reshape(-1, 1), target) / len(target)
        return mean

    def score(self, model: nn.Module, split: SplitName, limit: int | None) -> dict[str, float]:
        """IoU and Dice in [0, 1]; 1 for an image that has no foreground and gets none."""
        part, logits = self.splits[split], self._logits(model, split, limit)
        masks = torch.from_numpy(part.masks[:limit]).to(self.device).flatten(1)
        found = logits.flatten(1) > 0
        both, either = (found & masks).sum(1).double(), (found | masks).sum(1).double()
        iou = torch.where(either > 0, both / either, 1.0)
        broken = not bool(logits.isfinite().all())
        return {
            "iou": float("nan") if broken else float(iou.mean()),
            "dice": float("nan") if broken else float((2 * iou / (1 + iou)).mean()),
        }

    def pictures(self, model: nn.Module, split: SplitName) -> tuple[Photographs]:
        """The first images, with what is right, wrong and missed painted over."""
        part = self.splits[split]
        found = (self._logits(model, split, MOST_PHOTOGRAPHS) > 0).cpu().numpy()
        shown = [
            Photograph(encoded(painted(*one)), *one[0].shape[:0:-1])
            for one in zip(part.images[:MOST_PHOTOGRAPHS], found, part.masks[:MOST_PHOTOGRAPHS], strict=True)
        ]
        return (Photographs("Pixels found", "Green is right, orange wrong, blue missed.", shown),)

    @torch.no_grad()
    def _logits(self, model: nn.Module, split: SplitName, limit: int | None) -> Tensor:
        images = self._normal(torch.from_numpy(self.splits[split].images[:limit]))
        return torch.cat([model(batch) for batch in images.split(64)])

    @cached_property
    def _images(self) -> Tensor:
        return self._normal(torch.from_numpy(self.splits["train"].images))

    @cached_property
    def _targets(self) -> Tensor:
        return torch.from_numpy(~self.splits["train"].masks).long().to(self.device)

    @cached_property
    def _spread(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the training images, a number for each channel."""
        mean, deviation = summed_spread(self.splits["train"].images)
        return mean, deviation.clamp(min=0.3)

    def _normal(self, images: Tensor) -> Tensor:
        mean, deviation = self._spread
        return ((images.float() - mean) / deviation).to(self.device, memory_format=torch.channels_last)


class MaskNet(nn.Module):
    """A small U-Net (Ronneberger et al., MICCAI 2015): three scales, skipped connections added, a logit a pixel."""

    def __init__(self, channels: int, width: int) -> None:
        """`width` is the first scale's channels; the others have twice and four times as many."""
        super().__init__()
        self.first = _block(channels, width, 1)
        self.second = _block(width, 2 * width, 2)
        self.third = nn.Sequential(_block(2 * width, 4 * width, 2), _block(4 * width, 4 * width, 1))
        self.third_up = nn.Conv2d(4 * width, 2 * width, 1)
        self.second_up = nn.Sequential(_block(2 * width, 2 * width, 1), nn.Conv2d(2 * width, width, 1))
        self.last = nn.Sequential(_block(width, width, 1), nn.Conv2d(width, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W), sides multiples of 4, to logits (N, H, W)."""
        first = self.first(images)
        second = self.second(first)
        up = second + _doubled(self.third_up(self.third(second)))
        logits: Tensor = self.last(first + _doubled(self.second_up(up)))
        return logits.squeeze(1)


def _block(before: int, after: int, stride: int) -> nn.Module:
    layers = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    return nn.Sequential(*layers)


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2.0, mode="nearest")
