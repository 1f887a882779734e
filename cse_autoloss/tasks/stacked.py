"""What tasks on labelled images share: a softmax head is trained, and a metric of the task scores it.

One loss is trained by `train`. A search of a parametric space trains B models side by side, each with a loss of its
own: `stack`, `train_epoch` and `scores`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from cse_autoloss.classifiers import ModelStack, Sgd, make_classifier
from cse_autoloss.classifiers.branches import TOGETHER, of_all_heads, together
from cse_autoloss.classifiers.seeds import derived_seed, generator
from cse_autoloss.errors import ConfigError
from cse_autoloss.settings.stacked import TrainingSettings
from cse_autoloss.spaces import CLS_MULTICLASS
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.spaces.standing import frequency_of
from cse_autoloss.tasks.image_files import LabelledImages
from cse_autoloss.tasks.one_loss import OneLossTask
from cse_autoloss.tasks.pictures import Picture
from cse_autoloss.tasks.pixel_spread import pixel_spread
from cse_autoloss.tasks.protocol import LossFunction, SplitName
from cse_autoloss.tasks.target_logits import MOST, TargetLogits
from cse_autoloss.training.precision import InPrecision


class StackedTask(OneLossTask):
    """Trains on `learnt` and scores on validation or test; subclasses say how.

    Its loss is called (logits (N, C), target (N,) int64) -> scalar sum; there is no background. `train` has the
    schedule's epochs, not the settings', and scores on all of a split.
    """

    stacks = True
    slots: ClassVar = {"loss": CLS_MULTICLASS}
    plain: ClassVar[tuple[str, ...]] = ("cross-entropy", "label-smoothing", "softmax-focal", "softmax-poly-1")
    settings: TrainingSettings

    @property
    def cosine_scale(self) -> float | None:  # type: ignore[override]
        """Of the settings' head."""
        return self.settings.cosine_scale

    def elsewhere(self, signature: str) -> str:
        """Where a loss of a signature that the head does not take has its place, in words; empty for nowhere."""
        return (
            f"; they need normalised features, --set {self.name}.head=cosine" if signature == "margin" else ""
        )

    @property
    def learnt(self) -> tuple[LabelledImages, int]:
        """The images to learn from, and how many classes they are of."""
        raise NotImplementedError

    def scores(self, stack: ModelStack, split: SplitName) -> list[dict[str, float]]:
        """All metrics of each model; NaN where it has diverged. "test" is for the final audit alone."""
        raise NotImplementedError

    def shown(self, stack: ModelStack, split: SplitName) -> Sequence[Picture]:
        """What is to be seen of a stack of one."""
        return ()

    def check(self) -> tuple[str, ...]:
        """Read the data, and make a model of them: not all nets take images of all sizes. See `Task.check`."""
        told = super().check()
        _ = self.model(0)
        return told

    # -- one loss ----------------------------------------------------------------------------------------------

    @property
    def samples(self) -> int:
        """Images to train on."""
        return len(self.learnt[0])

    @cached_property
    def frequency(self) -> Tensor:
        """See `OneLossTask.frequency`."""
        return frequency_of(self._labels, self.learnt[1])

    def model(self, seed: int) -> nn.Module:
        """Of the settings' head."""
        return self._model(seed, self.settings.cosine_scale)

    def batch_loss(
        self, model: nn.Module, loss: LossFunction, index: Tensor, source: torch.Generator
    ) -> Tensor:
        """See `OneLossTask.batch_loss`."""
        images, labels = self._normal(self._pixels[index]), self._labels[index]
        if self.settings.augment:
            images = augment(images, source)
        net = model.model if isinstance(model, InPrecision) else model
        (embedding, logits), told = model(images), of_all_heads(net, labels)
        mean: Tensor = loss(logits, told) / len(told)
        beside: Any = getattr(net, "beside", None)
        return mean if beside is None else mean + beside(embedding, labels)

    def order(self, count: int, source: torch.Generator) -> Tensor:
        """See `OneLossTask.order`; a net that compares images gets several of a class side by side."""
        several = TOGETHER.get(self.settings.model)
        if several is None:
            return super().order(count, source)
        return together(self._labels[:count].cpu(), several, source)

    def score(self, model: nn.Module, split: SplitName, limit: int | None) -> dict[str, float]:
        """See `scores`."""
        return self.scores(ModelStack([model], device=self.device), split)[0]

    def pictures(self, model: nn.Module, split: SplitName) -> Sequence[Picture]:
        """See `shown`."""
        return self.shown(ModelStack([model], device=self.device), split)

    def logits(self, model: nn.Module) -> Mapping[str, Any]:
        """See `OneLossTask.logits`."""
        return self.target_logits(ModelStack([model], device=self.device))

    def detail(self, model: nn.Module, split: SplitName) -> Mapping[str, float]:
        """See `detail_of`."""
        return self.detail_of(ModelStack([model], device=self.device), split)

    def detail_of(self, stack: ModelStack, split: SplitName) -> Mapping[str, float]:
        """What the metrics of a stack of one are made of; see `TaskScore.parts`."""
        return {}

    def target_logits(self, stack: ModelStack) -> Mapping[str, Any]:
        """Where a stack of one has the target's logits of training images, at most `MOST` of them, evenly chosen: as
        `TargetLogits.to_dict`; empty where they are not finite."""
        count = len(self._labels)
        step = -(-count // MOST)
        labels, pixels = self._labels[::step], self._pixels[::step]
        found = TargetLogits.of(stack.predict(self._normal(pixels))[1][0], labels)
        return found.to_dict() if found else {}

    # -- losses side by side -----------------------------------------------------------------------------------

    def stack(self, copies: int, scale: float | None) -> ModelStack:
        """Copies of one untrained model; the same for the same seed and head.

        Args:
            copies: B.
            scale: s for normalised features, None for plain logits.
        """
        own = self.settings
        if own.precision == "float16":
            raise ConfigError("precision: trainings side by side take float32 or bfloat16, got float16")
        if own.early_stopping:
            raise ConfigError(
                "early_stopping: trainings side by side have none; they keep the last epoch's models"
            )
        sgd = Sgd(own.momentum, own.weight_decay)
        return ModelStack([self._model(own.seed, scale)] * copies, sgd, self.device, own.precision)

    def train_epoch(
        self,
        stack: ModelStack,
        space: ParametricSpace,
        theta: Tensor,
        epoch: int,
        *,
        lr_factor: float | Tensor = 1.0,
        own_orders: bool = False,
    ) -> Tensor:
        """Train all models one epoch; the mean loss of each, (B,).

        Args:
            stack: the models.
            space: the losses.
            theta: (B, K), one loss for each model.
            epoch: from 0; decides order and learning rate, so that a resumed run does as the whole one.
            lr_factor: times the settings' lr, for all or (B,).
            own_orders: each model has an order of batches of its own; by default all have the same, so that
                rewards differ by the losses alone.
        """
        count, seed = len(self._labels), self.settings.seed
        batch = min(self.settings.batch, count)
        steps = count // batch
        rows = range(stack.copies) if own_orders else range(1)
        names = [("order", seed, epoch, row) for row in rows]
        order = torch.stack([self.order(count, generator(*name)) for name in names])
        order = (order if own_orders else order[0]).to(self.device)
        noise = generator("augment", seed, epoch)
        total = torch.zeros(stack.copies, device=self.device)
        for step in range(steps):
            index = order[..., step * batch : (step + 1) * batch]
            images = self._normal(self._pixels[index])
            if self.settings.augment:
                images = augment(images, noise)
            done = (epoch + step / steps) / self.settings.epochs
            lr = self.settings.lr * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
            total += stack.step(images, self._labels[index], space, theta, lr * lr_factor)
        return total / steps

    def embed(self, stack: ModelStack, images: LabelledImages) -> NDArray[np.float64]:
        """Embeddings of length 1, (B, N, D); NaN for a model that has diverged."""
        parts = []
        for start in range(0, len(images), 512):
            pixels = torch.from_numpy(images.pixels[start : start + 512].copy()).to(self.device)
            parts.append(normalize(stack.predict(self._normal(pixels))[0].double(), dim=-1))
        found = torch.cat(parts, 1)
        found[stack.failed] = torch.nan
        return found.cpu().numpy()

    # -- what they share ---------------------------------------------------------------------------------------

    def _model(self, seed: int, scale: float | None) -> nn.Module:
        """An untrained model; the global generator stays as it was."""
        channels, height, width = self._pixels.shape[1:]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed("weights", seed))
            shape = (int(channels), int(height), int(width))
            return make_classifier(self.settings.model, shape, self.learnt[1], scale)

    @cached_property
    def _pixels(self) -> Tensor:
        return torch.from_numpy(np.require(self.learnt[0].pixels, requirements=("C", "W"))).to(self.device)

    @cached_property
    def _labels(self) -> Tensor:
        return torch.from_numpy(self.learnt[0].labels).to(self.device)

    @cached_property
    def _scale(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of all training images, a number for each channel."""
        mean, deviation = (one.to(self.device) for one in pixel_spread(self.learnt[0].pixels))
        return mean, deviation.clamp(min=1e-3)

    def _normal(self, pixels: Tensor) -> Tensor:
        mean, deviation = self._scale
        return (pixels.float() / 255 - mean) / deviation


def augment(images: Tensor, source: torch.Generator) -> Tensor:
    """Random crops after padding by an eighth of the side, and mirror images, each by a coin's toss.

    Args:
        images: (..., channels, H, W).
        source: of the random numbers.
    """
    flat = images.reshape(-1, *images.shape[-3:])
    height, width = flat.shape[-2:]
    edge = max(1, height // 8)
    padded = pad(flat, (edge, edge, edge, edge))
    count = len(flat)
    top, left = (torch.randint(2 * edge + 1, (count, 1, 1), generator=source) for _ in range(2))
    mirror = torch.rand(count, 1, 1, generator=source) < 0.5
    across = torch.arange(width).expand(count, 1, width)
    across = torch.where(mirror, width - 1 - across, across)
    rows = (top + torch.arange(height)[:, None]).to(flat.device)
    columns = (left + across).to(flat.device)
    chosen = padded.permute(0, 2, 3, 1)[torch.arange(count, device=flat.device)[:, None, None], rows, columns]
    # Not as a view with the channels last, for which a GroupNorm under vmap has no rule.
    return chosen.permute(0, 3, 1, 2).reshape(images.shape).contiguous()
