"""The audit of the filters: its arithmetic, its sample, and a whole one on a tiny run."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner

import cse_autoloss
from cse_autoloss.bench.progress import RunStatus
from cse_autoloss.cli.app import app
from cse_autoloss.errors import ConfigError, RunError, UnknownNameError
from cse_autoloss.filter_audit import Draw, FilterAuditOptions, audit_filters, rate
from cse_autoloss.filter_audit.result import render
from cse_autoloss.filter_audit.sample import STILL, draw_groups, survivors, systematic, trained_formula
from cse_autoloss.runs import RunStore
from cse_autoloss.spaces import SIGNATURES
from cse_autoloss.verdict import Verdict


class TestRate:
    @pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 20), (1, 300), (20, 20)])
    def test_equal_weights_give_clopper_and_pearsons_interval(self, hits: int, count: int) -> None:
        found = rate([Draw(7.0, i < hits) for i in range(count)])
        exact = binomtest(hits, count).proportion_ci(0.95, "exact")
        assert (found.draws, found.hits) == (count, hits)
        assert found.share == pytest.approx(hits / count)
        assert found.effective == pytest.approx(count)
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high))

    def test_rule_of_three(self) -> None:
        assert rate([Draw(1.0, False)] * 298).bound > 0.01
        assert rate([Draw(1.0, False)] * 299).bound < 0.01
        assert rate([Draw(1.0, False)] * 59).bound < 0.05

    def test_unequal_weights_count_for_fewer_draws(self) -> None:
        found = rate([Draw(100.0, False)] * 50 + [Draw(1.0, True)] + [Draw(1.0, False)] * 49)
        assert found.share == pytest.approx(1 / 5050)
        assert 50 < found.effective < 51.1
        assert found.low == pytest.approx(0.0, abs=1e-4)
        assert found.high > 0.05
        assert rate([Draw(3.0, False), Draw(3.0, True)]) == rate([Draw(0.5, False), Draw(0.5, True)])

    def test_nothing_drawn_says_nothing(self) -> None:
        assert (rate([]).low, rate([]).high, rate([]).bound) == (0.0, 1.0, 1.0)

    def test_the_interval_holds_the_truth_as_often_as_it_says(self) -> None:
        rng = np.random.default_rng(0)
        inside = 0
        for _ in range(300):
            # Two strata of 3 to 1, with 10 % and 2 % of hits: 8 % in all.
            draws = [Draw(3.0, bool(h)) for h in rng.random(60) < 0.10]
            draws += [Draw(1.0, bool(h)) for h in rng.random(60) < 0.02]
            found = rate(draws)
            inside += found.low <= 0.08 <= found.high
        assert inside >= 285


class TestSample:
    def test_chances_are_in_proportion_to_weights_and_the_whole_is_stood_for(self) -> None:
        pool = [(i, 1.0) for i in range(50)] + [(i, 10.0) for i in range(50, 100)]
        seen: Counter[int] = Counter()
        for seed in range(200):
            drawn = systematic(pool, 20, np.random.default_rng(seed))
            assert sum(weight for _, weight in drawn) == pytest.approx(550)
            assert len({number for number, _ in drawn}) == len(drawn)
            seen.update(number for number, _ in drawn)
        light, heavy = sum(seen[i] for i in range(50)), sum(seen[i] for i in range(50, 100))
        assert 7 < heavy / light < 14

    def test_a_small_pool_is_taken_whole(self) -> None:
        pool = [(4, 2.0), (5, 3.0)]
        assert systematic(pool, 5, np.random.default_rng(0)) == pool
        assert systematic([], 5, np.random.default_rng(0)) == []

    def test_an_item_that_weighs_more_than_a_draw_is_drawn_once_and_stands_for_more(self) -> None:
        pool = [(0, 1000.0), *((i, 1.0) for i in range(1, 50))]
        drawn = dict(systematic(pool, 10, np.random.default_rng(0)))
        assert drawn[0] > 900
        assert sum(drawn.values()) == pytest.approx(1049)

    def test_losses_without_a_gradient_are_one_training(self) -> None:
        assert trained_formula("Mul(PY,Exp(Q))", SIGNATURES["cls-binary"]) == STILL
        assert trained_formula("Exp(1)", SIGNATURES["reg"]) == STILL
        for formula, branch in (("Exp(X)", "cls-binary"), ("X", "cls-multiclass"), ("Add(1,U)", "reg")):
            assert trained_formula(formula, SIGNATURES[branch]) == formula


RUN: dict[str, Any] = {
    "slot": "reg",
    "generations": 2,
    "executor": "inprocess",
    "evolution__offspring": 4,
    "evolution__random_fraction": 0.5,
    "evolution__handcrafted_seeds": False,
    "seed_losses": ["giou", "Neg(Log(Div(I,U)))"],
    "audit__baselines": 1,
}
SMALL = FilterAuditOptions(count=10)


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "search"
    cse_autoloss.evolve(config="smoke", out=out, **RUN)
    return out


@pytest.fixture
def run(search: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(search, tmp_path / "run"))


def test_groups_stand_for_what_was_rejected(run: Path) -> None:
    with RunStore.open(run) as store:
        bred, random, of_simulation, rest = draw_groups(store, ("verify", "simulate"), 10, 0)
        again = draw_groups(store, ("verify", "simulate"), 10, 0)
        other = draw_groups(store, ("verify",), 10, 1)
        wrong = sum(store.meta("summary")["rejected"]["verify"].values())
        kept = store.rejected()
        passed = survivors(store, "reg", 100, 0)
    assert again == [bred, random, of_simulation, rest]
    assert other[0] != bred
    assert bred.rejected + random.rejected == wrong == sum(one.population for one in kept)
    assert {one.source for one in kept} >= {"scout", "bred"}
    for group in (bred, random):
        assert len(group.picks) == 10
        assert sum(pick.weight for pick in group.picks) == pytest.approx(group.rejected)
    assert all(pick.candidate.origin != "random" for pick in bred.picks)
    assert all(pick.candidate.origin == "random" for pick in random.picks)
    assert passed
    assert "seed" not in {candidate.origin for candidate in passed}


class _Stop:
    """Ctrl-C after some trainings."""

    def __init__(self, after: int) -> None:
        self.after = after

    def update(self, status: RunStatus) -> None:
        if status.done >= self.after:
            raise KeyboardInterrupt


def test_an_audit_can_be_interrupted_and_ends_the_same(run: Path, tmp_path: Path) -> None:
    twin = Path(shutil.copytree(run, tmp_path / "twin"))
    with RunStore.read(run) as store:
        clock, before = store.meta("clock"), len(store.scores())
    whole = audit_filters(run, SMALL)
    assert whole.complete
    part = audit_filters(twin, SMALL, _Stop(8))
    assert not part.complete
    assert any("interrupted" in note for note in part.notes)
    assert sum(row.rate.draws for row in part.rows) < sum(row.rate.draws for row in whole.rows)
    assert audit_filters(twin, SMALL).to_dict() == whole.to_dict()
    with RunStore.read(twin) as store:
        scores = store.scores("filter-audit")
        assert store.meta("clock") == clock
        assert store.status == "finished"
        assert len(store.scores()) == before + len(scores)
    assert {score.split for score in scores} == {"val"}
    assert len({score.seed for score in scores}) == 1

    written = json.loads((run / "filter_audit.json").read_text())
    assert written == json.loads(json.dumps(whole.to_dict()))
    assert [(r["stage"], r["source"]) for r in written["rows"]] == [
        (stage, source) for stage in ("verify", "simulate") for source in ("bred", "random", "all")
    ]
    for row in whole.rows:
        assert row.rate.low <= row.rate.share <= row.rate.high
        assert row.trained <= row.rate.draws or row.rate.draws == 0
    text = "\n".join(str(part) for part in render(whole))
    assert "with 95% confidence, fewer than" in text


def test_a_good_loss_among_the_rejected_is_found(run: Path) -> None:
    """The best survivor, put among what verification rejected, beats the median survivor."""
    with RunStore.open(run) as store:
        best = max(
            (s for s in store.scores("proxy", status="ok") if s.seed == 1000),
            key=lambda s: s.metrics["ap"],
        ).losses["reg"]
        known = store.find_candidate("reg", _digest(best))
        assert known is not None
        again = store.add_candidate(
            slot="reg",
            formula=f"Add(1,{best})",
            digest="other",
            generation=99,
            place=0,
            origin="point",
        )
        store.add_verdicts([(again.id, Verdict("verify", False, "a mistake", code="mistake"))])
        store.add_rejected("reg", 99, "verify", "bred", 9_000, [again.id])
    result = audit_filters(run, replace(SMALL, count=5, stages=("verify",), confirm=1))
    (hit,) = [hit for hit in result.hits if hit.code == "mistake"]
    assert hit.formula == f"Add(1,{best})"
    assert hit.worth > hit.median == result.medians["reg"]
    assert hit.same_as == known.formula
    assert 7_000 < hit.weight < 11_000  # it stands for nearly all, so it is drawn again and again
    assert len(hit.again) == 1
    assert hit.confirmed is (hit.again[0] > hit.median)
    bred = result.rows[0]
    assert bred.rate.hits >= 1
    assert bred.rate.share > 0.7


def _digest(formula: str) -> str:
    from cse_autoloss.spaces import parse

    return parse(formula, "reg").digest


def test_mistakes_are_told(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RunError, match="no such run"):
        audit_filters(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="--count"):
        audit_filters(run, replace(SMALL, count=0))
    with RunStore.create(tmp_path / "empty", {"seed": 0}):
        pass
    with pytest.raises(RunError, match="names no task or search"):
        audit_filters(tmp_path / "empty")
    with RunStore.open(run) as store:
        for one in store.rejected():
            store.add_rejected(one.slot, one.generation, one.stage, one.source, one.population, [])
        store._database.write("DELETE FROM rejected_sample")
    with pytest.raises(RunError, match="older version"):
        audit_filters(run, SMALL)


def test_the_command_prints_a_table_or_json(run: Path) -> None:
    arguments = ["filter-audit", str(run), "--count", "2", "--stage", "verify", "--quiet"]
    table = CliRunner().invoke(app, arguments)
    assert table.exit_code == 0, table.output
    for word in ("verify", "bred", "random", "all", "95% interval", "Target: fewer than 1%"):
        assert word in table.stdout
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert [row["source"] for row in found["rows"]] == ["bred", "random", "all"]
    wrong = CliRunner().invoke(app, ["filter-audit", str(run), "--stage", "verfy"])
    assert isinstance(wrong.exception, UnknownNameError)
    assert "did you mean 'verify'" in str(wrong.exception)
