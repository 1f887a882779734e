"""The audit's arithmetic, on scores made up by the test: who is tuned, who is chosen, what is claimed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest

from cse_autoloss.bench.audit import AuditPlan, Contestant, conclude, tune
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.tuning import Axis
from cse_autoloss.runs import Score
from cse_autoloss.tasks.protocol import Metric

PLAN = AuditPlan(
    metric=Metric("ap", title="AP"), task="t", seeds=(30, 31, 32, 33, 34),
    space=(Axis("box_weight", 1.0, 0.25, 8.0), Axis("lr", 0.05, 0.02, 0.05)), tries=6,
    tune_epochs=2, tune_seeds=(20, 21), epochs=4, resamples=2000,
)  # fmt: skip


def losses(cls: str, reg: str) -> LossSet:
    return LossSet.of({"cls": cls, "reg": reg})


CONTESTANTS = [
    Contestant("discovered 1", losses("f1", "g1"), True),
    Contestant("discovered 2", losses("f2", "g2"), True),
    Contestant("bce + giou", losses("bce", "giou"), False),
    Contestant("focal-1 + giou", losses("focal-1", "giou"), False),
]


def scores(trainings: Sequence[Training], ap: Callable[[Training], float | None]) -> dict[str, Score]:
    found = {}
    for training in trainings:
        value = ap(training)
        answer = {"status": "ok", "metrics": {"ap": value}} if value is not None else {}
        found[training.key] = training.score("ok" if value is not None else "crashed", answer, "", 1.0)
    return found


def settled(ap: Callable[[Training], float | None]) -> list[Contestant]:
    return tune(CONTESTANTS, PLAN, partial(scores, ap=ap))


def test_everyone_gets_the_same_tuning_on_validation() -> None:
    tuning = PLAN.tuning(CONTESTANTS, {})
    tried = {
        one.name: sorted(t.losses.settings for t in tuning if t.losses["cls"] == one.losses["cls"])
        for one in CONTESTANTS
    }
    assert len({tuple(v) for v in tried.values()}) == 1
    assert {t.split for t in tuning} == {"val"}
    assert {t.split for t in PLAN.final(CONTESTANTS)} == {"test"}
    assert not {t.seed for t in tuning} & set(PLAN.seeds)


def test_a_box_loss_in_other_units_is_tuned_over_the_same_span_in_its_own() -> None:
    pixels = Contestant("bce + l1", losses("bce", "l1"), False, units=(("box_weight", 1 / 32),))
    weights = [t.losses.tuned["box_weight"] for t in PLAN.tuning([pixels, CONTESTANTS[2]], {})]
    half = len(weights) // 2
    assert weights[:half] == [weight / 32 for weight in weights[half:]]


def test_a_plan_may_end_on_validation() -> None:
    plan = replace(PLAN, split="val")
    assert {t.split for t in plan.final(CONTESTANTS)} == {"val"}


def test_the_best_point_of_each_is_taken() -> None:
    tried: dict[str, list[Training]] = {}

    def ap(t: Training) -> float:
        tried.setdefault(t.losses.name, []).append(t)
        return math.log(t.losses.tuned["box_weight"]) * (-1 if t.losses["cls"] == "bce" else 1)

    for one in settled(ap):
        weights = [t.losses.tuned["box_weight"] for t in tried[one.losses.name]]
        wanted = min(weights) if one.name.startswith("bce") else max(weights)
        assert one.losses.tuned["box_weight"] == wanted


def test_a_tuning_that_time_cut_short_still_chooses() -> None:
    chosen = tune(CONTESTANTS, PLAN, lambda trainings: scores(trainings[:1], lambda t: 0.5))
    assert chosen[0].losses.tuned["box_weight"] == 1.0
    assert chosen[0].val == 0.5


def test_validation_chooses_the_winner_and_test_chooses_the_rival() -> None:
    chosen = settled(lambda t: {"f1": 0.5, "f2": 0.6, "bce": 0.55, "focal-1": 0.2}[t.losses["cls"]])
    test_ap = {"f1": 0.9, "f2": 0.5, "bce": 0.3, "focal-1": 0.4}
    result = conclude(chosen, PLAN, scores(PLAN.final(chosen), lambda t: test_ap[t.losses["cls"]]))
    assert result.best is not None
    assert result.rival is not None
    assert result.gain is not None
    assert result.best.name == "discovered 2"
    assert result.rival.name == "focal-1 + giou"
    assert result.gain.mean == pytest.approx(0.1)
    assert result.verdict.startswith("Better than the best baseline, focal-1 + giou (the best of 2, ")


@pytest.mark.parametrize(
    ("shift", "words"), [(0.0, "No better than"), (-0.2, "Worse than"), (0.2, "Better than")]
)
def test_the_verdict_is_honest(shift: float, words: str) -> None:
    chosen = settled(lambda t: 0.5)
    noise = dict(zip(PLAN.seeds, (0.01, -0.02, 0.02, 0.0, -0.01), strict=True))
    final = scores(
        PLAN.final(chosen),
        lambda t: (
            0.5
            + (
                shift + noise[t.seed]
                if t.losses["cls"].startswith("f") and t.losses["cls"] != "focal-1"
                else 0.0
            )
        ),
    )
    result = conclude(chosen, PLAN, final)
    assert result.verdict.startswith(words)
    assert result.noise_floor > 0


def test_a_training_that_failed_counts_as_nothing_learnt() -> None:
    chosen = settled(lambda t: 0.5)
    final = scores(PLAN.final(chosen), lambda t: None if (t.losses["cls"], t.seed) == ("f1", 30) else 0.5)
    result = conclude(chosen, PLAN, final)
    found = {one.name: one.test for one in result.contestants}
    assert found["discovered 1"] == (0.0, 0.5, 0.5, 0.5, 0.5)


def test_unfinished_seeds_are_left_out_for_everyone_and_said() -> None:
    chosen = settled(lambda t: 0.5)
    final = scores(PLAN.final(chosen), lambda t: 0.5)
    last = [t for t in PLAN.final(chosen) if t.seed == 34][-1]
    del final[last.key]
    result = conclude(chosen, PLAN, final)
    assert result.seeds == 4
    assert {len(one.test) for one in result.contestants} == {4}
    assert "1 of 5 seeds" in result.notes[0]


def test_without_a_winner_or_without_scores_nothing_is_claimed() -> None:
    baselines = [one for one in settled(lambda t: 0.5) if not one.discovered]
    final = scores(PLAN.final(baselines), lambda t: 0.5)
    assert "found no loss" in conclude(baselines, PLAN, final).verdict
    assert "nothing is claimed" in conclude(settled(lambda t: 0.5), PLAN, {}).verdict
