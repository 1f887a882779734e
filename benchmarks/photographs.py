"""The proxies on photographs, each trained for about the same CPU time: the small ones and those with a pyramid.

    python benchmarks/photographs.py coco:DIR [--seconds 15] [--seeds 2] [--pixels 192 256]

Epochs are fitted to the time by one epoch of each contestant, measured before. The trainings of a seed follow one
another, so that a busy machine slows all alike; seconds are the process's own CPU time. AP is on the validation split.
Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch

from cse_autoloss.bench.worker import slot_loss
from cse_autoloss.detectors.protocol import Detector
from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.tasks.average_precision import AveragePrecisionMetric
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.splits import Split


@dataclass
class Contestant:
    """A detector with its settings and losses, and what it reached, a row a seed: AP, AP50, AP75, of each class."""

    detector: str
    image_size: int
    batch: int
    lr: float
    cls: str
    epochs: float = 0.0
    scores: list[list[float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def task(self, data: str) -> DetectionTask:
        """Its data and detector."""
        return DetectionTask(
            DetectionSettings(
                data=data, image_size=self.image_size, batch=self.batch, lr=self.lr, detector=self.detector
            )
        )

    def train(self, task: DetectionTask, seed: int, epochs: float) -> None:
        """One training, noted."""
        started = time.process_time()
        losses = {"cls": self.cls, "reg": "giou"}
        run = task.training(
            {slot: slot_loss(text, task.slots[slot], None) for slot, text in losses.items()},
            seed=seed,
            epochs=epochs,
            settings={"box_weight": 2.0},
        )
        run.advance(run.steps)
        self.seconds.append(time.process_time() - started)
        boxes, scores, labels = (
            part.cpu().numpy() for part in task.predict(cast(Detector, run.model), "val")
        )
        split = task.split("val")
        row = list(AveragePrecisionMetric(split, task.num_classes)(boxes, scores, labels))
        for index in range(task.num_classes):
            metric = AveragePrecisionMetric(_only(split, index), task.num_classes)
            row.append(metric(boxes, scores, np.where(labels == index, labels, -1)).ap)
        self.scores.append(row)


def _only(split: Split, index: int) -> Split:
    """The split with the objects of one class."""
    labels = np.where(split.labels == index, split.labels, -1)
    return Split(split.images, split.boxes, labels, split.crowd)


SMALL = [
    Contestant("one-stage", 128, 16, 0.15, "bce"),
    Contestant("one-stage", 128, 16, 0.15, "focal"),
    Contestant("two-stage", 128, 16, 0.15, "cross-entropy"),
]
"""The small proxies with their default settings."""


def contestants(pixels: int) -> list[Contestant]:
    """Small and large proxies on images of that size, with the settings that suit photographs."""
    return [
        Contestant(f"{stages}{kind}", pixels, 8, 0.1, cls)
        for stages, losses in (("one-stage", ("bce", "focal")), ("two-stage", ("cross-entropy",)))
        for kind in ("", "-pyramid")
        for cls in losses
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="coco:DIR")
    parser.add_argument("--seconds", type=float, default=15.0, help="CPU time of a training")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--pixels", type=int, nargs="*", default=[192, 256], help="longer side of the images")
    parser.add_argument(
        "--no-default", action="store_true", help="without the small proxies at their defaults"
    )
    parser.add_argument("--detectors", nargs="*", help="these alone")
    arguments = parser.parse_args()

    every = [] if arguments.no_default else list(SMALL)
    every += [one for pixels in arguments.pixels for one in contestants(pixels)]
    if arguments.detectors:
        every = [one for one in every if one.detector in arguments.detectors]
    torch.set_num_threads(1)
    tasks: dict[tuple[str, int], DetectionTask] = {}
    for one in every:
        key = one.detector, one.image_size
        task = tasks[key] = tasks.get(key) or one.task(arguments.data)
        one.train(task, 0, 0.1)  # kernels, data and assignment are made at the first use
        one.train(task, 0, 1.0)
        one.epochs = max(1.0, round(arguments.seconds / one.seconds[-1]))
        one.scores.clear()
        one.seconds.clear()
    for seed in range(arguments.seeds):
        for one in every:
            one.train(tasks[one.detector, one.image_size], seed, one.epochs)

    names = next(iter(tasks.values())).class_names
    print(
        f"{arguments.seeds} seeds, AP on val and its range over the seeds, box weight 2, "
        f"torch {torch.__version__}, one thread\n"
    )
    print(
        f"| detector | pixels | batch, rate | losses | epochs | CPU s | AP | AP50 | AP75 | {' | '.join(names)} |"
    )
    print("|---" * (9 + len(names)) + "|")
    for one in every:
        means = [100 * statistics.mean(column) for column in zip(*one.scores, strict=True)]
        first = [100 * row[0] for row in one.scores]
        cells = [
            one.detector,
            str(one.image_size),
            f"{one.batch}, {one.lr:g}",
            f"{one.cls} + giou",
            f"{one.epochs:g}",
            f"{statistics.mean(one.seconds):.0f}",
            f"{means[0]:.1f} ({min(first):.1f} to {max(first):.1f})",
            *(f"{value:.1f}" for value in means[1:]),
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
