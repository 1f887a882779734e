"""Cost of the parametric losses against softmax cross-entropy, forward and backward, in one process.

    python benchmarks/reinforce_spaces.py [--rows 512] [--columns 10000] [--device cpu]

Prints the seconds of each (the best of several) and the ratio to `F.cross_entropy`. Aim: at most 1.5.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.spaces.search_softmax import SearchSoftmax


def best_seconds(
    losses: dict[str, Callable[[Tensor], Tensor]], logits: Tensor, repeats: int
) -> dict[str, float]:
    """Least time of a forward and backward pass of each, taken in turns; processor time on a CPU that others
    use too."""
    clock = time.perf_counter if logits.is_cuda else time.process_time
    best = dict.fromkeys(losses, float("inf"))
    for _ in range(repeats):
        for name, loss in losses.items():
            logits.grad = None
            start = clock()
            loss(logits).backward()
            if logits.is_cuda:
                torch.cuda.synchronize()
            best[name] = min(best[name], clock() - start)
    return best


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--columns", type=int, default=10_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)  # processor time of one thread is what is compared
    generator = torch.Generator().manual_seed(0)
    cosine = 2 * torch.rand(options.rows, options.columns, generator=generator) - 1
    logits = (30 * cosine).to(options.device).requires_grad_()
    target = torch.randint(options.columns, (options.rows,), generator=generator).to(options.device)
    losses: dict[str, Callable[[Tensor], Tensor]] = {"cross_entropy": lambda x: cross_entropy(x, target)}
    for space in (AmLfs(), AmLfs(form="unbounded"), SearchSoftmax()):
        theta = torch.tensor(space.start, device=options.device)
        name = f"{space.name} {getattr(space, 'form', '')}".strip()
        losses[name] = lambda x, space=space, theta=theta: space.loss(x, target, theta).mean()
    losses["column written into a copy"] = lambda x: cross_entropy(
        x.scatter(1, target[:, None], x.gather(1, target[:, None]) - 1), target
    )
    seconds = best_seconds(losses, logits, options.repeats)
    print(
        f"{options.rows} x {options.columns}, {options.device}, {torch.get_num_threads()} threads,"
        f" torch {torch.__version__}"
    )
    for name, value in seconds.items():
        print(f"{name:30} {value * 1e3:8.2f} ms  {value / seconds['cross_entropy']:5.2f}")


if __name__ == "__main__":
    main()
