"""What an audit may claim: on fresh draws of data, with test unread until then, and nothing where nothing learned."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from task_samples import TINY

import cse_autoloss
from cse_autoloss.bench import worker
from cse_autoloss.bench.audit import AuditPlan, Contestant, conclude
from cse_autoloss.bench.audit_words import gain_text
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.statistics import Interval
from cse_autoloss.compare.result import compare_scores
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.settings.tasks.classification import ClassificationSettings
from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.settings.tasks.regression import RegressionSettings
from cse_autoloss.tasks import regression
from cse_autoloss.tasks.classification import ClassificationTask
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.handwriting import FORMS, handwriting_parts, load_handwriting
from cse_autoloss.tasks.protocol import DRAWN, Metric
from cse_autoloss.tasks.regression import RegressionTask
from cse_autoloss.tasks.tables import Table

PLAN = AuditPlan(
    metric=Metric("ap", title="AP"), task="t", seeds=(30, 31, 32, 33, 34, 35), space=(), tries=1, tune_epochs=1,
    tune_seeds=(20, 21), epochs=2, draws=3,
)  # fmt: skip
CONTESTANTS = [
    Contestant("discovered 1", LossSet.of({"loss": "f"}), True, val=0.5),
    Contestant("bce", LossSet.of({"loss": "bce"}), False),
]


def _scores(ap: Any, plan: AuditPlan = PLAN) -> dict[str, Score]:
    return {
        t.key: t.score("ok", {"status": "ok", "metrics": {"ap": ap(t)}}, "", 1.0)
        for t in plan.final(CONTESTANTS)
    }


# -- draws ------------------------------------------------------------------------------------------------------


def test_seed_i_trains_and_is_tested_on_draw_i_and_all_contestants_on_the_same() -> None:
    final = PLAN.final(CONTESTANTS)
    assert [t.draw for t in final[::2]] == [1, 2, 3, 1, 2, 3]
    assert [t.draw for t in final[::2]] == [t.draw for t in final[1::2]]
    assert {t.draw for t in PLAN.tuning(CONTESTANTS, {})} == {0}
    assert {t.draw for t in replace(PLAN, draws=0).final(CONTESTANTS)} == {0}
    assert len({t.key for t in final}) == len(final)
    plain = Training("audit", CONTESTANTS[0].losses, 1, 2.0)
    assert plain.key != replace(plain, draw=1).key


def test_seeds_that_share_a_draw_are_one_value() -> None:
    """What a draw does to a gain is no less uncertain for being trained twice."""
    gain = {1: 0.10, 2: 0.02, 3: 0.03}
    found = conclude(CONTESTANTS, PLAN, _scores(lambda t: 0.5 + gain[t.draw] * (t.losses["loss"] == "f")))
    assert found.draws == 3
    assert found.gain is not None
    reach = 4.303 * np.std(list(gain.values()), ddof=1) / math.sqrt(3)
    assert found.gain.low == pytest.approx(found.gain.mean - reach, rel=1e-3)
    assert found.verdict.startswith("No better")
    assert "6 paired seeds on 3 fresh draws of the data" in found.verdict
    # Of two losses the noise floor is the standard error of that gain.
    assert found.noise_floor == pytest.approx(np.std(list(gain.values()), ddof=1) / math.sqrt(3))


def test_draws_are_none_that_a_run_can_ask_for_and_keep_apart_what_must_stay_apart() -> None:
    task = DetectionTask(DetectionSettings(faults={"unlabelled": 0.3}))
    drawn = [task.drawn(draw) for draw in (1, 2)]
    seeds = {one.scenes.seed for one in drawn if one} | {one.faults.seed for one in drawn if one}
    assert len(seeds) == 2
    assert min(seeds) > DRAWN
    assert DetectionTask(DetectionSettings(data="coco:somewhere")).drawn(1) is None
    assert RegressionTask(RegressionSettings(outliers=0.0)).drawn(1) is None
    assert ClassificationTask(ClassificationSettings()).drawn(1) is None
    plain, fresh = (RegressionTask(RegressionSettings(outliers=0.3, draw=draw)).splits for draw in (0, 1))
    assert np.array_equal(plain["test"].target, fresh["test"].target)
    assert np.array_equal(plain["train"].features, fresh["train"].features)
    assert not np.array_equal(plain["train"].target, fresh["train"].target)
    noisy = [ClassificationTask(ClassificationSettings(label_noise=0.4, draw=draw)).splits for draw in (0, 1)]
    assert np.array_equal(noisy[0].test.pixels, noisy[1].test.pixels)
    assert not np.array_equal(noisy[0].train.labels, noisy[1].train.labels)


def test_digits_are_split_by_the_forms_that_people_filled_in() -> None:
    digits, labels = load_handwriting()
    parts = handwriting_parts(len(digits))
    assert [len(part) for part in parts] == [915, 372, 510]
    assert {int(part[0]) for part in parts} <= set(FORMS)
    # Every form begins with the same row of digits, one of which may be missing.
    row = list(range(10)) * 2
    for start in FORMS:
        own = labels[start : start + 20].tolist()
        assert sum(a == b for a, b in zip(own, row, strict=True)) >= 16
    for part in parts:
        assert set(labels[part]) == set(range(10))


# -- claims -----------------------------------------------------------------------------------------------------


def test_where_nothing_learned_there_is_no_verdict() -> None:
    nothing = conclude(CONTESTANTS, PLAN, _scores(lambda t: 0.0))
    assert nothing.verdict.startswith("Nothing learned")
    failed = {t.key: t.score("crashed", {}, "", 1.0) for t in PLAN.final(CONTESTANTS)}
    assert conclude(CONTESTANTS, PLAN, failed).verdict.startswith("Nothing learned")
    one = conclude(CONTESTANTS, PLAN, _scores(lambda t: 0.1 * (t.losses["loss"] == "f")))
    assert one.verdict.startswith("Better")


def test_no_share_is_told_below_0_or_above_1() -> None:
    ap = dict(zip(PLAN.seeds, (0.0, 0.9, 0.0, 0.9, 0.0, 0.9), strict=True))
    plan = replace(PLAN, draws=0)
    found = conclude(CONTESTANTS, plan, _scores(lambda t: ap[t.seed], plan))
    interval = found.interval(found.contestants[0])
    assert (interval.low, interval.high < 1) == (0.0, True)
    assert plan.interval([0.9, 1.0, 1.0]).high == 1.0
    assert plan.interval([30.0, 31.0], Metric("psnr", factor=1.0)).high > 32
    # A figure that a user calls a share and is none is not cut below what was seen.
    assert plan.interval([30.0, 31.0]).high >= 30.5


MANY = [
    Contestant("first", LossSet.of({"loss": "f"}), True, val=0.5),
    *(Contestant(f"known {i}", LossSet.of({"loss": f"k{i}"}), False) for i in range(6)),
]
"""Against `first`, `known 0` has p = 0.02 alone: by Holm's correction for six, 0.1."""
WOBBLE = dict(zip(range(30, 36), (0.0, 0.02, 0.0, 0.01, 0.02, 0.0), strict=True))
APART = replace(PLAN, draws=0)


