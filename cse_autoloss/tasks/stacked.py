"""What tasks on labelled images share: B models trained together with losses of their own, scored by a
metric."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize, pad

from cse_autoloss.classifiers import ModelStack, Sgd, make_classifier
from cse_autoloss.classifiers.seeds import derived_seed, generator
from cse_autoloss.errors import UnknownNameError
from cse_autoloss.settings.stacked import TrainingSettings
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.tasks.image_files import LabelledImages

SplitName = Literal["val", "test"]


class StackedTask:
    """Trains stacks on `train` and scores them on validation or test; subclasses say how.

    Attributes:
        name: of the task.
        metrics: names that `scores` gives; the first is the reward unless another is asked for.
        settings: of the training.
        seed: of weights, batches and augmentation.
    """

    name: str
    metrics: tuple[str, ...]

    def __init__(
        self,
        train: LabelledImages,
        classes: int,
        settings: TrainingSettings,
        *,
        seed: int = 0,
        device: str = "cpu",
        reward: str | None = None,
    ) -> None:
        if reward is not None and reward not in self.metrics:
            raise UnknownNameError.of(f"reward of {self.name}", reward, self.metrics)
        self.settings, self.seed, self.device, self.classes = settings, seed, device, classes
        self.metric = reward or self.metrics[0]
        self._pixels = torch.from_numpy(train.pixels.copy()).to(device)
        self._labels = torch.from_numpy(train.labels).to(device)
        sample = self._pixels[:2000].float() / 255
        self._mean = sample.mean((0, 2, 3), keepdim=True)
        self._std = sample.std((0, 2, 3), keepdim=True).clamp(min=1e-3)

    def stack(self, copies: int, scale: float | None) -> ModelStack:
        """Copies of one untrained model; the same for the same seed and head.

        Args:
            copies: B.
            scale: s for normalised features, None for plain logits.
        """
        shape = self._pixels.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed("weights", self.seed))
            size = (int(shape[1]), int(shape[2]), int(shape[3]))
            model = make_classifier(self.settings.model, size, self.classes, scale)
        sgd = Sgd(self.settings.momentum, self.settings.weight_decay)
        return ModelStack([model] * copies, sgd, self.device)

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
        count = len(self._labels)
        batch = min(self.settings.batch, count)
        steps = count // batch
        rows = range(stack.copies) if own_orders else range(1)
        names = [("order", self.seed, epoch, row) for row in rows]
        order = torch.stack([torch.randperm(count, generator=generator(*name)) for name in names])
        order = (order if own_orders else order[0]).to(self.device)
        noise = generator("augment", self.seed, epoch)
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

    def reward(self, stack: ModelStack) -> list[float]:
        """The metric of each model on validation; NaN where it has diverged."""
        return [own[self.metric] for own in self.scores(stack, "val")]

    def scores(self, stack: ModelStack, split: SplitName) -> list[dict[str, float]]:
        """All metrics of each model; NaN where it has diverged. "test" is for the final audit alone."""
        raise NotImplementedError

    def embed(self, stack: ModelStack, images: LabelledImages) -> NDArray[np.float64]:
        """Embeddings of length 1, (B, N, D); NaN for a model that has diverged."""
        parts = []
        for start in range(0, len(images), 512):
            pixels = torch.from_numpy(images.pixels[start : start + 512].copy()).to(self.device)
            parts.append(normalize(stack.predict(self._normal(pixels))[0].double(), dim=-1))
        found = torch.cat(parts, 1)
        found[stack.failed] = torch.nan
        return found.cpu().numpy()

    def _normal(self, pixels: Tensor) -> Tensor:
        return (pixels.float() / 255 - self._mean) / self._std


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
    return chosen.permute(0, 3, 1, 2).reshape(images.shape)
