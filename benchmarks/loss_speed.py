"""Speed and memory of our losses against the same losses written by hand, forward and backward.

    python benchmarks/loss_speed.py [--repeats 15] [--quick] [--out docs/benchmarks/loss_speed.md]

Compared in one run, in turns, so that a busy machine slows both: each round runs every contestant once, in an order
that changes, and the figure is the median of the rounds' ratios.

- focal loss (γ = 2, summed) against the usual formulation, BCE-with-logits times the modulating factor. The
  hand-written one is handed its one-hot target; ours makes it from class indices within the measured time.
- GIoU loss against torchvision's formulation.
- cross-entropy against `torch.nn.functional.cross_entropy`.

With one thread the processor's time is taken, which other programs on the machine do not stretch; with all threads,
the wall clock. Memory is the peak resident memory of a fresh process over what it holds before the loss is called.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from cse_autoloss.losses import load_loss

CLASSES = 80
SIZES = (8_192, 262_144)
POSITIVES = 0.05

Step = Callable[[], Tensor]


def hand_focal(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss as it is usually written; target is one-hot, (N, C)."""
    probability = torch.sigmoid(logits)
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p_t = probability * target + (1 - probability) * (1 - target)
    return (cross_entropy * (1 - p_t) ** gamma).sum()


def hand_giou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """GIoU loss in torchvision's formulation: columns unbound, the intersection put in under a mask."""
    x1, y1, x2, y2 = pred.unbind(-1)
    u1, v1, u2, v2 = target.unbind(-1)
    left, top = torch.max(x1, u1), torch.max(y1, v1)
    right, bottom = torch.min(x2, u2), torch.min(y2, v2)
    intersection = torch.zeros_like(x1)
    mask = (bottom > top) & (right > left)
    intersection[mask] = (right[mask] - left[mask]) * (bottom[mask] - top[mask])
    union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - intersection
    iou = intersection / (union + eps)
    area = (torch.max(x2, u2) - torch.min(x1, u1)) * (torch.max(y2, v2) - torch.min(y1, v1))
    return (1 - (iou - (area - union) / (area + eps))).sum()


class Case:
    """Inputs of one loss at one size, and the contestants on them by name; "hand" is the reference."""

    def __init__(self, loss: str, rows: int, *, compiled: bool = False) -> None:
        generator = torch.Generator().manual_seed(0)
        if loss == "giou":
            target = torch.rand(rows, 4, generator=generator) * 50
            target[:, 2:] += target[:, :2] + 20
            self.input = target + torch.randn(rows, 4, generator=generator)
            module = load_loss("giou", reduction="sum")
            hand: Step = lambda: hand_giou(self.input, target)  # noqa: E731
            labels = target
        elif loss == "focal":
            self.input = torch.randn(rows, CLASSES, generator=generator)
            positive = torch.rand(rows, generator=generator) < POSITIVES
            classes = torch.randint(0, CLASSES, (rows,), generator=generator)
            labels = torch.where(positive, classes, CLASSES)
            one_hot = functional.one_hot(labels, CLASSES + 1)[:, :CLASSES].float()
            module = load_loss("focal", reduction="sum")
            hand = lambda: hand_focal(self.input, one_hot)  # noqa: E731
        else:
            self.input = torch.randn(rows, CLASSES, generator=generator)
            labels = torch.randint(0, CLASSES, (rows,), generator=generator)
            module = load_loss("cross-entropy", reduction="sum")
            hand = lambda: functional.cross_entropy(self.input, labels, reduction="sum")  # noqa: E731
        self.input.requires_grad_()
        self.steps: dict[str, Step] = {"hand": hand, "ours": lambda: module(self.input, labels)}
        if compiled:
            fast: nn.Module = torch.compile(module)  # type: ignore[assignment]
            self.steps["compiled"] = lambda: fast(self.input, labels)

    def run(self, name: str) -> Tensor:
        """One forward and backward; the loss."""
        self.input.grad = None
        value = self.steps[name]()
        value.backward()
        return value.detach()


