"""Does a net learn wrong labels by heart? Epoch by epoch, with cross-entropy, on data part of whose labels are wrong.

    python benchmarks/learnt_by_heart.py --data cifar10:DIR [--noise 0.4] [--seed 0] [--set KEY=VALUE ...]
    python benchmarks/learnt_by_heart.py --together COMPARISON EARLY

The first prints how many of the wrongly labelled training images the net gives their wrong label, how many their
right one, how many of the others it gets right, and its accuracy on validation: where the first rises while the last
falls, there is something that a loss can protect the net from. The second prints a comparison and one of
cross-entropy with early stopping (`own.early_stopping=true`) as one table: both have the same seeds and draws, so
that they are paired.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cse_autoloss.bench.statistics import gains, holm, mean_interval, p_value, paired_difference
from cse_autoloss.classifiers import ModelStack
from cse_autoloss.losses import load_loss
from cse_autoloss.settings.load import load_config
from cse_autoloss.tasks.classification import ClassificationTask
from cse_autoloss.tasks.protocol import Schedule


def predicted(task: ClassificationTask, model: torch.nn.Module) -> np.ndarray:
    """The class that a model gives each training image."""
    return task._predicted(ModelStack([model]), task.splits.train)[0][0].numpy()


def _share(of: np.ndarray, among: np.ndarray) -> float:
    return float(of[among].mean()) if among.any() else 0.0


def together(comparison: Path, early: Path) -> str:
    """Accuracy × 100, and gains over cross-entropy and over early stopping; bold where Holm's correction leaves it."""
    rows = json.loads((comparison / "comparison.json").read_text("utf-8"))["losses"]
    (stopped,) = json.loads((early / "comparison.json").read_text("utf-8"))["losses"]
    seeds = {one["name"]: one["accuracy"]["seeds"] for one in rows}
    seeds["cross-entropy, stopped early"] = stopped["accuracy"]["seeds"]
    text = ["| loss | accuracy | less cross-entropy | less early stopping |", "|---|---|---|---|"]
    columns = [_gains(seeds, base) for base in ("cross-entropy", "cross-entropy, stopped early")]
    for name in sorted(seeds, key=lambda own: -np.mean(seeds[own])):
        span = mean_interval([100 * value for value in seeds[name]])
        cells = " | ".join(column.get(name, "") for column in columns)
        text.append(f"| {name} | {span.mean:.1f} [{span.low:.1f}, {span.high:.1f}] | {cells} |")
    return "\n".join(text)


def _gains(seeds: dict[str, list[float]], base: str) -> dict[str, str]:
    others = [name for name in seeds if name != base]
    corrected = holm([p_value(gains(seeds[name], seeds[base])) for name in others])
    found = {}
    for name, chance in zip(others, corrected, strict=True):
        span = paired_difference(*([100 * value for value in seeds[one]] for one in (name, base)))
        told = f"{span.mean:+.1f} [{span.low:+.1f}, {span.high:+.1f}]"
        found[name] = f"**{told}**" if chance < 0.05 else told
    return found


def main() -> None:
    """Train, and print a row for each tenth of the epochs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data")
    parser.add_argument("--together", type=Path, nargs=2, metavar="RUN")
    parser.add_argument("--noise", type=float, default=0.4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    if options.together:
        print(together(*options.together))
        return
    overrides: dict[str, Any] = dict(text.split("=", 1) for text in options.set)
    own = load_config(None, {"task": "classification", "own.data": options.data, **overrides}).own
    torch.set_num_threads(1)
    noisy = ClassificationTask(own.model_copy(update={"label_noise": options.noise}))
    right = ClassificationTask(own.model_copy(update={"label_noise": 0.0})).splits.train.labels
    given = noisy.splits.train.labels
    wrong = given != right
    loss = load_loss("cross-entropy", reduction="sum")

    def summed(logits: Tensor, target: Tensor) -> Tensor:
        return loss(logits, target)

    class Watched(ClassificationTask):
        """Keeps what the model says of its training images at each score."""

        def score(self, model: torch.nn.Module, split: Any, limit: Any) -> dict[str, float]:
            told.append(predicted(self, model))
            return super().score(model, split, limit)

    told: list[np.ndarray] = []
    task = Watched(noisy.settings)
    print(
        f"{len(given)} images, {wrong.sum()} of them wrongly labelled, {options.epochs} epochs, rate {options.lr:g}"
    )
    print("| epoch | wrong labels learnt | seen through | right labels learnt | accuracy on validation |")
    print("|---|---|---|---|---|")
    for tenth in range(1, 11):
        until = round(options.epochs * tenth / 10)
        schedule = Schedule(options.epochs, until=until)
        score = task.train(
            {"loss": summed}, seed=options.seed, schedule=schedule, settings={"lr": options.lr}, split="val"
        )
        by_heart, through = (_share(told[-1] == labels, wrong) for labels in (given, right))
        learnt, val = _share(told[-1] == given, ~wrong), score.metrics["accuracy"]
        print(f"| {until} | {by_heart:.1%} | {through:.1%} | {learnt:.1%} | {val:.1%} |", flush=True)


if __name__ == "__main__":
    main()