def _lone(t: Training) -> float:
    """All are equal but for chance; `known 0` is a little ahead, by its interval alone for sure."""
    number = int(t.losses["loss"][1:] or -1)
    turn = WOBBLE[30 + (t.seed + number) % 6] if number > 0 else 0.0
    return 0.5 + (0.85 * WOBBLE[t.seed] + 0.002 if number == 0 else turn - 0.008 if number > 0 else 0.0)


def _all(contestants: Any, plan: AuditPlan, ap: Any) -> dict[str, Score]:
    answers = {t.key: (t, {"status": "ok", "metrics": {"ap": ap(t)}}) for t in plan.final(contestants)}
    return {key: t.score("ok", answer, "", 1.0) for key, (t, answer) in answers.items()}


def test_an_audit_tells_whom_the_find_is_apart_from_and_corrects_for_their_number() -> None:
    told = conclude(MANY, APART, _all(MANY, APART, _lone)).to_dict()
    alone = conclude(MANY[:2], APART, _all(MANY[:2], APART, _lone)).to_dict()
    (found,), (first, *_) = told["winners"], told["baselines"]
    assert (found["best_gain"], found["told_apart"]) == (None, None)
    assert first["best_gain"]["high"] < 0
    assert first["told_apart"] is False
    assert alone["baselines"][0]["told_apart"] is True
    # Where six seeds are on three draws, there are three values.
    drawn = conclude(MANY[:2], PLAN, _all(MANY[:2], PLAN, _lone)).to_dict()
    assert drawn["baselines"][0]["best_gain"]["low"] < first["best_gain"]["low"]


