"""The tuning of contestants: one space, one optimiser, as many trainings for everyone, whatever there is to tune."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from cse_autoloss.bench.audit import AuditPlan, Contestant, conclude, tune
from cse_autoloss.bench.audit_words import tuned
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.tuning import Axis, Trial, best, default, due, repeats
from cse_autoloss.runs import Score
from cse_autoloss.tasks.protocol import Metric

WEIGHT, RATE = Axis("box_weight", 2.0, 0.5, 16.0), Axis("lr", 0.1, 0.02, 0.2)
PLAN = AuditPlan(
    metric=Metric("ap"), task="t", seeds=(30, 31), space=(WEIGHT, RATE), tries=12,
    tune_epochs=1, tune_seeds=(20, 21), epochs=1, resamples=100,
)  # fmt: skip


def contestant(cls: str, reg: str = "giou", *, discovered: bool = False) -> Contestant:
    return Contestant(f"{cls} + {reg}", LossSet.of({"cls": cls, "reg": reg}), discovered)


FIELD = [
    contestant("Neg(Log(Sig(Mul(Sub(PY,NY),X))))", discovered=True),  # rate and weight alone
    contestant("focal"),  # one inner parameter
    contestant("asymmetric", "smooth-l1"),  # four, in two slots
    contestant("focal(gamma=1)"),  # held by whoever named it
]


def run(
    field: Sequence[Contestant], ap: Callable[[Training], float], plan: AuditPlan = PLAN
) -> tuple[list[Contestant], list[Training], list[int]]:
    """The contestants after their tuning, all trainings of it, and how many there were in each round."""
    asked: list[Training] = []
    rounds: list[int] = []

    def train(trainings: list[Training]) -> dict[str, Score]:
        asked.extend(trainings)
        rounds.append(len(trainings))
        return {t.key: t.score("ok", {"status": "ok", "metrics": {"ap": ap(t)}}, "", 1.0) for t in trainings}

    return tune(field, plan, train), asked, rounds


def peaked(training: Training) -> float:
    """Best at weight 6 and rate 0.05, with a seed's luck."""
    weight, rate = (math.log(training.losses.tuned[n]) for n in ("box_weight", "lr"))
    luck = 0.01 * math.sin(1e4 * weight + 1e5 * rate + training.seed)
    return 0.6 - 0.1 * (weight - math.log(6)) ** 2 - 0.1 * (rate - math.log(0.05)) ** 2 + luck


def test_everyone_gets_the_same_number_whatever_there_is_to_tune() -> None:
    chosen, asked, rounds = run(FIELD, peaked)
    assert [one.trainings for one in chosen] == [12] * 4
    assert len({t.key for t in asked}) == len(asked) == 48
    # Nine points, and the three best of them once more.
    assert rounds == [4 * 9, 4 * 3]
    assert tuned(chosen) == "tuned alike, 12 trainings each"
    for one in FIELD:
        own = [t for t in asked if one.owns(t.losses)]
        assert own[0].losses == one.losses.with_settings({"box_weight": 2.0, "lr": 0.1})


def test_what_a_name_states_is_held_and_all_else_is_tuned_within_its_span() -> None:
    _, asked, _ = run(FIELD, peaked)
    held = {t.losses["cls"] for t in asked if t.losses["cls"].startswith("focal(gamma=1)")}
    assert held == {"focal(gamma=1)"}
    assert len({t.losses["cls"] for t in asked if t.losses["reg"].startswith("smooth-l1")}) > 5
    assert len({t.losses["reg"] for t in asked if t.losses["reg"].startswith("smooth-l1")}) > 5
    for training in asked:
        assert WEIGHT.low <= training.losses.tuned["box_weight"] <= WEIGHT.high
        assert RATE.low <= training.losses.tuned["lr"] <= RATE.high


def test_the_best_points_have_two_seeds_and_their_mean_chooses() -> None:
    (chosen,), asked, _ = run(FIELD[:1], peaked)
    twice = [t for t in asked if t.seed == 21]
    first = sorted((t for t in asked if t.seed == 20), key=peaked, reverse=True)
    assert {t.losses for t in twice} == {t.losses for t in first[:3]}
    means = {t.losses: (peaked(t) + peaked(replace(t, seed=20))) / 2 for t in twice}
    assert chosen.losses == max(means, key=lambda losses: means[losses])
    assert chosen.val == pytest.approx(max(means.values()))


