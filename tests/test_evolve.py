"""Whole runs, small: what they leave behind, that they do not depend on the number of workers, and survive a kill."""

import contextlib
import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import cse_autoloss
from cse_autoloss.bench.progress import RunStatus
from cse_autoloss.bench.session import Session
from cse_autoloss.discovery import breeding
from cse_autoloss.discovery import run as discovery_run
from cse_autoloss.errors import ConfigError, DataError, RunError, UnknownNameError
from cse_autoloss.report.write import provenance, write_best
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import load_config

# Three generations, so that one of each slot overlaps with the next; rungs for both slots.
TINY: dict[str, Any] = {
    "generations": 3,
    "proxy__whole_slots": [],
    "evolution__offspring": 2,
    "evolution__handcrafted_seeds": False,
    "evolution__random_fraction": 0.5,
    "seed_losses": ["giou", "Neg(Log(Div(I,U)))", "bce"],
    "audit__baselines": 1,
}


class Watcher:
    def __init__(self) -> None:
        self.phases: list[str] = []

    def update(self, status: RunStatus) -> None:
        if status.phase not in self.phases:
            self.phases.append(status.phase)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[cse_autoloss.RunResult, Watcher]:
    watcher = Watcher()
    out = tmp_path_factory.mktemp("runs") / "one"
    return cse_autoloss.evolve(
        config="smoke", out=out, executor="inprocess", observer=watcher, **TINY
    ), watcher


def test_summary_holds_what_is_promised(finished: tuple[cse_autoloss.RunResult, Watcher]) -> None:
    result, watcher = finished
    summary = json.loads((result.directory / "summary.json").read_text())
    assert set(summary["funnel"]) == {"generated", "duplicates", "verified", "simulated", "trained"}
    funnel = summary["funnel"]
    assert funnel["generated"] > funnel["verified"] >= funnel["simulated"] > 0
    assert funnel["simulated"] >= funnel["trained"] > 0  # the audit's trainings are no candidates'
    assert summary["baselines"]
    for baseline in summary["baselines"]:
        assert baseline["test"]["low"] <= baseline["test"]["mean"] <= baseline["test"]["high"]
    best = summary["best"]
    assert cse_autoloss.verify(best["losses"]["cls"], signature="cls-binary").accepted
    assert cse_autoloss.verify(best["losses"]["reg"], signature="reg").accepted
    assert best["gain"]["over"] in [b["name"] for b in summary["baselines"]]
    assert summary["verdict"]
    assert watcher.phases == ["measure", "search", "combine", "tune", "audit"]
    used = summary["utilisation"]
    assert used["workers"] == 1
    assert 0 < used["search"]["training"] + used["search"]["simulation"] <= 1
    assert 0 < used["audit"]["training"] <= 1


