"""The two-stage proxy against the one-stage one: AP and time of short trainings on the embedded scenes.

    python benchmarks/two_stage.py [--seeds 4] [--epochs 6] [--hard] [--data digits] [--split val]

Aims: AP no worse than the one-stage proxy's with cross-entropy + GIoU, in at most 2.5 times its time. The trainings of
a seed follow one another, so that a busy machine slows all alike; seconds are the process's own CPU time.
Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import dataclass, field
from typing import cast

import torch

from cse_autoloss.bench.worker import slot_loss
from cse_autoloss.settings.tasks.detection import DetectionSettings, SceneSettings
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.protocol import Schedule, SplitName

CONTESTANTS = (
    ("one-stage", "bce", "giou"),
    ("one-stage", "focal", "giou"),
    ("two-stage", "cross-entropy", "giou"),
    ("two-stage", "softmax-focal", "giou"),
    ("two-stage", "cse-autoloss-a-cls", "cse-autoloss-a-reg"),
)
"""Detector, classification and box loss; the first is the measure of the others."""

HARD = SceneSettings(
    digits=(2, 5), clutter=4, overlap=0.3, contrast=(0.3, 1.0), noise=0.15, class_exponent=1.0
)


@dataclass
class Line:
    """What one contestant reached over the seeds."""

    scores: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def cells(self, first: Line) -> list[str]:
        """AP, its difference to the first contestant's, AP50, AP75, seconds and their ratio to the first's."""
        gains = [mine["ap"] - theirs["ap"] for mine, theirs in zip(self.scores, first.scores, strict=True)]
        ratios = [mine / theirs for mine, theirs in zip(self.seconds, first.seconds, strict=True)]
        return [
            f"{100 * statistics.mean(s['ap'] for s in self.scores):.1f}",
            "" if self is first else f"{100 * statistics.mean(gains):+.1f} ± {100 * _error(gains):.1f}",
            f"{100 * statistics.mean(s['ap50'] for s in self.scores):.1f}",
            f"{100 * statistics.mean(s['ap75'] for s in self.scores):.1f}",
            f"{statistics.median(self.seconds):.1f}",
            f"{statistics.median(ratios):.2f}",
        ]


def _error(values: list[float]) -> float:
    """Standard error of the mean; 0 for a single value."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=float, default=6.0)
    parser.add_argument("--hard", action="store_true", help="clutter, crowds, faint digits, rare classes")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--split", choices=("val", "test"), default="val")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    tasks = {
        name: DetectionTask(
            DetectionSettings(
                data=arguments.data,
                image_size=arguments.image_size,
                detector=name,
                scenes=HARD if arguments.hard else SceneSettings(),
            )
        )
        for name in ("one-stage", "two-stage")
    }
    lines = [Line() for _ in CONTESTANTS]
    for seed in range(-1, arguments.seeds):
        for line, (detector, cls, reg) in zip(lines, CONTESTANTS, strict=True):
            task = tasks[detector]
            started = time.process_time()
            losses = {"cls": cls, "reg": reg}
            score = task.train(
                {slot: slot_loss(text, task.slots[slot], None) for slot, text in losses.items()},
                seed=max(seed, 0),
                # Seed -1 is a warm-up: data, assignment and metric are made at the first use.
                schedule=Schedule(arguments.epochs if seed >= 0 else 0.1),
                settings={},
                split=cast(SplitName, arguments.split),
            )
            if seed >= 0:
                line.scores.append({"ap": 0.0, "ap50": 0.0, "ap75": 0.0, **score.metrics})
                line.seconds.append(time.process_time() - started)

    scenes = f"{arguments.data}{', hard scenes' if arguments.hard else ''}"
    print(
        f"{scenes}, {arguments.epochs:g} epochs, {arguments.seeds} seeds, AP on {arguments.split}, "
        f"torch {torch.__version__}, one thread\n"
    )
    print("| detector | losses | AP | gain ± s.e. | AP50 | AP75 | CPU s | times the first's |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for line, (detector, cls, reg) in zip(lines, CONTESTANTS, strict=True):
        print(f"| {detector} | {cls} + {reg} | {' | '.join(line.cells(lines[0]))} |")


if __name__ == "__main__":
    main()
