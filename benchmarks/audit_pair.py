"""Puts one more pair of losses before a finished run's audit: same tuning, same schedule, same seeds as its winner.

    python benchmarks/audit_pair.py RUN --cls quality-focal --reg square-iou

Tells what of a winner's gain is the merit of a part that the run's baselines did not have. Prints the pair's test AP
and the winner's gain over it, with intervals.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from cse_autoloss.bench.audit import AuditPlan, Contestant, tune
from cse_autoloss.bench.budget import RunSize
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.session import SEEDS_OF_AUDIT, Session
from cse_autoloss.bench.statistics import mean_interval, paired_difference
from cse_autoloss.bench.worker import slot_loss
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.settings.load import parse_config
from cse_autoloss.tasks.protocol import Schedule
from cse_autoloss.tasks.registry import section_of


def main() -> None:
    """Parse the command line, train, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--cls", required=True, help="catalogue name or formula")
    parser.add_argument("--reg", required=True, help="catalogue name or formula")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with RunStore.read(options.run) as store:
        config, summary = parse_config(store.config, section=section_of), store.meta("summary")
        size = RunSize.from_json(store.meta("size"))
        session = Session(config)
        limit = session.train_limit(size, store)
    audit, task = size.audit, session.task
    best = summary["best"]
    won = next(w for w in summary["winners"] if w["losses"] == best["losses"])["test"]["seeds"]
    plan = AuditPlan(
        metric=session.metric,
        task=session.digest,
        seeds=tuple(session.first_seed(SEEDS_OF_AUDIT) + i for i in range(len(won))),
        space=session.space(),
        tries=audit.tuning,
        tune_epochs=audit.tune_epochs,
        tune_seeds=session.tune_seeds,
        epochs=audit.epochs,
        train_limit=limit,
    )

    def train(trainings: list[Training]) -> dict[str, Score]:
        """In this process, one after the other."""
        found = {}
        for one in trainings:
            losses = {slot: slot_loss(text, task.slots[slot], None) for slot, text in one.losses.slots}
            schedule = Schedule(one.epochs, one.train_limit)
            settings = one.losses.tuned
            score = task.train(losses, seed=one.seed, schedule=schedule, settings=settings, split=one.split)
            value = {"status": score.status, "metrics": dict(score.metrics)}
            found[one.key] = one.score("ok", value, score.detail, 0.0)
        return found

    pair = LossSet.of({"cls": options.cls, "reg": options.reg})
    (one,) = tune([Contestant(pair.name, pair, False)], plan, train)
    words = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in one.losses.settings)
    print(f"{one.losses.name}: {words}, AP on val {one.val:.4f}, {one.trainings} trainings")
    scores = plan.figures(one, train(plan.final([one])))
    own, gain = mean_interval(scores), paired_difference(won, scores)
    print(f"AP on test {own.mean:.4f} [{own.low:.4f}, {own.high:.4f}], {len(won)} seeds")
    print(f"the run's winner over it {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")


if __name__ == "__main__":
    main()
