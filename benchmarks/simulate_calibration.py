"""The losses that the simulation is measured on, and their proxy trainings, kept as JSON lines.

    python benchmarks/simulate_calibration.py FILE.jsonl [--cls 130] [--reg 110] [--epochs 6] [--again 30] [--seed 1]

A third are random losses that passed verification, the rest the catalogue's and their descendants by random
variation. Each gets a proxy training of the default task, with BCE or GIoU in the other branch and the
search's box weight; some of those that train get a second seed, which shows how well the proxy agrees with
itself, and shorter trainings. Trainings are written as they end (3.5 to 6 seconds each on one core) and
skipped when the command runs again.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from descendants import descendants, founders

from cse_autoloss.losses import load_loss
from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.spaces import SIGNATURES
from cse_autoloss.spaces.random_expressions import random_forest
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.protocol import Schedule
from cse_autoloss.verification import verify_forest

LEARNS = 0.05
"""A proxy AP above this counts as having trained at all."""
DRAWN = {"cls-binary": 400_000, "reg": 20_000}
"""Random expressions that are drawn; a few hundred of them pass verification."""


@dataclass(frozen=True)
class Row:
    """A proxy training: of the branch's candidate, from where it came, and what it reached."""

    branch: str
    formula: str
    origin: str
    seed: int
    epochs: float
    ap: float
    ap50: float
    ap75: float
    status: str
    seconds: float

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What makes it another training."""
        return self.branch, self.formula, self.seed, self.epochs


def random_losses(branch: str, seed: int) -> dict[str, str]:
    """Random losses that pass verification, formula by fingerprint."""
    forest = random_forest(SIGNATURES[branch], DRAWN[branch], np.random.default_rng(seed))
    marks = verify_forest(forest, marks=True).marks
    return {mark: forest.graph(row).formula for row, mark in sorted(marks.items(), reverse=True)}


def candidates(branch: str, count: int, seed: int) -> list[tuple[str, str]]:
    """(origin, formula) of distinct verified losses, in random order: a third of them random."""
    drawn = random_losses(branch, seed)
    known, found = founders(branch), descendants(branch, 2 * count, seed)
    generator = random.Random(seed)
    loose = [("random", formula) for mark, formula in drawn.items() if mark not in known | found]
    grown = [("descendant", formula) for formula in found.values()]
    generator.shuffle(loose)
    generator.shuffle(grown)
    chosen = [("catalogue", formula) for formula in known.values()]
    chosen += loose[: count // 3]
    chosen += grown[: count - len(chosen)]
    generator.shuffle(chosen)
    return chosen


def read(path: Path) -> list[Row]:
    """The trainings so far."""
    if not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


class Calibration:
    """Trains what the file lacks."""

    def __init__(self, path: Path, box_weight: float) -> None:
        self._path = path
        self._box_weight = box_weight
        self._task = DetectionTask(DetectionSettings(data="digits"))
        self._done = {row.key: row for row in read(path)}

    def row(self, branch: str, formula: str, origin: str, seed: int, epochs: float) -> Row:
        """The training, from the file where it is there."""
        key = branch, formula, seed, epochs
        if key not in self._done:
            cls = load_loss(formula if branch != "reg" else "bce", signature="cls-binary", reduction="sum")
            reg = load_loss(formula if branch == "reg" else "giou", signature="reg", reduction="sum")
            started = time.perf_counter()
            score = self._task.train(
                {"cls": cls, "reg": reg},
                seed=seed,
                schedule=Schedule(epochs),
                settings={"box_weight": self._box_weight},
                split="val",
            )
            seconds = round(time.perf_counter() - started, 2)
            figures = (round(score.metrics.get(name, 0.0), 5) for name in ("ap", "ap50", "ap75"))
            row = Row(branch, formula, origin, seed, epochs, *figures, score.status, seconds)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            self._done[key] = row
        return self._done[key]


def main() -> None:
    """Train what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--cls", type=int, default=130)
    parser.add_argument("--reg", type=int, default=110)
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--again", type=int, default=30, help="losses of a branch that get a second seed")
    parser.add_argument("--short", type=float, nargs="*", default=(1, 2), help="epochs of shorter trainings")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of losses")
    parser.add_argument("--box-weight", type=float, default=2.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    calibration = Calibration(arguments.file, arguments.box_weight)
    lists = [
        [(branch, *pair[::-1]) for pair in candidates(branch, count, arguments.seed)]
        for branch, count in (("cls-binary", arguments.cls), ("reg", arguments.reg))
    ]
    wanted = [
        entry for rank in range(max(map(len, lists))) for own in lists for entry in own[rank : rank + 1]
    ]
    rows = [calibration.row(*entry, seed=0, epochs=arguments.epochs) for entry in wanted]
    for branch in ("cls-binary", "reg"):
        trained = [row for row in rows if row.branch == branch and row.ap > LEARNS][: arguments.again]
        for row in trained:
            calibration.row(branch, row.formula, row.origin, seed=1, epochs=arguments.epochs)
    for epochs in arguments.short:
        for branch in ("cls-binary", "reg"):
            for row in [row for row in rows if row.branch == branch][: arguments.again]:
                calibration.row(branch, row.formula, row.origin, seed=0, epochs=epochs)


if __name__ == "__main__":
    main()
