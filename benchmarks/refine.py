"""What is it worth to tune the weights on a pair's edges? One pair, refined as a run does it after its search.

    python benchmarks/refine.py DIR --pair quality-focal+square-iou [--set detection.faults.unlabelled=0.5 ...]
        [--generations 8] [--offspring 10] [--workers 2]

Prints each generation's validation AP, then the pair as it was and as it came out, each with the same further seeds.
DIR keeps every training: a killed run goes on by the same command.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.progress import Clock, RunStatus, Silent
from cse_autoloss.bench.schedule import Process, Workbench
from cse_autoloss.bench.session import Session
from cse_autoloss.cli.options import overrides
from cse_autoloss.discovery.refining import Refining, refine
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.settings.load import load_config


def main() -> None:
    """Parse the command line, train, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pair", required=True, help="CLS+REG")
    parser.add_argument("--config", default="detection")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--box-weight", type=float)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--epochs", type=float, default=15.0)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--offspring", type=int, default=10)
    parser.add_argument("--step", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, default=6, help="of the last comparison")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    config = load_config(options.config, overrides({"seed": options.seed, "device": "cpu"}, options.settings))
    new = not (options.directory / "run.sqlite").exists()
    store = RunStore.create(options.directory, {}) if new else RunStore.open(options.directory)
    session = Session(config)
    with store:
        cls, _, reg = options.pair.rpartition("+")
        given = {"box_weight": options.box_weight, "lr": options.lr}
        settings = {name: given.get(name) or value for name, value in session.defaults.items()}
        first = session.first_seed(700)
        refining = Refining(
            LossSet.of({"cls": cls, "reg": reg}, None, settings),
            {slot: session.task.slots[slot] for slot in session.slots},
            tuple(one.slot for one in session.task.tunables if one.slot),
            options.generations,
            options.offspring,
            options.step,
            tuple(first + i for i in range(options.generations + options.seeds)),
            options.epochs,
            None,
            session.digest,
            config.looking,
            session.metric,
        )
        with session.executor(workers=options.workers) as executor:
            bench = Workbench(
                executor, store, Clock.of(store, None), RunStatus(metric=session.metric), Silent()
            )
            started = time.monotonic()

            def train(trainings: Sequence[Training]) -> Process[dict[str, Score]]:
                scores = yield from bench.training(trainings, 300.0)
                aps = sorted(
                    (100 * session.metric.worth(scores[t.key].metrics) for t in trainings), reverse=True
                )
                print(
                    f"{time.monotonic() - started:6.0f} s  {len(aps)} trainings, AP {aps[0]:.2f} to {aps[-1]:.2f}, "
                    f"mean {sum(aps) / len(aps):.2f}",
                    flush=True,
                )
                return scores

            found = bench.finish(bench.start(refine(refining, train)))
    if found is None:
        print("nothing to weigh")
        return
    print(
        f"as it was {100 * found.before:.2f}, refined {100 * found.worth:.2f} (validation, {options.seeds} seeds)"
    )
    print("\n".join(f"{slot} {text}" for slot, text in found.pair.slots))


if __name__ == "__main__":
    main()