def test_discovered_loss_runs_without_us(finished: tuple[cse_autoloss.RunResult, Watcher]) -> None:
    result, _ = finished
    assert "import cse_autoloss" not in (result.directory / "best" / "loss.py").read_text()
    spec = importlib.util.spec_from_file_location("found", result.directory / "best" / "loss.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    logits, target = torch.randn(7, 10), torch.tensor([0, 3, 10, 10, 9, 10, 1])
    iou = torch.rand(7)
    torch.testing.assert_close(
        module.ClassificationLoss("sum")(logits, target, iou), result.load("cls", "sum")(logits, target, iou)
    )
    boxes = torch.tensor([[2.0, 2, 20, 20], [5, 5, 30, 40]])
    torch.testing.assert_close(module.BoxLoss()(boxes + 1, boxes), result.load("reg")(boxes + 1, boxes))
    for name in ("graph.svg", "graph.png", "graph.dot", "loss.json"):
        assert (result.directory / "best" / name).stat().st_size > 200
    assert (result.directory / "config.yaml").read_text().count("generations")


def test_what_the_surrogate_learns_from_stands_in_the_run(
    finished: tuple[cse_autoloss.RunResult, Watcher],
) -> None:
    with RunStore.read(finished[0].directory) as store:
        noted = [event.detail for event in store.events("trained")]
        formulas = {text for score in store.scores() for text in score.losses.values()}
    assert {detail["slot"] for detail in noted} == {"cls", "reg"}
    assert all(detail["worth"] and set(detail["worth"]) <= formulas for detail in noted)


def test_only_the_audit_reads_the_test_split(finished: tuple[cse_autoloss.RunResult, Watcher]) -> None:
    with RunStore.read(finished[0].directory) as store:
        scores = store.scores()
    purposes = {
        purpose: {s.split for s in scores if s.purpose == purpose} for purpose in {s.purpose for s in scores}
    }
    assert purposes.pop("audit") == {"test"}
    assert {"rung", "proxy", "combine", "tune"} <= set(purposes)
    assert all(splits == {"val"} for splits in purposes.values())


def test_a_finished_directory_is_not_overwritten(finished: tuple[cse_autoloss.RunResult, Watcher]) -> None:
    with pytest.raises(RunError, match="--resume"):
        cse_autoloss.evolve(config="smoke", out=finished[0].directory)


def test_a_finished_run_is_not_audited_anew_within_less_time_than_it_took(
    finished: tuple[cse_autoloss.RunResult, Watcher],
) -> None:
    directory = finished[0].directory
    before = (directory / "summary.json").read_text()
    with pytest.raises(ConfigError, match=r"budget: .* is finished and took .* s in all; give more"):
        cse_autoloss.evolve(resume=directory, budget="1s")
    assert (directory / "summary.json").read_text() == before
    assert cse_autoloss.evolve(resume=directory).summary == finished[0].summary
    # Its budget may be over by a second; another number of workers asks for no more.
    with RunStore.open(directory) as store:
        kept = store.config
        store.set_meta("config", {**kept, "budget": 0.5})
    assert cse_autoloss.evolve(resume=directory, workers=1).summary == finished[0].summary
    with RunStore.open(directory) as store:
        store.set_meta("config", kept)


def test_only_finishers_are_members(finished: tuple[cse_autoloss.RunResult, Watcher]) -> None:
    with RunStore.read(finished[0].directory) as store:
        scores = store.scores()
        rungs = {s.losses["cls"] for s in scores if s.purpose == "rung"}
        proxies = {s.losses["cls"] for s in scores if s.purpose == "proxy"}
        finishers = proxies & rungs
        state = store.load_state()
    assert state is not None
    assert len(finishers) < len(rungs)
    members = {m["formula"] for m in state[1]["state"]["populations"]["cls"]}
    assert not members & (rungs - finishers)
    assert not list((finished[0].directory / "states").glob("*"))


def trained_and_left(directory: Path, slot: str) -> tuple[list[float], list[float]]:
    """What the simulation gave those bred candidates that it accepted: the trained ones, and the others."""
    figures: dict[bool, list[float]] = {True: [], False: []}
    with RunStore.read(directory) as store:
        tried = {text for s in store.scores() if s.purpose in ("rung", "proxy") for text in s.losses.values()}
        for one in store.candidates(slot):
            verdict = store.verdicts(one.id).get("simulate")
            if one.origin not in ("seed", "random") and verdict is not None and verdict.accepted:
                figures[one.formula in tried].append(verdict.figure or 0.0)
    return figures[True], figures[False]


def test_whom_the_surrogate_chose_is_trained(finished: tuple[cse_autoloss.RunResult, Watcher]) -> None:
    for slot in ("cls", "reg"):
        trained, left = trained_and_left(finished[0].directory, slot)
        assert trained
        assert not left


def test_without_the_surrogate_the_simulations_favourites_are_trained(tmp_path: Path) -> None:
    result = cse_autoloss.evolve(
        config="smoke", out=tmp_path / "run", executor="inprocess", generations=1, slot="reg",
        surrogate__pool=0, audit__baselines=1,
    )  # fmt: skip
    trained, left = trained_and_left(result.directory, "reg")
    # One generation: whatever was left was liked less than whatever was trained.
    assert max(left) <= min(trained)
    assert result.summary["rejected"]["proxy"]["outranked"] > 0


def outcome(directory: Path) -> dict[str, Any]:
    """All that may not depend on workers, kills and clocks."""
    summary = json.loads((directory / "summary.json").read_text())
    with RunStore.read(directory) as store:
        scores = sorted(
            (s.purpose, *s.losses.values(), s.seed, s.metrics.get("ap"))
            for s in store.scores()
            if s.seed >= 0
        )
    return {
        "funnel": summary["funnel"],
        "rejected": summary["rejected"],
        "best": summary["best"],
        "baselines": summary["baselines"],
        "hall": summary["hall_of_fame"],
        "scores": scores,
    }


def test_two_workers_that_also_breed_find_the_same(
    finished: tuple[cse_autoloss.RunResult, Watcher], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breeding, "MANY", 2)
    cse_autoloss.evolve(config="smoke", out=tmp_path / "two", workers=2, **TINY)
    assert outcome(tmp_path / "two") == outcome(finished[0].directory)


def test_killed_with_two_workers_it_goes_on_with_one_to_the_end_that_no_worker_has(
    finished: tuple[cse_autoloss.RunResult, Watcher], tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    code = (
        f"import cse_autoloss; cse_autoloss.evolve(config='smoke', out={str(out)!r}, workers=2, **{TINY!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    before = 0
    deadline = time.monotonic() + 300
    try:
        while before < 4 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
            with contextlib.suppress(RunError), RunStore.read(out) as store:  # it may not have begun yet
                before = len(store.scores("proxy"))
    finally:
        process.kill()
        process.wait()
    assert before >= 4
    assert not (out / "summary.json").exists()
    result = cse_autoloss.evolve(resume=out, workers=1)
    assert outcome(result.directory) == outcome(finished[0].directory)
    with RunStore.read(out) as store:
        assert store.status == "finished"
        assert [e.kind for e in store.events()].count("resumed") == 1


class Impatient(Watcher):
    """Presses Ctrl-C as soon as two losses were trained."""

    def update(self, status: RunStatus) -> None:
        if not self.phases and status.funnel["trained"] >= 2:
            self.phases.append("stopped")
            signal.raise_signal(signal.SIGINT)


def test_a_second_ctrl_c_ends_at_once_and_the_run_goes_on(
    finished: tuple[cse_autoloss.RunResult, Watcher], tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a test of workers may have left another
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(discovery_run, "write_report", lambda *_, **__: signal.raise_signal(signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                cse_autoloss.evolve(
                    config="smoke", out=out, executor="inprocess", observer=Impatient(), **TINY
                )
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (out / "summary.json").exists()
    result = cse_autoloss.evolve(resume=out)
    assert outcome(result.directory) == outcome(finished[0].directory)


def test_mistakes_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="detection"):
        cse_autoloss.evolve("detektion")
    with pytest.raises(ConfigError, match="population"):
        cse_autoloss.evolve(out=tmp_path / "a", evolution__populaton=3)
    with pytest.raises(cse_autoloss.AutoLossError, match="did you mean 'giou'"):
        cse_autoloss.evolve(config="smoke", out=tmp_path / "b", seed_losses=["gious"])
    with pytest.raises(RunError):
        cse_autoloss.evolve(resume=tmp_path / "nothing")
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b" / "summary.json").exists()


def test_faulty_data_leaves_no_half_made_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.json"):
        cse_autoloss.evolve(
            config="smoke", out=tmp_path / "run", executor="inprocess", detection__data=f"coco:{tmp_path}"
        )
    assert not (tmp_path / "run").exists()


def test_two_stage_detector_searches_multiclass_losses(tmp_path: Path) -> None:
    result = cse_autoloss.evolve(
        config="smoke",
        out=tmp_path / "run",
        executor="inprocess",
        slot="cls",
        generations=1,
        detection__detector="two-stage",
        evolution__handcrafted_seeds=False,
        seed_losses=["cross-entropy", "softmax-poly-1"],
        audit__baselines=1,
    )
    assert result.summary["baselines"][0]["name"] == "cross-entropy + giou"
    assert result.summary["best"] is None or result.load("cls").signature.name == "cls-multiclass"
    assert result.summary["slots"] == {"cls": "cls-multiclass"}
    assert set(result.summary["hall_of_fame"]) == {"cls"}


def test_figures_without_an_interval_stay_out_of_the_loss_file(
    finished: tuple[cse_autoloss.RunResult, Watcher], tmp_path: Path
) -> None:
    """Where the budget leaves one audit seed whole, there is a figure and no interval."""
    summary = finished[0].summary
    single = {"mean": 0.5, "low": None, "high": None}
    session = Session(load_config("smoke"))
    with RunStore.read(finished[0].directory) as store:
        best = {**summary["best"], "test": single, "gain": single}
        facts = provenance(session, store, {**summary, "best": best})
    assert not {"test", "gain"} & set(facts)
    assert facts["metric"] == "ap"
    write_best(tmp_path / "best", summary["best"], session, facts)
    assert json.loads((tmp_path / "best" / "loss.json").read_text())["provenance"]["val"] == facts["val"]


def test_a_slot_that_starts_from_nothing_is_filled_by_scouts(tmp_path: Path) -> None:
    result = cse_autoloss.evolve(
        config="smoke", out=tmp_path / "none", executor="inprocess", generations=1, slot="reg",
        **{"evolution.handcrafted_seeds": False, "evolution.scouts": 300},
    )  # fmt: skip
    assert result.summary["funnel"]["generated"] > 2 * 300
    with RunStore.read(result.directory) as store:
        assert [s for s in store.scores("proxy") if s.status == "ok"]
