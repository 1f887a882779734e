"""A budget that holds no search: every task and search says so, with a budget that does, and shows no figures."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

import cse_autoloss as cal
from cse_autoloss.bench.budget import MIN_PROXIES, PAIRING_SHARE, Cost
from cse_autoloss.bench.progress import Clock, RunStatus
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import Session
from cse_autoloss.discovery.run import SearchRun
from cse_autoloss.report.table import print_summary
from cse_autoloss.runs import RunStore
from cse_autoloss.searches.registry import SEARCHES
from cse_autoloss.settings.load import load_config
from cse_autoloss.tasks.registry import TASKS, section_of

DEAR = Cost(20.0, 1.0)
PARAMETRIC = ("reinforce", "cma")
"""Searches of losses of a classifier."""


def size_of(task: str, search: str, budget: float, tmp_path: Path) -> tuple[str, float]:
    """What a run of that budget says, and how many trainings its search has room for."""
    chosen = load_config(task, {"search": search, "budget": budget, "executor": "inprocess"}, section_of)
    run = SearchRun(Session(chosen))
    with RunStore.create(tmp_path / f"{budget:g}", chosen.model_dump(mode="json")) as store:
        run.store, run.clock = store, Clock.of(store, chosen.budget)
        run.status = RunStatus(budget=chosen.budget, metric=run.session.metric)
        store.set_meta("cost", {"epoch": DEAR.epoch, "score": DEAR.score})
        size, cost = run.size(cast(Workbench, SimpleNamespace(store=store)), 2)
        if size.too_short:
            assert run.status.message == size.too_short
    return size.too_short, 2 * size.search_seconds / cost.training(size.epochs, size.share)


def test_every_task_and_search_is_here() -> None:
    assert {task for task, _ in PAIRS} | {"several"} == set(TASKS.names())
    assert {search for _, search in PAIRS} == set(SEARCHES.names())


PAIRS = [
    (task, search)
    for task in ("detection", "classification", "faces", "reid", "segmentation", "regression")
    for search in ("evolution", "random", *PARAMETRIC)
    if search not in PARAMETRIC or task == "classification"
]


@pytest.mark.parametrize(("task", "search"), PAIRS)
def test_it_is_told_with_a_budget_that_holds_one(task: str, search: str, tmp_path: Path) -> None:
    told, _ = size_of(task, search, 60, tmp_path)
    found = re.match(r"Too short for a search: .* a budget of at least (\d+)m is needed\.$", told)
    assert found is not None
    told, trainings = size_of(task, search, 60 * float(found[1]), tmp_path)
    assert told == ""
    assert trainings >= (1 - PAIRING_SHARE) * MIN_PROXIES  # what is left are the pairs


def test_no_figures_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cse_autoloss.discovery.run.measured", lambda *_: DEAR)
    result = cal.evolve(
        "regression", budget="6s", executor="inprocess", out=tmp_path / "run", evolution__scouts=400
    )
    told = io.StringIO()
    print_summary(result.summary, result.directory, Console(file=told, width=200))
    assert result.summary["verdict"].startswith("Too short for a search")
    assert result.summary["verdict"] in told.getvalue()
    assert result.summary["baselines"]
    assert not result.improved
    page = (result.directory / "report.html").read_text("utf-8")
    for text in (told.getvalue(), page):
        assert "Noise floor" not in text
        assert "Test split" not in text
        assert "Against all others" not in text
    if result.summary["best"]:
        source = (result.directory / "best" / "loss.py").read_text("utf-8")
        assert "Too short" in source
        assert not re.search(r"^\W*(gain|test)\b", source, re.MULTILINE)