def test_a_comparison_calls_nobody_ahead_whom_its_table_does_not() -> None:
    metrics = (APART.metric,)
    many, two = (
        compare_scores(some, APART, _all(some, APART, _lone), metrics, about={"what": "made up"})
        for some in (MANY, MANY[:2])
    )
    assert two.verdict == "Ahead of first: known 0 (6 paired seeds)."
    assert many.verdict.startswith("Not told apart from first: known 0, ")
    assert many.verdict.endswith("(6 paired seeds, Holm's correction for 6 comparisons).")
    told = many.to_dict()
    assert told["verdict"] == many.verdict
    assert [one["told_apart"] for one in told["losses"]] == [None, *[False] * 6]
    nothing = compare_scores(MANY, APART, _all(MANY, APART, lambda t: 0.0), metrics, about={})
    assert nothing.verdict.startswith("Nothing learned")
    one = replace(APART, seeds=(30,))
    assert compare_scores(MANY, one, _all(MANY, one, _lone), metrics, about={}).verdict.startswith("One seed")


# -- leakage ----------------------------------------------------------------------------------------------------


class Sealed(Table):
    """A test split that may be read once the audit has begun."""

    open = False

    def __getattribute__(self, name: str) -> Any:
        if name in ("features", "target") and not Sealed.open:
            raise AssertionError("the test split was read before the audit")
        return super().__getattribute__(name)


SMALLEST = {
    **TINY,
    "generations": 1,
    "evolution__offspring": 2,
    "evolution__scouts": 100,
    "audit__baselines": 1,
}


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = regression.split_table

    def split(*arguments: Any) -> dict[str, Table]:
        parts = plain(*arguments)
        return {**parts, "test": Sealed(parts["test"].features, parts["test"].target)}

    monkeypatch.setattr(regression, "split_table", split)
    monkeypatch.setattr(Sealed, "open", False)
    final = AuditPlan.final

    def opened(plan: AuditPlan, contestants: Any) -> list[Training]:
        Sealed.open = True
        return final(plan, contestants)

    monkeypatch.setattr(AuditPlan, "final", opened)


def test_a_search_reads_no_test_data_before_the_audit(sealed: None, tmp_path: Path) -> None:
    result = cse_autoloss.evolve("regression", config="regression", out=tmp_path / "run", **SMALLEST)
    assert result.summary["status"] == "finished"
    assert result.summary["best"]["test"]["mean"] < 10.0
    with RunStore.read(tmp_path / "run") as store:
        scores = store.scores()
        assert {one.purpose for one in scores if one.status != "ok"} <= {"proxy", "rung"}
        assert {one.purpose for one in scores if one.split == "test"} == {"audit"}
    assert result.summary["verdict"].count("2 fresh draws")


def test_a_search_that_reads_test_data_is_found_out(
    sealed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seal bites: where candidates are scored on test, none of their trainings comes to an end."""
    honest = worker._KINDS["train"]
    monkeypatch.setitem(
        worker._KINDS, "train", lambda context, job: honest(context, {**job, "split": "test"})
    )
    with pytest.raises(Exception, match="read before the audit"):
        cse_autoloss.evolve("regression", config="regression", out=tmp_path / "run", **SMALLEST)


@pytest.mark.parametrize(
    ("higher", "gain", "words"),
    [
        (True, Interval(0.02, -0.01, 0.05), "+0.02 v [-0.01, +0.05]"),
        (True, Interval(-0.02, -0.05, -0.01), "-0.02 v [-0.05, -0.01]"),
        (False, Interval(0.02, 0.01, 0.05), "+0.02 less v [+0.01, +0.05]"),
        (False, Interval(-0.02, -0.05, 0.01), "+0.02 more v [-0.01, +0.05]"),
        (False, Interval(-0.02, math.nan, math.nan), "+0.02 more v"),
    ],
)
def test_what_is_better_lower_is_told_without_a_double_negative(
    higher: bool, gain: Interval, words: str
) -> None:
    assert gain_text(Metric("v", higher, factor=1.0, digits=2, worst=0.0), gain) == words
