"""The weight of negatives: what it does to a loss, whose tuning has it, and that it is trained, proved and exported."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import cse_autoloss
from cse_autoloss.bench.audit import AuditPlan, Contestant, conclude, tune
from cse_autoloss.bench.audit_words import tuned
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.negatives import negatives_told
from cse_autoloss.bench.session import Session
from cse_autoloss.bench.tuning import Axis
from cse_autoloss.certify import certificate_of
from cse_autoloss.errors import AutoLossError, ConfigError
from cse_autoloss.losses import CATALOGUE, GraphLoss, load_loss, open_parameters, with_parameters
from cse_autoloss.losses.catalogue import is_point_of
from cse_autoloss.losses.negatives import NEGATIVES, weighted
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.settings.load import load_config
from cse_autoloss.tasks.protocol import Metric
from cse_autoloss.tasks.registry import section_of

BCE = "Neg(Log(Sig(Mul(Sub(PY,NY),X))))"
OWN = {"quality-square", "quality-hill", "quality-gce", "varifocal"}
WEIGHED = [name for name in CATALOGUE if open_parameters(name, negatives=True)[-1:] == (NEGATIVES,)]

PLAN = AuditPlan(
    metric=Metric("ap"), task="t", seeds=(30, 31), space=(Axis("lr", 0.1, 0.02, 0.2),), tries=12,
    tune_epochs=1, tune_seeds=(20, 21), epochs=1, resamples=100, sigmoids=("cls",), negatives=NEGATIVES.span,
)  # fmt: skip


def contestant(cls: str, *, discovered: bool = False) -> Contestant:
    return Contestant(cls, LossSet.of({"cls": cls, "reg": "giou"}), discovered)


FIELD = [
    replace(contestant(BCE, discovered=True), name="discovered 1"),
    contestant("bce"),
    contestant("focal"),
    contestant("bce(negative_weight=3)"),
    contestant("quality-gce"),
    contestant("rank-sort"),
]


def elements(text: str, alpha: float | None = None) -> torch.Tensor:
    """Its elements (40, 3) at random logits; a quarter of the samples is background."""
    random = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn(40, 3, generator=random, dtype=torch.float64)
    target = torch.randint(4, (40,), generator=random)
    quality = torch.rand(40, generator=random, dtype=torch.float64)
    loss = load_loss(text, "cls-binary", reduction="none", **({} if alpha is None else {"alpha": alpha}))
    values: torch.Tensor = loss(logits, target, quality)
    return values


def positive() -> torch.Tensor:
    target = torch.randint(4, (40,), generator=_past_logits())
    return torch.nn.functional.one_hot(target, 4)[:, :3].bool()


def _past_logits() -> torch.Generator:
    random = torch.Generator().manual_seed(3)
    torch.randn(40, 3, generator=random, dtype=torch.float64)
    return random


@pytest.mark.parametrize("name", WEIGHED)
def test_negatives_count_as_often_as_the_weight_says_and_positives_as_before(name: str) -> None:
    plain, there = elements(name), positive()
    for weight in (0.4, 7.0):
        wanted = torch.where(there, plain, weight * plain)
        torch.testing.assert_close(elements(f"{name}(negative_weight={weight})"), wanted)
    formula = CATALOGUE[name].formula
    assert formula is not None
    assert (
        with_parameters(formula, {"negative_weight": 0.4})
        == CATALOGUE[f"{name}(negative_weight=0.4)"].formula
    )
    assert with_parameters(formula, {"negative_weight": 1.0}) == formula


def test_alpha_and_the_weight_are_two_factors() -> None:
    there = positive()
    wanted = torch.where(there, 0.25, 0.75 * 2) * elements(BCE)
    torch.testing.assert_close(elements(weighted(BCE, 2), alpha=0.25), wanted)


def test_who_can_be_weighed_and_who_has_a_weight_already() -> None:
    binary = {one.name for one in CATALOGUE.values() if one.signature.name == "cls-binary"}
    assert set(WEIGHED) == binary - OWN - {"rank-sort", "ap-loss", "alrp"}
    for text in (*OWN, "rank-sort", "giou", "cross-entropy", "bce(negative_weight=2)", '{"space": "ap"}'):
        assert NEGATIVES not in open_parameters(text, negatives=True)
    assert open_parameters(BCE, negatives=True) == (NEGATIVES,)
    assert open_parameters(BCE) == open_parameters("bce") == ()
    assert [one.name for one in open_parameters("focal", negatives=True)] == ["gamma", "negative_weight"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quality-gce(negative_weight=2)", "unknown parameter of quality-gce 'negative_weight'"),
        ("giou(negative_weight=2)", "giou has no parameters"),
        ("bce(negative_weight=0)", "bce: negative_weight: expected a number from 0.001 to 1000, got '0'"),
        ("focal(negative_weight=1, gama=2)", "unknown parameter of focal 'gama'; did you mean 'gamma'"),
    ],
)
def test_a_weight_that_a_loss_cant_have_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(AutoLossError, match=message) as caught:
        load_loss(text)
    assert "\n" not in str(caught.value)


def test_a_point_is_known_as_its_loss() -> None:
    points = {
        BCE: weighted(BCE, 0.4), "bce": "bce(negative_weight=0.4)",
        "focal(gamma=1)": "focal(gamma=1, negative_weight=0.4)",
    }  # fmt: skip
    for loss, point in points.items():
        assert [is_point_of(point, other) for other in points] == [loss == other for other in points]
    assert not is_point_of("focal(gamma=12)", "focal(gamma=1)")


def run(field: Sequence[Contestant], plan: AuditPlan = PLAN) -> tuple[list[Contestant], list[Training]]:
    """After a tuning in which negatives count best 2.5 times; and all its trainings."""
    asked: list[Training] = []

    def train(trainings: list[Training]) -> dict[str, Score]:
        asked.extend(trainings)
        return {
            t.key: t.score("ok", {"status": "ok", "metrics": {"ap": worth(t)}}, "", 1.0) for t in trainings
        }

    return tune(field, plan, train), asked


def worth(training: Training) -> float:
    text = training.losses["cls"]
    loss = load_loss(text, "cls-binary", reduction="none")
    if not isinstance(loss, GraphLoss):
        return 0.1
    down, up = torch.tensor([[-1.0]]), torch.tensor([[1.0]])
    share = loss(down, torch.tensor([1])) / loss(up, torch.tensor([0]))
    return 0.5 - 0.1 * abs(math.log(float(share) / 2.5))


def test_who_has_no_weight_of_its_own_is_tuned_over_one_with_as_many_trainings() -> None:
    chosen, asked = run(FIELD)
    assert [one.trainings for one in chosen] == [12] * 6
    assert tuned(chosen) == "tuned alike, 12 trainings each"
    texts = {one.name: one.losses["cls"] for one in chosen}
    # Nine points of a Sobol' sequence come within a factor of two of the best weight.
    assert 1.25 <= dict(chosen[0].inner)["negative_weight"] <= 5
    assert texts["discovered 1"] == weighted(BCE, dict(chosen[0].inner)["negative_weight"])
    assert texts["bce"].startswith("bce(negative_weight=")
    assert texts["bce(negative_weight=3)"] == "bce(negative_weight=3)"
    assert "negative_weight" not in texts["quality-gce"]
    assert texts["rank-sort"] == "rank-sort"
    for one in FIELD:
        own = [t for t in asked if one.owns(t.losses)]
        assert own[0].losses.losses == one.losses.losses  # the first point is the default: a weight of 1


def test_without_the_option_nothing_is_weighed() -> None:
    chosen, asked = run(FIELD, replace(PLAN, negatives=None))
    held = "bce(negative_weight=3)"
    assert not [t for t in asked if "negative_weight" in t.losses["cls"].replace(held, "")]
    assert chosen[0].losses["cls"] == BCE
    assert chosen[0].inner == ()


def test_its_range_is_that_of_the_settings() -> None:
    asked = {"audit.negative_weight": True, "audit.ranges": {"negative_weight": (0.5, 2.0), "lr": (1, 1)}}
    session = Session(load_config("detection", asked, section_of))
    assert session.negatives == (0.5, 2.0)
    assert [axis.name for axis in session.space()] == ["box_weight", "lr"]
    chosen, trained = run(FIELD, replace(PLAN, negatives=session.negatives))
    weights = {with_parameters(BCE, {"negative_weight": w}) for w in (0.2, 0.4, 3.0)}
    assert not weights & {t.losses["cls"] for t in trained}
    assert 0.5 <= dict(chosen[0].inner).get("negative_weight", 1.0) <= 2.0
    assert "0.5 to 2 times" in negatives_told(chosen, ("cls",), session.negatives)[0]
    # A span without 1 begins at its nearer end.
    chosen, trained = run(FIELD[:1], replace(PLAN, negatives=(2.0, 4.0)))
    assert trained[0].losses["cls"] == weighted(BCE, 2.0)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"audit.ranges": {"negative_weight": (0.5, 2)}}, "set audit.negative_weight: true, too"),
        (
            {"audit.ranges": {"negative": (0.5, 2)}, "audit.negative_weight": True},
            "did you mean 'negative_weight'",
        ),
        (
            {"audit.ranges": {"negative_weight": (1e-5, 2)}, "audit.negative_weight": True},
            "expected factors from 0.001 to 1000, got 1e-05 to 2",
        ),
    ],
)
def test_a_range_of_what_is_not_tuned_is_one_clear_line(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(AutoLossError, match=words):
        Session(load_config("detection", asked, section_of))


def test_a_study_tunes_it_where_asked() -> None:
    """The value is best where a negative's loss at a logit of 1 is 2.5 times a positive's at -1."""

    def value(loss: Any, seed: int = 0) -> float:
        down, up = (
            float(loss(torch.tensor([[logit]]), torch.tensor([target]), torch.ones(1)))
            for logit, target in ((-1.0, 0), (1.0, 1))
        )
        return -abs(math.log(max(up, 1e-9) / max(down, 1e-9) / 2.5))

    with cse_autoloss.Study("cls-binary", settings={"evolution.scouts": 200}) as study:
        study.optimize(value, trials=6)
        found = study.audit(
            value, against=[BCE, "quality-gce"], seeds=3, validate=value, negative_weight=True
        ).result
        plain = next(one for one in found.contestants if one.name == BCE)
        assert 1.8 < dict(plain.inner)["negative_weight"] < 3.4
        assert "the weight of negatives was tuned, 0.1 to 10 times" in found.tuning[0]
        with pytest.raises(ConfigError, match="expected validate, which it is tuned by"):
            study.audit(value, negative_weight=True)
    with cse_autoloss.Study("regression") as study, pytest.raises(ConfigError, match="not regression"):
        study.audit(value, negative_weight=True, validate=value)


def test_the_report_tells_for_whom_it_was_tuned() -> None:
    chosen, _ = run(FIELD)
    scores = {
        t.key: t.score("ok", {"status": "ok", "metrics": {"ap": worth(t)}}, "", 1.0)
        for t in PLAN.final(chosen)
    }
    result = conclude(chosen, PLAN, scores)
    assert result.tuning == (
        "the weight of negatives was tuned, 0.1 to 10 times, but for some: quality-gce has one of its own, "
        "bce(negative_weight=3) has it held, rank-sort is no loss of single elements",
    )
    assert result.to_dict()["tuning"] == list(result.tuning)
    found = result.to_dict()["winners"][0]
    assert found["inner"] == dict(chosen[0].inner)
    off = conclude(chosen, replace(PLAN, negatives=None), scores)
    assert off.tuning == (
        "the weight of negatives was not tuned but for quality-gce, which has one of its own; "
        "audit.negative_weight tunes everyone's",
    )
    assert negatives_told(chosen, (), NEGATIVES.span) == []
    assert conclude(chosen, replace(PLAN, tries=1), scores).tuning == ()


def test_a_weighed_loss_is_certified_as_the_loss_it_is() -> None:
    for formula, outcome in ((BCE, "proved"), (f"Mul({BCE},Sub(PY,NY))", "refuted")):
        graph = cse_autoloss.parse(weighted(formula, 0.4), "cls-binary")
        found = {one.name: one.outcome for one in certificate_of(graph).findings}
        assert found["Never falls with the logit of a negative"] == outcome


def test_a_task_without_sigmoids_has_no_weight_of_negatives() -> None:
    config = load_config(None, {"task": "classification", "audit.negative_weight": True}, section_of)
    with pytest.raises(
        ConfigError, match=r"audit.negative_weight: expected a task with losses of per-class sigmoids"
    ):
        Session(config)


TINY = {
    "detection.scenes.counts": [8, 8, 8], "detection.batch": 4, "audit.epochs": 1, "audit.tune_epochs": 1,
    "audit.tuning": 8, "audit.draws": 2, "audit.resamples": 100, "executor": "inprocess",
}  # fmt: skip


def test_a_comparison_tunes_it_and_keeps_it(tmp_path: Path) -> None:
    directory, result = cse_autoloss.compare_losses(
        [f"ours={BCE}+giou", "quality-gce+giou"], overrides={**TINY, "audit.negative_weight": True}, seeds=2,
        out=tmp_path / "run",
    )  # fmt: skip
    told = json.loads((directory / "comparison.json").read_text())
    assert told["tuning"]["negative_weight"] == [0.1, 10]
    with (directory / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["negative_weight"]) == dict(result.standings[0].contestant.inner).get(
        "negative_weight", 1
    )
    assert rows[1]["negative_weight"] == ""
    ours, other = result.standings
    weight = dict(ours.contestant.inner).get("negative_weight", 1.0)
    assert told["losses"][0]["losses"]["cls"] == weighted(BCE, weight)
    assert other.contestant.inner == ()
    assert any("weight of negatives was tuned" in note for note in result.notes)
    again = cse_autoloss.compare_losses(resume=directory)[1]
    assert again.to_dict() == result.to_dict()


SCALES = '''
"""Best where a negative's loss at a logit of 1 is 2.5 times a positive's at -1; nothing is trained."""
import math
import torch
from cse_autoloss.settings.fields import Section
from cse_autoloss.spaces import CLS_BINARY
from cse_autoloss.tasks.protocol import Metric, Task, TaskScore

class Scales(Task):
    name = "scales"
    slots = {"loss": CLS_BINARY}
    metrics = (Metric("ap", title="AP"),)
    baselines = ({"loss": "bce"},)

    class Settings(Section):
        seed: int = 0

    def train(self, losses, *, seed, schedule, settings, split):
        down, up = (
            losses["loss"](torch.tensor([[logit]]), torch.tensor([target]), torch.ones(1))
            for logit, target in ((-1.0, 0), (1.0, 1))
        )
        share = float(up / down)
        return TaskScore({"ap": 1 / (1 + abs(math.log(share / 2.5))) if share > 0 else 0.0})
'''


def test_a_run_trains_proves_and_exports_the_winner_with_its_weight(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(SCALES)
    run = cse_autoloss.evolve(
        f"{path}:Scales", generations=2, budget=None, executor="inprocess", out=tmp_path / "run",
        evolution__population=4, evolution__offspring=2, evolution__scouts=0, evolution__combine=1,
        evolution__combine_seeds=1, surrogate__pool=0, audit__negative_weight=True, audit__tuning=12,
        audit__seeds=2, audit__finalists=1, audit__resamples=100,
    )  # fmt: skip
    best = run.summary["best"]
    (winner,) = run.summary["winners"]
    weight = winner["inner"]["negative_weight"]
    formula = best["losses"]["loss"]
    assert formula == winner["losses"]["loss"]
    audited = {score["losses"]["loss"] for score in _scores(tmp_path / "run", "audit")}
    assert audited == {formula, run.summary["baselines"][0]["losses"]["loss"]}
    exported = load_loss(tmp_path / "run" / "best" / "loss.json", reduction="none")
    assert isinstance(exported, GraphLoss)
    assert exported.formula == formula
    # Weighed it is the loss that the search found, times the weight where the target is 0.
    with RunStore.read(tmp_path / "run") as store:
        origin = store.meta("made from")["loss"][formula]
        assert formula in store.meta("certificates")
    plain = elements(origin)
    torch.testing.assert_close(elements(formula), torch.where(positive(), plain, weight * plain))
    assert best["certificate"]["loss"]["formula"] == formula
    assert run.summary["tuning"] == ["the weight of negatives was tuned, 0.1 to 10 times"]


def _scores(directory: Path, purpose: str) -> list[dict[str, Any]]:
    with RunStore.read(directory) as store:
        return [asdict(score) for score in store.scores(purpose)]
