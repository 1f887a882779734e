"""Tuning the weights of a pair: what is trained, what comes out, and what a deadline leaves."""

from __future__ import annotations

from typing import Any

import torch

from cse_autoloss.bench.jobs import LossPair, Training
from cse_autoloss.bench.schedule import Batch
from cse_autoloss.discovery.refining import Refined, Refining, refine
from cse_autoloss.losses import load_loss
from cse_autoloss.spaces import parse
from cse_autoloss.verification import VerifySettings, verify


def refining(
    pair: LossPair, generations: int = 8, finals: int = 2, branches: tuple[str, ...] = ("cls-binary", "reg")
) -> Refining:
    seeds = tuple(range(generations + finals))
    return Refining(pair, branches, generations, 8, 0.5, seeds, 15.0, None, "task", VerifySettings())


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
            else {t.key: t.score("ok", _figures(worth(t.pair)), "", 0.0) for t in wanted}
        )

    process = refine(plan, train)
    try:
        next(process)
        while True:
            process.send({})
    except StopIteration as stop:
        return stop.value, asked


def _figures(ap: float) -> dict[str, Any]:
    return {"status": "ok", "ap": ap, "ap50": ap, "ap75": ap}


def ratio(pair: LossPair) -> float:
    """How a negative's loss is weighed against a positive's."""
    loss = load_loss(pair.cls, signature="cls-binary", reduction="none")
    logits = torch.zeros(1, 1)
    negative, positive = (float(loss(logits, torch.tensor([target]), torch.ones(1))) for target in (1, 0))
    return negative / positive


def test_it_finds_better_proportions() -> None:
    pair = LossPair("bce", "giou", None, 2.0, 0.15)
    assert ratio(pair) == 1
    found, asked = refined(refining(pair), lambda one: 0.5 - 0.1 * abs(ratio(one) - 0.5))
    assert found is not None
    assert abs(ratio(found.pair) - 0.5) < 0.2
    assert found.ap > found.before
    assert found.generations == 8
    assert (found.pair.box_weight, found.pair.lr) == (2.0, 0.15)
    # each generation has one seed; the last comparison has others, for two pairs
    assert [{t.seed for t in one} for one in asked] == [*({seed} for seed in range(8)), {8, 9}]
    assert len(asked[-1]) == 4
    assert {(t.purpose, t.split) for one in asked for t in one} == {("combine", "val")}


def test_whatever_is_trained_has_the_properties_of_a_loss() -> None:
    _, asked = refined(refining(LossPair("varifocal", "giou"), 3), lambda one: 0.5)
    for training in (t for one in asked[:-1] for t in one):
        assert verify(parse(training.pair.cls, "cls-binary")).accepted
        assert verify(parse(training.pair.reg, "reg")).accepted


def test_where_nothing_is_better_the_pair_stays() -> None:
    pair = LossPair("bce", "giou")
    found, _ = refined(refining(pair), lambda one: 0.6 if one == pair else 0.5)
    assert found == Refined(pair, 0.6, 0.6, 8)


def test_a_deadline_ends_it() -> None:
    pair = LossPair("bce", "giou")
    found, asked = refined(refining(pair), lambda one: 0.5, trainings=17)
    assert found is None
    assert len(asked) == 4  # two generations, one that was cut off, and the comparison that was too


def test_what_is_no_expression_or_was_not_searched_bears_no_weights() -> None:
    _, asked = refined(refining(LossPair("bce", "l1"), 2), lambda one: 0.5)
    assert {t.pair.reg for t in asked[0]} == {"l1"}
    assert len({t.pair.cls for t in asked[0]}) > 1
    _, asked = refined(refining(LossPair("bce", "giou"), 2, branches=("reg",)), lambda one: 0.5)
    assert {t.pair.cls for t in asked[0]} == {"bce"}
    assert refined(refining(LossPair("bce", "l1"), branches=("reg",)), lambda one: 0.5) == (None, [])
