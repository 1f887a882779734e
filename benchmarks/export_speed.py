"""Are exported files as fast as losses written by hand? Forward and backward, both in one run, as ratios.

    python benchmarks/export_speed.py [--rows 8192] [--threads 1] [--compile]

By hand is what detection code bases write: focal loss from BCE-with-logits and a modulating factor, GIoU from corner
arithmetic, cross-entropy from torch. Prints the median seconds of each, and its ratio to the one by hand; what is
compiled is set against what was written by hand and compiled. Below 1 is faster.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cse_autoloss.export import torch_source
from cse_autoloss.losses import CATALOGUE
from cse_autoloss.spaces import parse

CLASSES = 80


def focal_by_hand(logits: Tensor, target: Tensor) -> Tensor:
    one_hot = F.one_hot(target, CLASSES + 1)[:, :CLASSES].to(logits.dtype)
    prob = torch.sigmoid(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, one_hot, reduction="none")
    p_t = prob * one_hot + (1 - prob) * (1 - one_hot)
    return (cross_entropy * (1 - p_t) ** 2).mean()


def giou_by_hand(pred: Tensor, true: Tensor) -> Tensor:
    x1, y1, x2, y2 = pred.unbind(-1)
    x1g, y1g, x2g, y2g = true.unbind(-1)
    xi1, yi1 = torch.max(x1, x1g), torch.max(y1, y1g)
    xi2, yi2 = torch.min(x2, x2g), torch.min(y2, y2g)
    inter = torch.where((yi2 > yi1) & (xi2 > xi1), (xi2 - xi1) * (yi2 - yi1), 0.0)
    union = (x2 - x1) * (y2 - y1) + (x2g - x1g) * (y2g - y1g) - inter
    area = (torch.max(x2, x2g) - torch.min(x1, x1g)) * (torch.max(y2, y2g) - torch.min(y1, y1g))
    return (1 - inter / (union + 1e-7) + (area - union) / (area + 1e-7)).mean()


def cross_entropy_by_hand(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target)


def exported(name: str) -> nn.Module:
    """The catalogue loss, through a file."""
    entry = CATALOGUE[name]
    assert entry.formula is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "loss.py"
        path.write_text(torch_source(parse(entry.formula, entry.signature.name)))
        spec = importlib.util.spec_from_file_location("exported_loss", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module.DiscoveredLoss()


def seconds(step: Callable[[], None], budget: float) -> list[float]:
    """Times of single steps for about `budget` seconds, at least five."""
    times: list[float] = []
    while len(times) < 5 or sum(times) < budget:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--rows", type=int, default=8192)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--compile", action="store_true", help="also both under torch.compile")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    logits = torch.randn(given.rows, CLASSES, requires_grad=True)
    target = torch.randint(0, CLASSES, (given.rows,))
    low = torch.rand(given.rows * 10, 2) * 300
    true = torch.cat([low, low + 5 + torch.rand_like(low) * 200], -1)
    pred = (true + torch.randn_like(true) * 5).requires_grad_()
    cases: list[tuple[str, Callable[..., Tensor], Tensor, Tensor]] = [
        ("focal", focal_by_hand, logits, target),
        ("cross-entropy", cross_entropy_by_hand, logits, target),
        ("giou", giou_by_hand, pred, true),
    ]
    print(
        f"{given.rows} x {CLASSES} logits, {len(pred)} boxes, {given.threads} thread(s), torch {torch.__version__}"
    )
    for name, by_hand, first, second in cases:
        contenders: dict[str, Callable[..., Tensor]] = {"by hand": by_hand, "exported": exported(name)}
        if given.compile:
            contenders["by hand, compiled"] = torch.compile(by_hand, fullgraph=True)
            contenders["compiled"] = torch.compile(exported(name), fullgraph=True)

        def step(loss: Callable[..., Tensor], first: Tensor = first, second: Tensor = second) -> None:
            first.grad = None
            loss(first, second).backward()

        times: dict[str, list[float]] = {contender: [] for contender in contenders}
        for loss in contenders.values():
            step(loss)
        for _ in range(4):  # in turns, so that a busy spell of the machine hits all alike
            for contender, loss in contenders.items():
                times[contender] += seconds(lambda loss=loss: step(loss), 0.5)  # type: ignore[misc]
        medians = {contender: statistics.median(found) for contender, found in times.items()}
        for contender, median in medians.items():
            rival = medians["by hand, compiled" if contender == "compiled" else "by hand"]
            print(f"{name:14} {contender:17} {median * 1e3:9.3f} ms   {median / rival:.2f}x")


if __name__ == "__main__":
    main()
