"""What the tuning tries after its grid: inner parameters, finer settings, and the same number of tries for everyone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from cse_autoloss.bench.audit import AuditPlan, Contestant, conclude, tune, tuned
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.tuning import Try, finer, inner
from cse_autoloss.runs import Score
from cse_autoloss.tasks.protocol import Metric

PLAN = AuditPlan(
    metric=Metric("ap"), task="t", seeds=(30, 31), grid={"box_weight": (1.0, 2.0), "lr": (0.1,)},
    open=("box_weight",), tune_epochs=1, tune_seeds=(20, 21), epochs=1, resamples=100, edge_steps=2, inner=6,
)  # fmt: skip


def contestant(cls: str, reg: str = "giou", *, discovered: bool = False) -> Contestant:
    return Contestant(f"{cls} + {reg}", LossSet.of({"cls": cls, "reg": reg}), discovered)


FIELD = [
    contestant("Neg(Log(Sig(Mul(Sub(PY,NY),X))))", discovered=True),  # best at an end, again and again
    contestant("bce"),  # best within the grid, no inner parameters
    contestant("focal"),  # one inner parameter
    contestant("asymmetric", "smooth-l1"),  # four, in two slots
    contestant("focal(gamma=1)"),  # held by whoever named it
]


def run(
    field: Sequence[Contestant], ap: Callable[[Training], float], plan: AuditPlan = PLAN
) -> tuple[list[Contestant], list[Training]]:
    """The contestants after their tuning, and all trainings of it."""
    asked: list[Training] = []

    def train(trainings: list[Training]) -> dict[str, Score]:
        asked.extend(trainings)
        return {t.key: t.score("ok", {"status": "ok", "metrics": {"ap": ap(t)}}, "", 1.0) for t in trainings}

    return tune(field, plan, train), asked


def rising(training: Training) -> float:
    """Better with any weight for the formula, best at 1 for the others."""
    weight = training.losses.tuned["box_weight"]
    return weight / 100 if "Log" in training.losses["cls"] else 0.5 - abs(math.log(weight))


def test_everyone_gets_the_same_number_whatever_there_is_to_tune() -> None:
    chosen, asked = run(FIELD, rising)
    assert [one.trainings for one in chosen] == [(2 + 6) * 2] * 5
    assert len({t.key for t in asked}) == len(asked)
    for one in FIELD[:2]:
        own = {t.losses for t in asked if one.owns(t.losses)}
        assert len(own) == 8
        assert {losses.slots for losses in own} == {one.losses.slots}
    assert tuned(chosen) == "tuned alike"
    assert chosen[0].losses.tuned["box_weight"] > 8.0


def test_without_further_tries_only_the_steps_beyond_the_ends_follow() -> None:
    chosen, asked = run(FIELD, rising, replace(PLAN, inner=0))
    assert [one.trainings for one in chosen] == [8, 6, 6, 6, 6]
    assert not any("focal(gamma=3" in t.losses["cls"] for t in asked)
    assert tuned(chosen) == "tuned by 6 to 8 trainings"


def test_the_inner_parameter_that_does_best_is_taken() -> None:
    (one,), asked = run([contestant("focal")], lambda t: 0.5 if t.losses["cls"] == "focal(gamma=3)" else 0.1)
    assert one.losses["cls"] == "focal(gamma=3)"
    assert one.val == 0.5
    texts = {t.losses["cls"] for t in asked}
    assert texts == {"focal", "focal(gamma=1)", "focal(gamma=3)", "focal(gamma=0.5)", "focal(gamma=4)"}


def test_parameters_of_all_slots_are_tried_and_moved_together() -> None:
    best = {"asymmetric(gamma_neg=2, margin=0)": 0.9, "asymmetric(gamma_neg=2)": 0.6}
    plan = replace(PLAN, inner=12)
    (one,), asked = run(
        [contestant("asymmetric", "smooth-l1")], lambda t: best.get(t.losses["cls"], 0.1), plan
    )
    assert one.losses["cls"] == "asymmetric(gamma_neg=2, margin=0)"
    assert {t.losses["reg"] for t in asked} > {"smooth-l1", "smooth-l1(beta=0.25)"}


def test_what_a_name_states_is_held() -> None:
    _, asked = run([contestant("varifocal(alpha=0.5)")], lambda t: 0.1)
    texts = {t.losses["cls"] for t in asked}
    assert {"varifocal(alpha=0.5)", "varifocal(alpha=0.5, gamma=1)"} <= texts
    assert all("alpha=0.5" in text for text in texts)


def test_finer_values_lie_between_those_that_were_tried() -> None:
    losses = LossSet.of({"loss": "bce"})
    tried = [Try(losses, (("lr", value),)) for value in (0.1, 0.4)]
    found = [dict(one.setting)["lr"] for one in finer(tried[0], tried)]
    assert found == pytest.approx([0.2, 0.1 / math.sqrt(2)])
    assert inner(losses)(tried[0], tried) == []


def test_a_tuning_that_was_cut_short_is_not_called_alike() -> None:
    calls = 0

    def train(trainings: list[Training]) -> dict[str, Score]:
        nonlocal calls
        calls += 1
        done = trainings if calls == 1 else trainings[:3]
        return {t.key: t.score("ok", {"status": "ok", "metrics": {"ap": 0.2}}, "", 1.0) for t in done}

    chosen = tune(FIELD, PLAN, train)
    assert calls == 2
    assert len({one.trainings for one in chosen}) > 1
    assert "alike" not in tuned(chosen)


def test_verdict_and_summary_tell_the_tuning() -> None:
    field = [FIELD[0], contestant("focal")]

    def ap(training: Training) -> float:
        return 0.4 if training.losses["cls"] == "focal(gamma=3)" else 0.1

    chosen, _ = run(field, ap)
    scores = {
        t.key: t.score("ok", {"status": "ok", "metrics": {"ap": ap(t)}}, "", 1.0) for t in PLAN.final(chosen)
    }
    result = conclude(chosen, PLAN, scores)
    assert "focal + giou (focal(gamma=3), box weight" in result.verdict
    assert "tuned alike)" in result.verdict
    assert [one["trainings"] for one in result.to_dict()["baselines"]] == [16]
    uneven = conclude([replace(chosen[0], trainings=3), chosen[1]], PLAN, scores)
    assert "tuned by 3 to 16 trainings)" in uneven.verdict