def test_each_axis_is_tried_from_end_to_end() -> None:
    axes = (WEIGHT, RATE, Axis("gamma", 2, 0, 5, log=False))
    points = [trial.point for trial in due(axes, 16, {})]
    for place, axis in enumerate(axes):
        values = sorted(point[place] for point in points)
        assert len(set(values)) > 9
        assert values[1] <= axis.value(0.2)
        assert values[-2] >= axis.value(0.8)


def test_the_same_whatever_comes_back_at_a_time() -> None:
    """A run killed after any training, whose store gives what it has, ends with the same trainings."""
    axes = (WEIGHT, RATE)

    def worth(trial: Trial) -> float:
        return math.sin(7 * trial.point[0]) + trial.point[1] + 0.1 * trial.seed

    def done(at_a_time: int) -> dict[Trial, float]:
        worths: dict[Trial, float] = {}
        while wanted := due(axes, 14, worths):
            worths |= {one: worth(one) for one in wanted[:at_a_time]}
        return worths

    whole = done(100)
    assert len(whole) == 14
    assert done(1) == done(2) == whole


def test_a_space_of_few_points_is_tried_whole_and_once() -> None:
    whole = Axis("order", 2, 1, 4, log=False, whole=True)
    worths: dict[Trial, float] = {}
    while wanted := due((whole,), 6, worths):
        worths |= {one: -abs(one.point[0] - 3) for one in wanted}
    assert {one.point for one in worths} == {(1,), (2,), (3,), (4,)}
    assert best((whole,), 6, worths) == ((3,), 0)
    held = Axis("lr", 0.1, 0.1, 0.1)
    assert due((held,), 16, {Trial((0.1,), 0): 1.0}) == due((), 16, {Trial((), 0): 1.0}) == []


def test_one_training_takes_the_default_and_is_no_tuning() -> None:
    (chosen,), asked, _ = run(FIELD[1:2], peaked, replace(PLAN, tries=1))
    assert len(asked) == 1
    assert chosen.losses.tuned == {"box_weight": 2.0, "lr": 0.1}
    assert chosen.val == pytest.approx(peaked(asked[0]))
    assert tuned([chosen]) == "none tuned"


def test_few_trainings_leave_none_for_a_second_seed() -> None:
    assert [repeats(n) for n in (1, 3, 4, 7, 8, 16, 24)] == [0, 0, 1, 1, 2, 4, 6]


def test_an_axis_has_its_ends_and_two_digits() -> None:
    for axis in (WEIGHT, RATE, Axis("gamma", 2, 0, 5, log=False)):
        assert (axis.value(0.0), axis.value(1.0)) == (axis.low, axis.high)
    assert WEIGHT.value(0.5) == 2.8
    assert Axis("order", 2, 1, 8, log=False, whole=True).value(0.5) == 4
    assert default((WEIGHT, RATE)) == (2.0, 0.1)


def test_a_tuning_that_was_cut_short_is_not_called_alike() -> None:
    calls = 0

    def train(trainings: list[Training]) -> dict[str, Score]:
        nonlocal calls
        calls += 1
        done = trainings if calls == 1 else trainings[:3]
        return {t.key: t.score("ok", {"status": "ok", "metrics": {"ap": 0.2}}, "", 1.0) for t in done}

    chosen = tune(FIELD, PLAN, train)
    assert calls == 2
    assert tuned(chosen) == "tuned by 9 to 12 trainings"


def test_verdict_and_summary_tell_the_tuning() -> None:
    field = [FIELD[0], contestant("focal")]

    def ap(training: Training) -> float:
        return 0.4 if training.losses["cls"].startswith("focal(") else 0.1

    chosen, _, _ = run(field, ap)
    scores = {
        t.key: t.score("ok", {"status": "ok", "metrics": {"ap": ap(t)}}, "", 1.0) for t in PLAN.final(chosen)
    }
    result = conclude(chosen, PLAN, scores)
    assert f"focal + giou (the only one, {chosen[1].losses['cls']}, box weight" in result.verdict
    assert "tuned alike, 12 trainings each)" in result.verdict
    assert [one["trainings"] for one in result.to_dict()["baselines"]] == [12]
    uneven = conclude([replace(chosen[0], trainings=3), chosen[1]], PLAN, scores)
    assert "tuned by 3 to 12 trainings)" in uneven.verdict
