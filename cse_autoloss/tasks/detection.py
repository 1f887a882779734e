"""The detection task: data, proxy and AP in one object that turns a pair of losses into a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cse_autoloss.detectors.assign import IGNORED, Assignment
from cse_autoloss.detectors.one_stage import Detections
from cse_autoloss.detectors.protocol import Detector, DetectorBuilder
from cse_autoloss.detectors.registry import DETECTORS, detector_builder
from cse_autoloss.detectors.training import TrainingSet, detector_run
from cse_autoloss.errors import ConfigError
from cse_autoloss.graph import Signature
from cse_autoloss.settings.fields import Optimizer, Precision
from cse_autoloss.settings.filters import SimulateSettings
from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.simulation import Simulator
from cse_autoloss.spaces import REG, SIGNATURES
from cse_autoloss.spaces.standing import frequency_of
from cse_autoloss.spaces.wide import in_spaces
from cse_autoloss.tasks.average_precision import AveragePrecisionMetric
from cse_autoloss.tasks.detections_shown import curves, photographs
from cse_autoloss.tasks.faults import with_faults
from cse_autoloss.tasks.matching import best_threshold
from cse_autoloss.tasks.one_of_each import one_of_each
from cse_autoloss.tasks.photographs import Dataset, Source, load_dataset, small_objects, to_splits
from cse_autoloss.tasks.pictures import Picture
from cse_autoloss.tasks.pixel_spread import summed_spread
from cse_autoloss.tasks.protocol import (
    LossFunction,
    Metric,
    Schedule,
    SplitName,
    Task,
    TaskScore,
    Tunable,
    drawn_seed,
)
from cse_autoloss.tasks.scenes import CLASS_NAMES, load_scenes
from cse_autoloss.tasks.splits import Split
from cse_autoloss.tasks.trained import trained, trained_together
from cse_autoloss.training.loop import Schedule as OneCycle
from cse_autoloss.training.loop import TrainingRun
from cse_autoloss.training.stacked import advance_together

BASELINES = {
    "cls-binary": (
        ("bce", "giou"),
        ("quality-gce", "giou"),
        ("rank-sort", "giou"),
        ("quality-hill", "giou"),
        ("quality-focal", "square-iou"),
        ("quality-square", "giou"),
        ("focal", "giou"),
        ("cse-autoloss-b-cls", "cse-autoloss-b-reg"),
        ("quality-focal", "giou"),
        ("varifocal", "giou"),
        ("bce", "iou"),
    ),
    "cls-multiclass": (
        ("cross-entropy", "giou"),
        ("cse-autoloss-a-cls", "cse-autoloss-a-reg"),
        ("softmax-focal", "giou"),
        ("cross-entropy", "iou"),
        ("softmax-poly-1", "giou"),
        ("cross-entropy", "diou"),
        ("cross-entropy", "log-iou"),
    ),
}
"""Pairs that people use with a detector's classification loss, by how much would be lost if one were left out for lack
of time; the first is the plain one. On careless annotations the best are known parts put together: generalised
cross-entropy or −log p on positives, weighted by qᵏ, and a bounded loss of negatives, their numbers tuned
(docs/benchmarks/scenes.md). Rank & Sort is the best known by hand on clean scenes (docs/benchmarks/ap_space.md)."""


OF_THRESHOLD = 200
"""Validation images that say from which score on detections are shown."""


class DetectionTask(Task):
    """Trains and scores proxies on one data set; the data is read once, at the first use, and shared by all calls.

    Attributes:
        slots: "cls", whose signature the proxy decides, and "reg".
        class_names, num_classes: of the data.
    """

    name = "detection"
    Settings = DetectionSettings
    pauses = True
    quickens = True
    simulates = True
    metrics = (Metric("ap", title="AP"), Metric("ap50", title="AP50"), Metric("ap75", title="AP75"))

    def __init__(self, settings: DetectionSettings, device: str = "cpu") -> None:
        self.settings = settings
        self.device = torch.device(device)
        self._training: TrainingSet | None = None
        self._images: dict[str, Tensor] = {}
        self._metrics: dict[tuple[str, int | None], AveragePrecisionMetric] = {}

    @cached_property
    def _builder(self) -> DetectorBuilder:
        return detector_builder(self.settings.detector)

    @cached_property
    def slots(self) -> dict[str, Signature]:
        return in_spaces({"cls": SIGNATURES[self._builder.signature], "reg": REG}, self.settings.spaces)

    @property
    def alone(self) -> str:
        """See `Task.alone`."""
        stacks = getattr(self._builder, "stacks", False)
        return "" if stacks else f"a detector of the kind {self.settings.detector} is trained alone"

    @property
    def tunables(self) -> tuple[Tunable, ...]:
        own = self.settings
        return (
            Tunable("box_weight", own.box_weight, (0.25, 8.0), slot="reg"),
            Tunable("lr", own.lr, (0.2, 2.0)),
        )

    @property
    def baselines(self) -> tuple[dict[str, str], ...]:
        return tuple({"cls": cls, "reg": reg} for cls, reg in BASELINES[self._builder.signature])

    def elsewhere(self, signature: str) -> str:
        """Where a loss of a signature that this proxy does not take has its place, in words; empty for nowhere."""
        takers = [name for name in DETECTORS.built_in if detector_builder(name).signature == signature]
        return f"; use --detector {' or '.join(takers)}" if takers else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the settings tell of the data."""
        return self.settings.faults.notes

    def drawn(self, draw: int) -> DetectionSettings | None:
        """Other scenes of the same people's digits, and other faults; of a folder other faults alone."""
        own, scenes, faults = self.settings, self.settings.scenes, self.settings.faults
        fresh: dict[str, object] = {
            "faults": faults.model_copy(update={"seed": drawn_seed(faults.seed, draw)})
        }
        if own.embedded:
            fresh["scenes"] = scenes.model_copy(update={"seed": drawn_seed(scenes.seed, draw)})
        elif not faults.notes:
            return None
        return own.model_copy(update=fresh)

    def check(self) -> tuple[str, ...]:
        """Look at the data; notes on them. See `Task.check`."""
        own = self.settings
        if own.embedded:
            self._check_canvas()
            return self.notes
        model = self._build(3, 1)
        cell = getattr(getattr(model, "trunk", model), "strides", (model.stride,))[0]
        hints = small_objects(self.photographs.splits["train"], own.image_size, cell)
        return (*self.photographs.notes, *hints, *self.notes)

    @property
    def data_digest(self) -> str:
        """See `Task.data_digest`."""
        return "" if self.settings.embedded else self.photographs.digest

    @cached_property
    def photographs(self) -> Dataset:
        """The data as they were read, before they are scaled; not of the embedded scenes."""
        return load_dataset(source_of(self.settings), self.settings.cache, self.progress)

    @cached_property
    def _data(self) -> dict[str, Split]:
        own = self.settings
        if own.embedded:
            self._check_canvas()
            splits = load_scenes(own.scenes, own.cache)
        else:
            splits = to_splits(self.photographs, own.image_size, self._stride)
        return {**splits, "train": with_faults(splits["train"], own.faults, self.num_classes)}

    @property
    def _stride(self) -> int:
        return self._build(1, 1).stride

    def _check_canvas(self) -> None:
        canvas, stride = self.settings.scenes.canvas, self._stride
        if canvas % stride:
            raise ConfigError(
                f"scenes.canvas: expected a multiple of {stride}, the stride of the {self.settings.detector} "
                f"detector, got {canvas}"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the data."""
        return CLASS_NAMES if self.settings.embedded else self.photographs.class_names

    @property
    def num_classes(self) -> int:
        """How many there are."""
        return len(self.class_names)

    @cached_property
    def frequency(self) -> Tensor:
        """(C,) objects of each class in the training images, as annotated, over those of the most frequent class."""
        train = self.split("train")
        labels = torch.from_numpy(train.labels).masked_fill(torch.from_numpy(train.crowd), IGNORED)
        return frequency_of(labels, self.num_classes)

    @cached_property
    def _normal(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the training images, a number for each channel."""
        mean, deviation = summed_spread(self.split("train").images, 255)
        return mean, deviation.clamp(min=1e-3)

    def simulation(self, settings: SimulateSettings) -> Simulator:
        """The model optimisation simulation on one training image of each category."""
        return Simulator(settings, one_of_each(self.split("train"), self.num_classes), self.device)

    def train(
        self,
        losses: Mapping[str, LossFunction],
        *,
        seed: int,
        schedule: Schedule,
        settings: Mapping[str, float],
        split: SplitName,
    ) -> TaskScore:
        """Train a proxy with the losses and score it; see `Task.train`.

        `losses["cls"]`: (logits (M, columns), target (M,), iou (M,)) -> scalar sum; `losses["reg"]`: (predicted (P, 4),
        target (P, 4)) -> scalar sum.
        """
        parts: dict[str, float] = {}
        pictures: list[Picture] = []

        def score(run: TrainingRun) -> dict[str, float]:
            model = cast(Detector, run.model)
            found = self.predict(model, split, schedule.score_limit)
            metric = self._metric(split, schedule.score_limit)
            if split == "test" or schedule.show:  # a search, which has no use for them, is spared their time
                detail = metric.detail(*_arrays(found))
                parts.update(detail.figures(self.class_names))
                if schedule.show:
                    least = best_threshold(self.predict(model, "val", OF_THRESHOLD), self.split("val"))
                    pictures.extend(
                        (
                            curves(detail, self.class_names),
                            photographs(self.split(split), found, least, self.class_names),
                        )
                    )
            return _figures(metric, found)

        make = self._making(losses, seed, schedule, settings)
        found = trained(make, schedule, score, len(self.split("train")))
        return replace(found, parts=parts, pictures=tuple(pictures))

    def train_together(
        self,
        losses: Sequence[Mapping[str, LossFunction]],
        *,
        seed: int,
        schedules: Sequence[Schedule],
        settings: Mapping[str, float],
    ) -> list[TaskScore]:
        """See `Task.train_together`."""
        first = schedules[0]

        def score(run: TrainingRun) -> dict[str, float]:
            found = self.predict(cast(Detector, run.model), "val", first.score_limit)
            return _figures(self._metric("val", first.score_limit), found)

        makes = [
            self._making(own, seed, schedule, settings)
            for own, schedule in zip(losses, schedules, strict=True)
        ]
        return trained_together(makes, schedules, score, len(self.split("train")), advance_together)

    def _making(
        self,
        losses: Mapping[str, LossFunction],
        seed: int,
        schedule: Schedule,
        settings: Mapping[str, float],
    ) -> Callable[[], TrainingRun]:
        return partial(
            self.training,
            losses,
            seed=seed,
            epochs=schedule.epochs,
            settings=settings,
            train_limit=schedule.train_limit,
            optimizer=schedule.optimizer,
            precision=schedule.precision,
        )

    def training(
        self,
        losses: Mapping[str, LossFunction],
        *,
        seed: int,
        epochs: float,
        settings: Mapping[str, float],
        train_limit: int | None = None,
        optimizer: Optimizer = "sgd",
        precision: Precision | None = None,
    ) -> TrainingRun:
        """A training of `epochs` epochs, at its beginning; arguments as of `train`."""
        data = self._training_set()
        if train_limit is not None and train_limit < len(data):
            data = TrainingSet(
                data.images[:train_limit], Assignment(*(t[:train_limit] for t in data.assigned))
            )
        schedule = OneCycle(
            epochs=epochs,
            batch=self.settings.batch,
            lr=settings.get("lr", self.settings.lr),
            weight_decay=self.settings.weight_decay,
            precision=precision or self.settings.precision,
            optimizer=optimizer,
        )
        model = self._build(data.images.shape[1], self.num_classes, seed)
        model.to(memory_format=torch.channels_last)
        model.to(self.device)
        box_weight = settings.get("box_weight", self.settings.box_weight)
        return detector_run(
            model,
            data,
            losses["cls"],
            losses["reg"],
            schedule,
            seed=seed,
            box_weight=box_weight,
            frequency=self.frequency,
        )

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
        return self._data[name]

    def _normalised(self, images: Tensor) -> Tensor:
        mean, deviation = self._normal
        normal = (images.float() / 255 - mean) / deviation
        return normal.to(self.device, memory_format=torch.channels_last)

    def _split_images(self, name: str) -> Tensor:
        if name not in self._images:
            self._images[name] = self._normalised(torch.from_numpy(self._data[name].images))
        return self._images[name]

    def _metric(self, name: str, limit: int | None = None) -> AveragePrecisionMetric:
        if (name, limit) not in self._metrics:
            split = self._data[name]
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
            truth = self._data["train"]
            images = self._split_images("train")
            model = self._build(images.shape[1], self.num_classes)
            labels = torch.from_numpy(truth.labels).masked_fill(torch.from_numpy(truth.crowd), IGNORED)
            targets = model.targets(
                torch.from_numpy(truth.boxes), labels, (images.shape[-2], images.shape[-1])
            )
            self._training = TrainingSet(images, Assignment(*(t.to(self.device) for t in targets)))
        return self._training


def _arrays(found: Detections) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Boxes, scores and labels, as a metric takes them."""
    return found.boxes.cpu().numpy(), found.log_scores.cpu().numpy(), found.labels.cpu().numpy()


def _figures(metric: AveragePrecisionMetric, found: Detections) -> dict[str, float]:
    return dict(zip(("ap", "ap50", "ap75"), metric(*_arrays(found)), strict=True))


def source_of(settings: DetectionSettings) -> Source:
    """Where the photographs of a task's settings are."""
    return Source.of(
        settings.data,
        (settings.train_file, settings.val_file, settings.test_file),
        images=dict.fromkeys(("train", "val", "test"), settings.image_folder),
        skip_bad=settings.skip_bad,
    )
