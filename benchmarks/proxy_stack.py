"""Proxy trainings stacked in one process against one alone: seconds of a training, and the ratio.

    python benchmarks/proxy_stack.py [--device cpu|cuda] [--stacks 2 4 8] [--canvas 64] [--precision bfloat16]
    python benchmarks/proxy_stack.py --scores 6         # APs after so many epochs, side by side and alone

The one-stage proxy on scenes of noise with a few boxes each, every model with another loss. Of each way some steps are
done, in turns, and the median step is told as the seconds of a training of 15 epochs of 800 scenes. On a CPU the clock
is the process's own time, so that other processes do not count.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch

from cse_autoloss.bench.worker import slot_loss
from cse_autoloss.detectors.one_stage import OneStageDetector
from cse_autoloss.detectors.training import TrainingSet, detector_run
from cse_autoloss.losses import load_loss
from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.spaces import REG
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.protocol import Schedule as Asked
from cse_autoloss.tasks.protocol import TaskScore
from cse_autoloss.training.loop import Schedule, TrainingRun
from cse_autoloss.training.stacked import StackedRun

LOSSES = (
    "bce",
    "focal",
    "quality-focal",
    "varifocal",
    "quality-gce",
    "quality-hill",
    "quality-square",
    "poly-1",
)
SCENES, CLASSES, BATCH, STEPS = 64, 10, 16, 15 * 800 // 16


def scenes(canvas: int, device: str) -> TrainingSet:
    """Noise, and one to four boxes a scene."""
    source = torch.Generator().manual_seed(0)
    images = torch.randn(SCENES, 1, canvas, canvas, generator=source)
    sides = torch.randint(12, 29, (SCENES, 4, 2), generator=source).float()
    corners = torch.rand(SCENES, 4, 2, generator=source) * (canvas - sides)
    labels = torch.randint(CLASSES, (SCENES, 4), generator=source)
    there = torch.arange(4) <= torch.randint(4, (SCENES, 1), generator=source)
    boxes = torch.cat((corners, corners + sides), -1)
    model = OneStageDetector(1, CLASSES)
    targets = model.targets(boxes, labels.masked_fill(~there, -1), (canvas, canvas))
    images = images.to(device, memory_format=torch.channels_last)
    return TrainingSet(images, type(targets)(*(one.to(device) for one in targets)))


def training(data: TrainingSet, loss: str, options: argparse.Namespace) -> TrainingRun:
    """A training at its beginning."""
    torch.manual_seed(0)
    model = OneStageDetector(1, CLASSES).to(options.device, memory_format=torch.channels_last)
    schedule = Schedule(1e6, BATCH, precision=options.precision)
    cls, reg = (load_loss(one, reduction="sum").to(options.device) for one in (loss, "giou"))
    return detector_run(model, data, cls, reg, schedule, seed=0, box_weight=2.0)


def seconds(run: TrainingRun, steps: int) -> float:
    """Of a step, the mean of so many."""
    gpu = next(run.model.parameters()).is_cuda
    clock = time.perf_counter if gpu else time.process_time
    if gpu:
        torch.cuda.synchronize()
    start = clock()
    run.advance(run.step + steps)
    if gpu:
        torch.cuda.synchronize()
    return (clock() - start) / steps


def scores(options: argparse.Namespace) -> None:
    """APs of 200 scenes' trainings, and how far apart they are: by stacking, by rounding, by another seed."""
    own = DetectionSettings(precision=options.precision, scenes={"counts": [200, 100, 20]})
    task, names = DetectionTask(own, options.device), LOSSES[: max(options.stacks)]
    losses = [
        {"cls": slot_loss(one, task.slots["cls"], None), "reg": slot_loss("giou", REG, None)} for one in names
    ]
    how = Asked(options.scores)

    def alone(seed: int = 0, **settings: float) -> list[TaskScore]:
        return [task.train(one, seed=seed, schedule=how, settings=settings, split="val") for one in losses]

    found = {
        "alone": alone(),
        "stacked": task.train_together(losses, seed=0, schedules=[how] * len(losses), settings={}),
        "alone, a millionth more rate": alone(lr=own.lr * (1 + 1e-6)),
        "alone, seed 1": alone(1),
    }
    aps = {name: [one.metrics.get("ap", 0.0) for one in own] for name, own in found.items()}
    print("| loss |" + "".join(f" {name} |" for name in aps) + "\n" + "|---" * (len(aps) + 1) + "|")
    for name, row in zip(names, zip(*aps.values(), strict=True), strict=True):
        print(f"| {name} |" + "".join(f" {ap:.4f} |" for ap in row))
    for name in list(aps)[1:]:
        apart = [abs(a - b) for a, b in zip(aps[name], aps["alone"], strict=True)]
        print(f"from alone to {name}: {sum(apart) / len(apart):.4f} AP in the mean, at most {max(apart):.4f}")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--stacks", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--canvas", type=int, default=64)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scores", type=float, help="epochs")
    options = parser.parse_args()
    if options.scores:
        scores(options)
        return
    data = scenes(options.canvas, options.device)
    runs = {1: training(data, LOSSES[0], options)}
    for count in options.stacks:
        own = [training(data, LOSSES[place % len(LOSSES)], options) for place in range(count)]
        runs[count] = StackedRun(own)
    for run in runs.values():
        seconds(run, 1)
    took: dict[int, list[float]] = {count: [] for count in runs}
    for _ in range(options.rounds):
        for count, run in runs.items():
            took[count].append(seconds(run, options.steps) / count)
    print(
        f"{options.canvas} px, batch {BATCH}, {options.precision}, {options.device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print("\n| side by side | s a training | alone / stacked |\n|---|---|---|")
    for count, each in took.items():
        print(f"| {count} | {STEPS * median(each):.1f} | {median(took[1]) / median(each):.2f} |")
    if torch.cuda.is_available():
        print(
            f"\nat most {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB of the GPU, all of them at once"
        )


if __name__ == "__main__":
    main()
