"""Time and memory of the losses that see a batch as one ranking, beside focal loss, in one run.

python benchmarks/ap_speed.py [--rows 262144] [--columns 80] [--positives 1000]
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import torch
from torch import Tensor

from cse_autoloss import load_loss
from cse_autoloss.losses.parametric import ParametricLoss
from cse_autoloss.spaces.ap import ApSpace

REPEATS = 3


def main() -> None:
    """Print a row for each loss: seconds forward and backward, and the ratio to focal loss."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("rows", 262_144), ("columns", 80), ("positives", 1000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    space = ApSpace()
    losses = {
        "focal": load_loss("focal", reduction="sum"),
        "ap space": ParametricLoss(space, space.start, "sum"),
        **{name: load_loss(name, reduction="sum") for name in ("ap-loss", "alrp", "rank-sort")},
    }
    for stage, ahead in (("untrained", 0.0), ("trained", 8.0)):
        batch = drawn(asked.rows, asked.columns, asked.positives, ahead)
        seconds: dict[str, list[float]] = {name: [] for name in losses}
        for _ in range(REPEATS):
            for name, loss in losses.items():
                seconds[name].append(timed(loss, *batch))
        for name, all_ in seconds.items():
            ratio = min(all_) / min(seconds["focal"])
            print(f"{stage:10} {name:10} {min(all_):6.2f} s  {ratio:5.2f} times focal loss")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def drawn(rows: int, columns: int, positives: int, ahead: float) -> tuple[Tensor, Tensor, Tensor]:
    """Logits around -4, the positives' own by `ahead` higher, targets and IoUs."""
    source = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, columns, generator=source) - 4
    target = torch.full((rows,), columns)
    target[:positives] = torch.randint(0, columns, (positives,), generator=source)
    logits[torch.arange(positives), target[:positives]] += ahead
    return logits, target, torch.rand(rows, generator=source)


def timed(loss: Callable[..., Tensor], logits: Tensor, target: Tensor, iou: Tensor) -> float:
    """Seconds of one forward and backward."""
    leaf = logits.clone().requires_grad_()
    started = time.perf_counter()
    loss(leaf, target, iou).backward()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
