"""The detection task: data, proxy and AP in one object that turns a pair of losses into a score."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cse_autoloss.detectors.assign import Assignment
from cse_autoloss.detectors.one_stage import ClassificationLoss, Detections, RegressionLoss
from cse_autoloss.detectors.pauses import keep, resume
from cse_autoloss.detectors.protocol import Detector
from cse_autoloss.detectors.registry import detector_builder
from cse_autoloss.detectors.training import Diverged, Schedule, TrainingRun, TrainingSet
from cse_autoloss.errors import ConfigError
from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.tasks.average_precision import AveragePrecisionMetric
from cse_autoloss.tasks.coco import CocoFolder, load_coco
from cse_autoloss.tasks.faults import with_faults
from cse_autoloss.tasks.scenes import CLASS_NAMES, load_scenes
from cse_autoloss.tasks.splits import Split

SplitName = Literal["val", "test"]


@dataclass(frozen=True)
class DetectionScore:
    """What a pair of losses reached.

    Attributes:
        ap, ap50, ap75: COCO's, in [0, 1]; 0 where the training diverged.
        seconds_train, seconds_score: wall time.
        status: "ok", or "diverged" when the loss or its gradient was not finite at some step.
        detail: why, in words; empty when there is nothing to say.
        epochs_trained: that were done in this call, where an earlier one's state was gone on from.
    """

    ap: float
    ap50: float
    ap75: float
    seconds_train: float
    seconds_score: float
    status: Literal["ok", "diverged"]
    detail: str = ""
    epochs_trained: float = 0.0


class DetectionTask:
    """Trains and scores proxies on one data set; the data is read once and shared by all calls.

    Attributes:
        branch: "cls-binary" or "cls-multiclass": which classification losses the proxy takes.
    """

    def __init__(self, settings: DetectionSettings, device: str = "cpu") -> None:
        self._builder = detector_builder(settings.detector)
        self.branch = self._builder.branch
        self.settings = settings
        self.device = torch.device(device)
        self._splits, self.class_names, self.notes = self._load()
        self.num_classes = len(self.class_names)
        self._splits["train"] = with_faults(self._splits["train"], settings.faults, self.num_classes)
        self.notes += settings.faults.notes
        train_images = torch.from_numpy(self._splits["train"].images)
        sample = train_images[:1000].float() / 255
        self._mean = sample.mean(dim=(0, 2, 3), keepdim=True)
        self._std = sample.std(dim=(0, 2, 3), keepdim=True).clamp(min=1e-3)
        self._training: TrainingSet | None = None
        self._images: dict[str, Tensor] = {}
        self._metrics: dict[tuple[str, int | None], AveragePrecisionMetric] = {}

    def _load(self) -> tuple[dict[str, Split], tuple[str, ...], tuple[str, ...]]:
        """Splits, class names, and what the reader of a report should know of the data."""
        own = self.settings
        stride = self._build(1, 1).stride
        if own.data == "digits":
            if own.scenes.canvas % stride:
                raise ConfigError(
                    f"scenes.canvas: expected a multiple of {stride}, the stride of the {own.detector} detector, "
                    f"got {own.scenes.canvas}"
                )
            return load_scenes(own.scenes, own.cache), CLASS_NAMES, ()
        kind, _, folder = own.data.partition(":")
        if kind != "coco" or not folder:
            raise ConfigError(f"data: expected 'digits' or 'coco:DIR', got {own.data!r}")
        found = load_coco(
            CocoFolder(
                root=Path(folder).expanduser(),
                train=own.train_file,
                val=own.val_file,
                test=own.test_file,
                images=own.image_folder,
                image_size=own.image_size,
                skip_bad=own.skip_bad,
                multiple=stride,
            )
        )
        return found.splits, found.class_names, found.notes

    def train_and_score(
        self,
        cls_loss: ClassificationLoss,
        reg_loss: RegressionLoss,
        *,
        seed: int,
        epochs: float,
        box_weight: float = 1.0,
        lr: float | None = None,
        split: SplitName = "val",
        train_limit: int | None = None,
        until: float | None = None,
        scenes: int | None = None,
        state: Path | None = None,
    ) -> DetectionScore:
        """Train a proxy with the two losses and score it.

        Args:
            cls_loss: (logits (M, columns), target (M,), iou (M,)) -> scalar sum; see `branch`.
            reg_loss: (predicted (P, 4), target (P, 4)) -> scalar sum.
            seed: of the weights and the order of batches; the same for every loss it is given to.
            epochs: passes over the training scenes.
            box_weight: of the box loss.
            lr: peak learning rate; None is the settings'.
            split: "test" is for the final audit alone.
            train_limit: train on the first so many images only.
            until: pause after so many epochs of the schedule, and score what there is.
            scenes: score on the first so many images only.
            state: file that pauses leave the training's state in, and that it goes on from if it is there. The
                result is the same without it, but takes longer.
        """
        started = time.perf_counter()
        run = self.training(
            cls_loss,
            reg_loss,
            seed=seed,
            epochs=epochs,
            box_weight=box_weight,
            lr=lr,
            train_limit=train_limit,
        )
        stop = run.steps if until is None else max(1, round(run.steps * min(until / epochs, 1.0)))
        if state is not None:
            resume(run, state, stop)
        begun = run.step
        try:
            run.advance(stop)
        except Diverged as diverged:
            return DetectionScore(
                0.0, 0.0, 0.0, time.perf_counter() - started, 0.0, "diverged", str(diverged)
            )
        if state is not None and stop < run.steps:
            keep(run, state)
        trained = time.perf_counter()
        found = self.predict(run.model, split, scenes)
        result = self._metric(split, scenes)(
            found.boxes.cpu().numpy(), found.log_scores.cpu().numpy(), found.labels.cpu().numpy()
        )
        return DetectionScore(
            *result,
            trained - started,
            time.perf_counter() - trained,
            "ok",
            epochs_trained=epochs * (stop - begun) / run.steps,
        )

    def train(
        self,
        cls_loss: ClassificationLoss,
        reg_loss: RegressionLoss,
        *,
        seed: int,
        epochs: float,
        box_weight: float = 1.0,
        lr: float | None = None,
        train_limit: int | None = None,
    ) -> Detector:
        """A proxy trained with the two losses; arguments as of `train_and_score`.

        Raises:
            cse_autoloss.detectors.training.Diverged: when the loss or its gradient is not finite at some
            step.
        """
        run = self.training(
            cls_loss,
            reg_loss,
            seed=seed,
            epochs=epochs,
            box_weight=box_weight,
            lr=lr,
            train_limit=train_limit,
        )
        run.advance(run.steps)
        return run.model

    def training(
        self,
        cls_loss: ClassificationLoss,
        reg_loss: RegressionLoss,
        *,
        seed: int,
        epochs: float,
        box_weight: float = 1.0,
        lr: float | None = None,
        train_limit: int | None = None,
    ) -> TrainingRun:
        """A training of `epochs` epochs, at its beginning; arguments as of `train_and_score`."""
        data = self._training_set()
        if train_limit is not None and train_limit < len(data):
            data = TrainingSet(
                data.images[:train_limit], Assignment(*(t[:train_limit] for t in data.assigned))
            )
        schedule = Schedule(
            epochs=epochs,
            batch=self.settings.batch,
            lr=self.settings.lr if lr is None else lr,
            weight_decay=self.settings.weight_decay,
        )
        model = self._build(data.images.shape[1], self.num_classes, seed)
        model.to(memory_format=torch.channels_last)
        model.to(self.device)
        return TrainingRun(model, data, cls_loss, reg_loss, schedule, seed=seed, box_weight=box_weight)

    @torch.no_grad()
    def predict(
        self, model: Detector, split: SplitName | Tensor = "val", limit: int | None = None
    ) -> Detections:
        """The detections of a trained proxy.

        Args:
            model: from `train`.
            split: "val", "test", or images (N, channels, H, W) uint8.
            limit: on the first so many images only.
        """
        images = self._normalised(split) if isinstance(split, Tensor) else self._split_images(split)
        images = images[:limit]
        size = (images.shape[-2], images.shape[-1])
        parts = [model.decode(model(batch), size) for batch in images.split(100)]
        return Detections(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def split(self, name: Literal["train", "val", "test"]) -> Split:
        """Images and boxes as arrays, for pictures. Reading "test" is for the final audit alone."""
        return self._splits[name]

    def _normalised(self, images: Tensor) -> Tensor:
        normal = (images.float() / 255 - self._mean) / self._std
        return normal.to(self.device, memory_format=torch.channels_last)

    def _split_images(self, name: str) -> Tensor:
        if name not in self._images:
            self._images[name] = self._normalised(torch.from_numpy(self._splits[name].images))
        return self._images[name]

    def _metric(self, name: str, limit: int | None = None) -> AveragePrecisionMetric:
        if (name, limit) not in self._metrics:
            split = self._splits[name]
            part = split if limit is None else split.take(np.arange(min(limit, len(split))))
            self._metrics[name, limit] = AveragePrecisionMetric(part, self.num_classes)
        return self._metrics[name, limit]

    def _build(self, channels: int, num_classes: int, seed: int = 0) -> Detector:
        """A proxy with fresh weights; the global generator stays as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._builder(channels, num_classes)

    def _training_set(self) -> TrainingSet:
        if self._training is None:
            truth = self._splits["train"]
            images = self._split_images("train")
            model = self._build(images.shape[1], self.num_classes)
            labels = torch.from_numpy(truth.labels).masked_fill(torch.from_numpy(truth.crowd), -1)
            targets = model.targets(
                torch.from_numpy(truth.boxes), labels, (images.shape[-2], images.shape[-1])
            )
            self._training = TrainingSet(images, Assignment(*(t.to(self.device) for t in targets)))
        return self._training
