"""B models trained together against one after another: ratio of the times, and memory on a GPU.

    python benchmarks/reinforce_stack.py [--model mlp|small|resnet20] [--copies 32] [--device cpu|cuda]

Both train with AM-LFS, M = 6, each model with a loss of its own, on random images. On a CPU the clock is the process's
own time, so that other processes do not count. The GFLOP of a step of one model, forward and backward, are told as
torch counts them, and how many a second are done.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cse_autoloss.classifiers import ModelStack, make_classifier
from cse_autoloss.spaces.am_lfs import AmLfs

SHAPES = {"mlp": (1, 8, 8), "small": (3, 32, 32), "resnet20": (3, 32, 32)}


def seconds(step: Callable[[], object], steps: int, on_gpu: bool) -> float:
    """Time of one step, the mean of so many after one to warm up."""
    clock = time.perf_counter if on_gpu else time.process_time
    step()
    if on_gpu:
        torch.cuda.synchronize()
    start = clock()
    for _ in range(steps):
        step()
    if on_gpu:
        torch.cuda.synchronize()
    return (clock() - start) / steps


def plain_step(model: nn.Module, theta: Tensor, images: Tensor, labels: Tensor) -> Callable[[], object]:
    """A step of one model as one would write it without a stack."""
    optimiser = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    space = AmLfs()

    def step() -> None:
        optimiser.zero_grad()
        space.loss(model(images)[1], labels, theta).mean().backward()
        optimiser.step()

    return step


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=list(SHAPES), default="resnet20")
    parser.add_argument("--copies", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    shape = SHAPES[options.model]
    models = [make_classifier(options.model, shape, 10, 30.0) for _ in range(options.copies)]
    start = torch.tensor(AmLfs().start)
    theta = (start + 0.2 * torch.randn(options.copies, len(start))).to(options.device)
    images = torch.randn(options.batch, *shape).to(options.device)
    labels = torch.randint(10, (options.batch,)).to(options.device)
    on_gpu = images.is_cuda
    stack, space = ModelStack(models, device=options.device), AmLfs()
    together = seconds(lambda: stack.step(images, labels, space, theta, 0.05), options.steps, on_gpu)
    memory = f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if on_gpu else ""
    alone = [
        plain_step(model.to(options.device), own, images, labels)
        for model, own in zip(models, theta, strict=True)
    ]
    one_by_one = seconds(lambda: [step() for step in alone], options.steps, on_gpu)
    print(
        f"{options.model}, B = {options.copies}, batch {options.batch}, {options.device},"
        f" {torch.get_num_threads()} threads, torch {torch.__version__}:"
        f" one by one {one_by_one * 1e3:.0f} ms a step,"
        f" together {together * 1e3:.0f} ms, ratio {one_by_one / together:.2f}{memory}"
    )
    with FlopCounterMode(display=False) as counted:
        alone[0]()
    work = counted.get_total_flops() / 1e9
    print(
        f"a step of one model: {work:.1f} GFLOP, {work * options.copies / one_by_one:.0f} GFLOP/s one by one"
    )


if __name__ == "__main__":
    main()
