"""Trainings side by side: as one after another up to rounding, none harms another, and a failed stack is undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import cse_autoloss as cal
from cse_autoloss.bench.jobs import LossSet, Training, TrainingJob, stacks
from cse_autoloss.bench.progress import Clock, RunStatus, Silent
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import Session
from cse_autoloss.bench.worker import slot_loss
from cse_autoloss.detectors.one_stage import OneStageDetector, OneStagePyramid
from cse_autoloss.detectors.training import TrainingSet, detector_run
from cse_autoloss.discovery.finals import Finals
from cse_autoloss.errors import ConfigError
from cse_autoloss.executors import Job, JobResult
from cse_autoloss.losses import load_loss
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import load_config
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.protocol import Schedule as Asked
from cse_autoloss.tasks.registry import section_of
from cse_autoloss.training.loop import Diverged, Schedule, TrainingRun
from cse_autoloss.training.pauses import keep, resume
from cse_autoloss.training.stacked import advance_together

CLOSE: dict[str, float] = {"rtol": 2e-3, "atol": 2e-4}
"""Of float32 weights after 14 steps, whose rounding the steps make larger."""


class Loud:
    """A hundred times a loss, which the clip takes back; from call `breaks` on it is NaN. It notes its progress."""

    def __init__(self, breaks: int = 0) -> None:
        self.breaks, self.calls, self.told = breaks, 0, list[float]()

    def set_progress(self, share: float) -> None:
        self.told.append(share)

    def __call__(self, *tensors: Tensor) -> Tensor:
        self.calls += 1
        value: Tensor = 100 * load_loss("bce", reduction="sum")(*tensors)
        return value * torch.nan if self.calls == self.breaks else value


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    source = torch.Generator().manual_seed(0)
    images = torch.randn(24, 1, 32, 32, generator=source)
    boxes = torch.tensor([[4.0, 4, 20, 24]]).repeat(24, 1, 1)
    labels = torch.randint(0, 3, (24, 1), generator=source)
    return TrainingSet(images, OneStageDetector(1, 3).targets(boxes, labels, (32, 32)))


def run(data: TrainingSet, cls: Any, kind: Any = OneStageDetector, **schedule: Any) -> TrainingRun:
    torch.manual_seed(1)
    loss = load_loss(cls, reduction="sum") if isinstance(cls, str) else cls
    how = Schedule(**{"epochs": 4, "batch": 7, "lr": 0.1, **schedule})
    return detector_run(kind(1, 3), data, loss, load_loss("giou", reduction="sum"), how, seed=5)


def weights(one: TrainingRun) -> Tensor:
    return torch.cat([own.detach().flatten().float() for own in one.model.state_dict().values()])


def alone(one: TrainingRun, until: int = 14) -> TrainingRun:
    one.advance(until)
    return one


def test_a_stack_trains_as_one_after_another(data: TrainingSet) -> None:
    every = [run(data, cls) for cls in ("bce", "focal", Loud())]
    before = weights(every[0])
    assert advance_together(every, 14) == {}
    for member, cls in zip(every, ("bce", "focal", Loud()), strict=True):
        other = alone(run(data, cls))
        torch.testing.assert_close(weights(member), weights(other), **CLOSE)
        assert (weights(member) - before).norm() > 100 * (weights(member) - weights(other)).norm()
        ours, theirs = member.state(), other.state()
        assert ours["step"] == theirs["step"] == 14
        assert ours["scheduler"] == theirs["scheduler"]
        assert torch.equal(ours["generator"], theirs["generator"])
        assert torch.equal(ours["order"], theirs["order"])
        assert ours["optimiser"]["param_groups"] == theirs["optimiser"]["param_groups"]
        assert not member.model.training
    told = every[2].moving[0].told
    assert told == [step / 14 for step in range(14)]


def test_a_pyramid_is_stacked_too(data: TrainingSet) -> None:
    images = torch.nn.functional.interpolate(data.images[:8], scale_factor=2.0)
    boxes, labels = torch.tensor([[8.0, 8, 40, 48]]).repeat(8, 1, 1), torch.arange(8)[:, None] % 3
    larger = TrainingSet(images, OneStagePyramid(1, 3).targets(boxes, labels, (64, 64)))
    every = [run(larger, cls, OneStagePyramid, batch=4) for cls in ("bce", "focal")]
    assert advance_together(every, 4) == {}
    for member, cls in zip(every, ("bce", "focal"), strict=True):
        other = alone(run(larger, cls, OneStagePyramid, batch=4), 4)
        torch.testing.assert_close(weights(member), weights(other), **CLOSE)


def test_in_half_precision_it_is_no_further_from_float32(data: TrainingSet) -> None:
    every = [run(data, cls, precision="bfloat16") for cls in ("bce", "focal")]
    advance_together(every, 6)
    for member, cls in zip(every, ("bce", "focal"), strict=True):
        exact = weights(alone(run(data, cls), 6))
        rounded = (weights(alone(run(data, cls, precision="bfloat16"), 6)) - exact).norm()
        assert 0 < (weights(member) - exact).norm() < 1.5 * rounded


def test_after_a_pause_a_member_goes_on_alone_or_in_another_stack(data: TrainingSet, tmp_path: Path) -> None:
    names = ("bce", "focal", "quality-focal")
    first = [run(data, name) for name in names]
    advance_together(first, 5)
    for name, one in zip(names, first, strict=True):
        keep(one, tmp_path / name)
    sizes = {(tmp_path / name).stat().st_size for name in names}
    keep(alone(run(data, "bce"), 5), tmp_path / "alone")
    assert max(sizes) < 1.1 * (tmp_path / "alone").stat().st_size, (
        "no other member's weights are kept with it"
    )
    again = [run(data, name) for name in names]
    for name, one in zip(names, again, strict=True):
        resume(one, tmp_path / name, 14)
        assert one.step == 5
    alone(again[0])
    newcomer = run(data, "bce")
    assert advance_together([again[1], newcomer, again[2]], 14) == {}
    for one, name in zip((*again, newcomer), (*names, "bce"), strict=True):
        torch.testing.assert_close(weights(one), weights(alone(run(data, name))), **CLOSE)


def test_one_that_diverges_leaves_the_others_as_they_are(data: TrainingSet) -> None:
    def lost_prediction() -> TrainingRun:
        one = run(data, "bce")
        one.model.to_box.bias.data.fill_(torch.nan)  # type: ignore[attr-defined,operator,union-attr]
        return one

    def lost_statistic() -> TrainingRun:
        one = run(data, "bce")
        one.model.box_tower.norm.running_mean.fill_(torch.inf)  # type: ignore[attr-defined,operator,union-attr]
        return one

    sound = [run(data, cls) for cls in ("bce", "bce", "focal")]
    advance_together(sound, 14)
    broken: tuple[Callable[[], TrainingRun], ...] = (
        lambda: run(data, Loud(breaks=4)),
        lost_prediction,
        lost_statistic,
    )
    for bad, told in zip(broken, ("loss nan", "a prediction that", "a weight that"), strict=True):
        beside = [run(data, "bce"), bad(), run(data, "focal")]
        diverged = advance_together(beside, 14)
        with pytest.raises(Diverged, match=told) as caught:
            bad().advance(14)
        assert {place: str(one) for place, one in diverged.items()} == {1: str(caught.value)}
        for place in (0, 2):
            assert torch.equal(weights(beside[place]), weights(sound[place]))
    everyone = advance_together([run(data, Loud(breaks=2)), run(data, Loud(breaks=3)), lost_prediction()], 14)
    assert [str(everyone[place])[-12:] for place in range(3)] == [
        "step 2 of 14",
        "step 3 of 14",
        "step 1 of 14",
    ]


# -- the task ------------------------------------------------------------------------------------------------------


def small(**settings: Any) -> Session:
    return Session(load_config("smoke", {"device": "cpu", **settings}, section_of))


def test_scores_are_those_of_trainings_alone_with_and_without_a_rung(tmp_path: Path) -> None:
    task = small().task
    assert isinstance(task, DetectionTask)
    every = [
        {slot: slot_loss(text, task.slots[slot], None) for slot, text in (("cls", cls), ("reg", "giou"))}
        for cls in ("bce", "quality-focal")
    ]
    how: dict[str, Any] = {"epochs": 6.0, "train_limit": 40}
    own = [task.train(one, seed=3, schedule=Asked(**how), settings={}, split="val") for one in every]
    states = [tmp_path / f"{place}.pt" for place in range(2)]
    for until, limit in ((2.0, 10), (None, None)):
        schedules = [Asked(**how, until=until, score_limit=limit, state=state) for state in states]
        found = task.train_together(every, seed=3, schedules=schedules, settings={})
        assert [path.exists() for path in states] == [True, True]
        assert [one.status for one in found] == ["ok", "ok"]
        assert found[0].epochs_trained == pytest.approx(until or 4.0, abs=0.3)
    for ours, theirs in zip(found, own, strict=True):
        assert theirs.metrics["ap50"] > 0.005, "it learns something"
        assert ours.metrics == pytest.approx(theirs.metrics, abs=2e-3)


# -- jobs ----------------------------------------------------------------------------------------------------------


def training(cls: str, seed: int = 0, **rest: Any) -> Training:
    settings = {"lr": rest.pop("lr", 0.1)}
    return Training("proxy", LossSet.of({"cls": cls, "reg": "giou"}, None, settings), seed, 6.0, **rest)


def test_what_differs_in_losses_alone_is_put_together_in_the_order_asked_for() -> None:
    a, b, c, d = (training(name) for name in "abcd")
    other = training("a", seed=1)
    assert stacks([a, other, b, c, a, d], 3) == [[a, b, c], [other], [d]]
    assert stacks([a, b], 1) == [[a], [b]]
    apart = [
        a,
        training("a", lr=0.2),
        a.rung(1.0, 10),
        training("a", draw=1),
        training("a", precision="bfloat16"),
    ]
    assert stacks(apart, 8) == [[one] for one in apart]
    (own,) = stacks([a.rung(1.0, 10), b.rung(1.0, 10)], 8)
    job = TrainingJob(tuple(own)).job(10.0, True)
    assert (job.payload["kind"], job.limit) == ("train-stack", 20.0)
    assert job.payload["members"] == [one.payload(True) for one in own]
    assert TrainingJob((a,)).job(10.0, False) == Job(a.key, a.payload(False), 10.0)


class Machine:
    """An executor whose worker fails on stacks, and otherwise gives each loss its place in the alphabet."""

    workers = 1

    def __init__(self, failure: str) -> None:
        self.failure, self.jobs, self._waiting = failure, list[Job](), list[Job]()

    @property
    def pending(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> int:
        return 1 - self.pending

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        self._waiting.append(job)

    def next_result(self, timeout: float | None = None) -> JobResult | None:
        if not self._waiting:
            return None
        job = self._waiting.pop()
        members = job.payload.get("members", [job.payload])
        values = [{"status": "ok", "metrics": {"ap": ord(one["losses"]["cls"]) / 100}} for one in members]
        if len(values) == 1:
            return JobResult(job.key, "ok", values[0], "", 2.0, 1)
        if self.failure == "ok":
            return JobResult(job.key, "ok", {"members": values, "memory": 7}, "", 6.0, 1)
        detail = "out of memory: so large" if self.failure == "error" else "it was so"
        return JobResult(job.key, self.failure, {}, detail, 6.0, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("failure", ["ok", "crashed", "timeout", "error"])
def test_a_stack_that_fails_as_a_whole_is_trained_one_by_one(failure: str, tmp_path: Path) -> None:
    machine, wanted = Machine(failure), [training(name) for name in "abcde"]
    with RunStore.create(tmp_path / "run", {}) as store:
        bench = Workbench(machine, store, Clock(None), RunStatus(), Silent())  # type: ignore[arg-type]
        store.add_score(wanted[1].score("ok", {"status": "ok", "metrics": {"ap": 0.0}}, "", 1.0))
        scores = bench.finish(bench.start(bench.training(wanted, 10.0, stack=3)))
        kept = {score.key: score for score in store.scores()}
        assert bool(store.events("one by one")) == (failure != "ok")
    found = [scores[one.key].metrics["ap"] for one in wanted]
    assert found == [0.97, 0.0, 0.99, 1.0, 1.01]
    assert set(kept) == {one.key for one in wanted}
    sizes = [len(job.payload.get("members", "1")) for job in machine.jobs]
    # What is known is not trained again, and moves nobody to another stack.
    # For want of memory it is begun once more, with nothing beside it.
    first = [2, 2, 2, 2] if failure == "error" else [2, 2]
    assert sizes == first + ([] if failure == "ok" else [1, 1, 1, 1])
    assert {job.limit for job in machine.jobs} == {20.0} | (set() if failure == "ok" else {10.0})
    alone = kept[wanted[0].key]
    assert (alone.extra.get("together"), alone.seconds) == ((2, 3.0) if failure == "ok" else (None, 2.0))


def test_a_search_by_stacks_finds_what_it_finds_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Finals, "combine", stopped)  # what comes after the search is trained one by one
    told: list[dict[tuple[str, str], Any]] = []
    for executor, count in (("inprocess", 1), ("inprocess", 3), ("pool", 3)):
        out = tmp_path / f"{executor}-{count}"
        cal.evolve(
            config="smoke", out=out, executor=executor, workers=2, device="cpu", generations=3,
            evolution__handcrafted_seeds=False, seed_losses=["giou", "bce", "focal"], proxy__stack=count,
        )  # fmt: skip
        with RunStore.read(out) as store:
            scores = store.scores()
        searched = [one for one in scores if one.purpose in ("rung", "proxy")]
        assert max(one.extra.get("together", 1) for one in searched) == count
        assert all("together" not in one.extra for one in scores if one not in searched)
        assert {one.purpose for one in searched} == {"rung", "proxy"}
        told.append({one.key: (one.losses, one.status, one.metrics.get("ap")) for one in searched})
    first, second, in_processes = told
    assert in_processes == second  # whoever takes a stack, it is the same
    assert first.keys() == second.keys()
    assert len(first) > 10
    for key, (losses, status, ap) in first.items():
        assert second[key][:2] == (losses, status)
        assert second[key][2] == pytest.approx(ap, abs=2e-3)


# -- the setting ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"detection.detector": "two-stage"}, "a detector of the kind two-stage is trained alone"),
        ({"proxy.optimizer": "muon"}, "the optimizer muon moves one model at a time"),
        ({"proxy.precision": "float16"}, "in float16 a loss is scaled for one model at a time"),
        ({"detection.precision": "float16"}, "in float16 a loss is scaled for one model at a time"),
        ({"task": "classification"}, "a model of classification is trained alone"),
    ],
)
def test_what_can_not_be_stacked_is_told_in_a_line(settings: dict[str, str], why: str) -> None:
    base = None if "task" in settings else "smoke"
    session = Session(load_config(base, {"device": "cpu", "proxy.stack": 3, **settings}, section_of))
    with pytest.raises(ConfigError, match=rf"^proxy\.stack: expected 1, got 3: {why}$"):
        _ = session.together
    session.config = load_config(base, {"proxy.stack": "auto", **settings}, section_of)
    session.device = "cuda"
    assert session.together == 1


def test_it_is_told_before_a_run_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^proxy\.stack: expected 1, got 2: a model of regression"):
        cal.evolve(task="regression", out=tmp_path / "run", proxy__stack=2)
    assert not (tmp_path / "run").exists()


def test_auto_is_for_a_gpu() -> None:
    session = small(**{"proxy.stack": "auto"})
    assert session.together == 1
    session.device = "cuda"
    assert session.together == 8
    assert small().together == 1
    assert small(**{"proxy.stack": 4}).together == 4
    with pytest.raises(ConfigError, match=r"options: proxy\.stack: expected a number of at least 1, got 0"):
        small(**{"proxy.stack": 0})
