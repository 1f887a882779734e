"""Image classification: accuracy of a stack of models on embedded digits or a data set of your own."""

from __future__ import annotations

import torch
from torch import Tensor

from cse_autoloss.classifiers import ModelStack
from cse_autoloss.settings.stacked import TrainingSettings
from cse_autoloss.tasks.image_files import LabelledImages
from cse_autoloss.tasks.image_splits import ImageSplits
from cse_autoloss.tasks.stacked import SplitName, StackedTask


class ClassificationTask(StackedTask):
    """Scores by accuracy in [0, 1]: the share of images whose highest logit is that of their class."""

    name = "classification"
    metrics = ("accuracy",)

    def __init__(
        self,
        splits: ImageSplits,
        settings: TrainingSettings,
        *,
        seed: int = 0,
        device: str = "cpu",
        reward: str | None = None,
    ) -> None:
        """Arguments as of `StackedTask`; `splits` as of `load_splits`."""
        super().__init__(
            splits.train, len(splits.class_names), settings, seed=seed, device=device, reward=reward
        )
        self._held_out = {"val": splits.val, "test": splits.test}

    def scores(self, stack: ModelStack, split: SplitName) -> list[dict[str, float]]:
        """{"accuracy": …} of each model."""
        return [{"accuracy": value} for value in self._accuracy(stack, self._held_out[split]).tolist()]

    def _accuracy(self, stack: ModelStack, images: LabelledImages) -> Tensor:
        labels = torch.from_numpy(images.labels).to(self.device)
        right = torch.zeros(stack.copies, dtype=torch.float64, device=self.device)
        sound = ~stack.failed
        for start in range(0, len(images), 512):
            part = slice(start, start + 512)
            pixels = torch.from_numpy(images.pixels[part].copy()).to(self.device)
            logits = stack.predict(self._normal(pixels))[1]
            right += (logits.argmax(-1) == labels[part]).sum(-1)
            sound &= logits.isfinite().all(-1).all(-1)
        return torch.where(sound, right / len(images), torch.nan).cpu()
