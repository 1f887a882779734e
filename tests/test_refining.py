"""Tuning the weights of a pair: what is trained, what comes out, and what a deadline leaves."""

from __future__ import annotations

from typing import Any

import torch

from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.schedule import Batch
from cse_autoloss.discovery.refining import Refined, Refining, refine
from cse_autoloss.losses import load_loss
from cse_autoloss.spaces import BRANCHES, parse
from cse_autoloss.tasks.protocol import Metric
from cse_autoloss.verification import VerifySettings, verify

SLOTS = {"cls": BRANCHES["cls-binary"], "reg": BRANCHES["reg"]}


def losses(cls: str, reg: str, settings: dict[str, float] | None = None) -> LossSet:
    return LossSet.of({"cls": cls, "reg": reg}, None, settings)


def refining(
    pair: LossSet, generations: int = 8, finals: int = 2, slots: tuple[str, ...] = ("cls", "reg")
) -> Refining:
    return Refining(
        pair,
        {slot: SLOTS[slot] for slot in slots},
        ("reg",),
        generations,
        8,
        0.5,
        tuple(range(generations + finals)),
        15.0,
        None,
        "task",
        VerifySettings(),
        Metric("ap"),
    )


def refined(
    plan: Refining, worth: Any, trainings: int = 10_000
) -> tuple[Refined | None, list[list[Training]]]:
    """What came out where `worth(pair)` is a training's AP, and what was asked; so many trainings are done in time."""
    asked: list[list[Training]] = []

    def train(wanted: Any) -> Any:
        asked.append(list(wanted))
        yield Batch([])
        done = sum(len(one) for one in asked)
        return (
            {}
            if done > trainings
            else {t.key: t.score("ok", _figures(worth(t.losses)), "", 0.0) for t in wanted}
        )

    process = refine(plan, train)
    try:
        next(process)
        while True:
            process.send({})
    except StopIteration as stop:
        return stop.value, asked


def _figures(ap: float) -> dict[str, Any]:
    return {"status": "ok", "metrics": {"ap": ap}}


def ratio(pair: LossSet) -> float:
    """How a negative's loss is weighed against a positive's."""
    loss = load_loss(pair["cls"], branch="cls-binary", reduction="none")
    logits = torch.zeros(1, 1)
    negative, positive = (float(loss(logits, torch.tensor([target]), torch.ones(1))) for target in (1, 0))
    return negative / positive


def test_it_finds_better_proportions() -> None:
    pair = losses("bce", "giou", {"box_weight": 2.0, "lr": 0.15})
    assert ratio(pair) == 1
    found, asked = refined(refining(pair), lambda one: 0.5 - 0.1 * abs(ratio(one) - 0.5))
    assert found is not None
    assert abs(ratio(found.pair) - 0.5) < 0.2
    assert found.worth > found.before
    assert found.generations == 8
    assert found.pair.tuned == {"box_weight": 2.0, "lr": 0.15}
    # each generation has one seed; the last comparison has others, for two pairs
    assert [{t.seed for t in one} for one in asked] == [*({seed} for seed in range(8)), {8, 9}]
    assert len(asked[-1]) == 4
    assert {(t.purpose, t.split) for one in asked for t in one} == {("combine", "val")}


def test_whatever_is_trained_has_the_properties_of_a_loss() -> None:
    _, asked = refined(refining(losses("varifocal", "giou"), 3), lambda one: 0.5)
    for training in (t for one in asked[:-1] for t in one):
        assert verify(parse(training.losses["cls"], "cls-binary")).accepted
        assert verify(parse(training.losses["reg"], "reg")).accepted


def test_where_nothing_is_better_the_pair_stays() -> None:
    pair = losses("bce", "giou")
    found, _ = refined(refining(pair), lambda one: 0.6 if one == pair else 0.5)
    assert found == Refined(pair, 0.6, 0.6, 8)


def test_a_deadline_ends_it() -> None:
    pair = losses("bce", "giou")
    found, asked = refined(refining(pair), lambda one: 0.5, trainings=17)
    assert found is None
    assert len(asked) == 4  # two generations, one that was cut off, and the comparison that was too


def test_what_is_no_expression_or_was_not_searched_bears_no_weights() -> None:
    _, asked = refined(refining(losses("bce", "l1"), 2), lambda one: 0.5)
    assert {t.losses["reg"] for t in asked[0]} == {"l1"}
    assert len({t.losses["cls"] for t in asked[0]}) > 1
    _, asked = refined(refining(losses("bce", "giou"), 2, slots=("reg",)), lambda one: 0.5)
    assert {t.losses["cls"] for t in asked[0]} == {"bce"}
    assert refined(refining(losses("bce", "l1"), slots=("reg",)), lambda one: 0.5) == (None, [])
