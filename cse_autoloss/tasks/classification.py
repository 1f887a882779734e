"""Image classification: accuracy on embedded digits or a data set of your own."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from cse_autoloss.classifiers import ModelStack
from cse_autoloss.graph import Signature
from cse_autoloss.settings.tasks.classification import ClassificationSettings
from cse_autoloss.spaces.wide import in_spaces
from cse_autoloss.tasks.image_files import LabelledImages
from cse_autoloss.tasks.image_splits import ImageSplits, absent_classes, load_splits, notes_on, shared_images
from cse_autoloss.tasks.parts import Part
from cse_autoloss.tasks.pictures import Matrix, confusion
from cse_autoloss.tasks.protocol import Metric, SplitName
from cse_autoloss.tasks.stacked import StackedTask


class ClassificationTask(StackedTask):
    """Scores by accuracy in [0, 1]: the share of images whose highest logit is that of their class."""

    name = "classification"
    Settings = ClassificationSettings
    metrics: ClassVar = (Metric("accuracy"),)
    plain = (
        "cross-entropy",
        "generalised-ce",
        "label-smoothing",
        "symmetric-ce",
        "softmax-focal",
        "mae",
        "softmax-poly-1",
        "taylor-ce",
    )
    settings: ClassificationSettings

    @cached_property
    def slots(self) -> dict[str, Signature]:  # type: ignore[override]
        """Softmax heads' loss, in the settings' spaces."""
        return in_spaces(super().slots, self.settings.spaces)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """That labels are wrong on purpose, and what is left out of a folder."""
        noise = self.settings.label_noise
        told = (f"{noise:.0%} of the labels to train on are wrong on purpose",) if noise else ()
        return (*told, *notes_on(self.settings.data, self.settings.val_share))

    def check(self) -> tuple[str, ...]:
        """Read the images; see `Task.check`."""
        return (*super().check(), *absent_classes(self.splits), *shared_images(self.settings.data))

    def drawn(self, draw: int) -> ClassificationSettings | None:
        """Other wrong labels, and another subset, of the same images."""
        own = self.settings
        return own.model_copy(update={"draw": draw}) if own.label_noise or own.train_limit else None

    @cached_property
    def splits(self) -> ImageSplits:
        """All images, as of `load_splits`."""
        own = self.settings
        return load_splits(
            own.data,
            seed=own.seed,
            val_share=own.val_share,
            train_limit=own.train_limit,
            label_noise=own.label_noise,
            image_size=own.image_size,
            grey=own.grey,
            shrink=own.shrink,
            draw=own.draw,
            progress=self.progress,
        )

    def parts(self) -> dict[str, Part]:
        """See `Task.parts`."""
        found, names = self.splits, self.splits.class_names
        return {
            name: Part(len(own), own.pixels, [names[label] for label in own.labels])
            for name, own in (("train", found.train), ("val", found.val), ("test", found.test))
        }

    @property
    def learnt(self) -> tuple[LabelledImages, int]:
        """See `StackedTask.learnt`."""
        return self.splits.train, len(self.splits.class_names)

    def scores(self, stack: ModelStack, split: SplitName) -> list[dict[str, float]]:
        """{"accuracy": …} of each model."""
        images = self.splits.val if split == "val" else self.splits.test
        return [{"accuracy": value} for value in self._accuracy(stack, images).tolist()]

    def shown(self, stack: ModelStack, split: SplitName) -> tuple[Matrix]:
        """The confusion matrix."""
        images = self.splits.val if split == "val" else self.splits.test
        predicted, _ = self._predicted(stack, images)
        return (confusion(self.splits.class_names, images.labels, predicted[0].cpu().numpy()),)

    def _accuracy(self, stack: ModelStack, images: LabelledImages) -> Tensor:
        labels = torch.from_numpy(images.labels).to(self.device)
        predicted, sound = self._predicted(stack, images)
        right = (predicted == labels).sum(-1).double()
        return torch.where(sound, right / len(images), torch.nan).cpu()

    def _predicted(self, stack: ModelStack, images: LabelledImages) -> tuple[Tensor, Tensor]:
        """Classes (B, N), and (B,) whether a model's logits are finite."""
        parts, sound = [], ~stack.failed
        for start in range(0, len(images), 512):
            pixels = torch.from_numpy(images.pixels[start : start + 512].copy()).to(self.device)
            logits = stack.predict(self._normal(pixels))[1]
            parts.append(logits.argmax(-1))
            sound &= logits.isfinite().all(-1).all(-1)
        return torch.cat(parts, -1), sound