def ratios(case: Case, repeats: int, clock: Callable[[], float]) -> dict[str, tuple[float, float]]:
    """For each contestant the median of its times and of its ratios to the hand-written one, round by round."""
    names = list(case.steps)
    reference = case.run("hand")
    for name in names:
        torch.testing.assert_close(case.run(name), reference, rtol=1e-4, atol=1e-3)
        case.run(name)
    times: dict[str, list[float]] = {name: [] for name in names}
    order = random.Random(0)
    for _ in range(repeats):
        for name in order.sample(names, len(names)):
            start = clock()
            case.run(name)
            times[name].append(clock() - start)
    return {
        name: (
            statistics.median(times[name]),
            statistics.median(mine / hand for mine, hand in zip(times[name], times["hand"], strict=True)),
        )
        for name in names
    }


def peak_memory(loss: str, rows: int, name: str) -> float:
    """MiB that one forward and backward adds to a fresh process's resident memory at its peak."""
    command = [sys.executable, __file__, "--memory", loss, str(rows), name]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return float(json.loads(answer.stdout)["mib"])


def _measure_memory(loss: str, rows: int, name: str) -> None:
    torch.set_num_threads(1)
    small = Case(loss, 8)
    small.run(name)  # libraries and pools are loaded now
    case = Case(loss, rows)
    # Building the inputs leaves a peak of its own: Linux forgets it on request.
    Path("/proc/self/clear_refs").write_text("5")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if not _status("VmHWM") else _status("VmHWM")
    case.run(name)
    print(json.dumps({"mib": (_status("VmHWM") - before) / 1024}))


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    return 0


def table(repeats: int, quick: bool) -> str:
    """The whole benchmark as Markdown."""
    sizes = SIZES[:1] if quick else SIZES
    threads = torch.get_num_threads()
    lines = [
        "| loss | rows | threads | by hand | ours, eager | compiled | ratio, eager | ratio, compiled |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for loss in ("focal", "giou", "cross-entropy"):
        for rows in sizes:
            case = Case(loss, rows, compiled=True)
            for count in sorted({1, threads}):
                torch.set_num_threads(count)
                rounds = repeats if rows == SIZES[0] else max(5, repeats // 3)
                found = ratios(case, rounds, time.process_time if count == 1 else time.perf_counter)
                shown = " | ".join(f"{found[name][0] * 1e3:.1f} ms" for name in ("hand", "ours", "compiled"))
                lines.append(
                    f"| {loss} | {rows:,} | {count} | {shown} | {found['ours'][1]:.2f} | {found['compiled'][1]:.2f} |"
                )
                print(lines[-1], flush=True)
    lines += ["", "| loss | rows | by hand | ours, eager | ratio |", "|---|---|---|---|---|"]
    for loss in ("focal", "giou", "cross-entropy"):
        rows = sizes[-1] * (4 if loss == "giou" else 1)
        hand, ours = peak_memory(loss, rows, "hand"), peak_memory(loss, rows, "ours")
        lines.append(f"| {loss} | {rows:,} | {hand:.0f} MiB | {ours:.0f} MiB | {ours / hand:.2f} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


HEAD = """# Speed of the losses

Forward and backward, summed, float32, {classes} classes (boxes for GIoU); {machine}, {threads} threads, torch {torch}.
Ratios are medians over rounds in which the contestants take turns, so below 1 is faster than by hand. One thread:
processor time; more: wall clock. Made by `python benchmarks/loss_speed.py`.

"""

TAIL = """

The second table is the peak of resident memory during forward and backward, over what the process held before.

Notes. By hand, focal is handed its one-hot target; ours makes it from class indices. The hand-written references run
eager. "Compiled" is `torch.compile` of our module, its guards and checks included. Eager classification losses are
fused (`cse_autoloss/losses/fused.py`): value and gradient in one pass over blocks that fit the cache, keeping only the
gradient; GIoU runs as plain torch. A double backward is offered, through the plain form, and is gradgradchecked.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="the small size alone")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", nargs=3, metavar=("LOSS", "ROWS", "NAME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        loss, rows, name = options.memory
        _measure_memory(loss, int(rows), name)
        return
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    head = HEAD.format(
        classes=CLASSES,
        machine=machine,
        threads=torch.get_num_threads(),
        torch=torch.__version__.split("+")[0],
    )
    text = head + table(options.repeats, options.quick) + TAIL
    if options.out:
        options.out.write_text(text)
        print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
