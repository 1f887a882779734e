"""Rungs: who goes on, that a pause changes nothing, and that processes share the workers."""

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.progress import Clock, RunStatus, Silent
from cse_autoloss.bench.schedule import Batch, Process, Workbench
from cse_autoloss.detectors.one_stage import OneStageDetector
from cse_autoloss.detectors.training import TrainingSet, detector_run
from cse_autoloss.discovery.halving import Ladder, climb
from cse_autoloss.executors import Job, JobResult, Work, make_executor
from cse_autoloss.losses import load_loss
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.tasks.protocol import Metric
from cse_autoloss.training.loop import Diverged, Schedule, TrainingRun
from cse_autoloss.training.pauses import keep, resume

METRIC = Metric("ap")


def pair(cls: str) -> LossSet:
    return LossSet.of({"cls": cls, "reg": "giou"})


def training(number: int, epochs: float = 6.0) -> Training:
    return Training("proxy", pair(f"loss {number}"), 0, epochs)


def scored(one: Training, ap: float | None) -> Score:
    status = "diverged" if ap is None else "ok"
    return one.score(status, {"status": status, "metrics": {"ap": ap}}, "", 0.0)


def climbed(
    ladder: Ladder, aps: list[dict[float | None, float | None]]
) -> tuple[list[Any], list[list[float]]]:
    """Outcomes of candidates whose AP after so many epochs is given, and the epochs of what was trained."""
    trainings = [training(i) for i in range(len(aps))]
    asked: list[list[float]] = []

    def train(wanted: Any) -> Generator[Batch, dict[str, JobResult], dict[str, Score]]:
        asked.append([t.until or t.epochs for t in wanted])
        yield Batch([])
        return {t.key: scored(t, aps[int(t.losses["cls"].split()[1])][t.until]) for t in wanted}

    process = climb(ladder, trainings, train, METRIC)
    try:
        next(process)
        while True:
            process.send({})
    except StopIteration as stop:
        return [stop.value[t.key] for t in trainings], asked


def test_the_best_third_goes_on_and_only_finishers_count() -> None:
    aps: list[dict[float | None, float | None]] = [
        {1.0: i / 10, 3.0: 0.5 - i / 100, None: 0.6} for i in range(9)
    ]
    aps[7][1.0] = None
    outcomes, asked = climbed(Ladder((1 / 6, 0.5), 1 / 3), aps)
    assert asked == [[1.0] * 9, [3.0] * 3, [6.0]]
    assert [i for i, o in enumerate(outcomes) if o.finished] == [5]
    assert [o.score.epochs for o in outcomes] == [1, 1, 1, 1, 1, 6, 3, 1, 3]
    assert outcomes[7].score.status == "diverged"


def test_ties_go_to_the_first_and_without_rungs_all_finish() -> None:
    same: list[dict[float | None, float | None]] = [{1.0: 0.2, None: 0.2}] * 4
    outcomes, _ = climbed(Ladder((1 / 6,), 0.5), same)
    assert [o.finished for o in outcomes] == [True, True, False, False]
    outcomes, asked = climbed(Ladder(), same)
    assert asked == [[6.0] * 4]
    assert all(o.finished for o in outcomes)


def test_those_that_do_not_learn_are_stopped_and_all_others_go_on() -> None:
    early = [0.08, 0.0079, 0.0081, None, 0.03]
    outcomes, asked = climbed(Ladder((1 / 6,), floor=0.1), [{1.0: ap, None: 0.5} for ap in early])
    assert asked == [[1.0] * 5, [6.0] * 3]
    assert [o.finished for o in outcomes] == [True, False, True, False, True]
    # where nobody has begun to learn, nobody can be told from the others
    outcomes, _ = climbed(Ladder((1 / 6,), floor=0.1), [{1.0: 0.0, None: 0.5}] * 3)
    assert all(o.finished for o in outcomes)


def test_as_many_candidates_as_take_the_same_time() -> None:
    assert Ladder().widened(16) == 16
    ladder = Ladder((0.25,), 0.5)
    assert ladder.widened(10) == 16  # 16 quarters, and three quarters of 8
    assert ladder.going_on(16) == 8
    assert ladder.going_on(1) == 1


def test_keys_stay_so_that_a_run_can_be_gone_on_with() -> None:
    assert training(0).key == "974a8afc9a3091f877f95a4a2c648622"
    assert training(0).rung(1.0, 100).key not in (training(0).key, training(0).rung(1.0, None).key)
    assert training(0).rung(1.0, 100).state_name == training(0).state_name


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(24, 1, 32, 32, generator=generator)
    boxes = torch.tensor([[4.0, 4, 20, 24]]).repeat(24, 1, 1)
    labels = torch.randint(0, 3, (24, 1), generator=generator)
    torch.manual_seed(0)
    return TrainingSet(images, OneStageDetector(1, 3).targets(boxes, labels, (32, 32)))


def run(data: TrainingSet, box_loss: Any = "giou", lr: float = 0.1) -> TrainingRun:
    torch.manual_seed(1)
    reg = load_loss(box_loss, reduction="sum") if isinstance(box_loss, str) else box_loss
    schedule = Schedule(epochs=4, batch=7, lr=lr)
    return detector_run(
        OneStageDetector(1, 3), data, load_loss("bce", reduction="sum"), reg, schedule, seed=5
    )


def weights(one: TrainingRun) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in one.model.parameters()])


def test_a_pause_changes_no_bit(data: TrainingSet, tmp_path: Path) -> None:
    whole = run(data)
    whole.advance(whole.steps)
    path = tmp_path / "states" / "a.pt"
    for stop in (3, 9):
        part = run(data)
        resume(part, path, stop)
        assert part.step == {3: 0, 9: 3}[stop]
        part.advance(stop)
        keep(part, path)
    rest = run(data)
    resume(rest, path, rest.steps)
    assert rest.step == 9
    rest.advance(rest.steps)
    assert torch.equal(weights(rest), weights(whole))
    assert [p.name for p in path.parent.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("damage", ["text", "cut", "other"])
def test_a_damaged_state_costs_time_alone(data: TrainingSet, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.pt"
    part = run(data)
    part.advance(3)
    keep(part, path)
    if damage == "text":
        path.write_text("not a state")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    else:  # its weights fit, and the rest is missing
        torch.save({"step": 3, "model": part.model.state_dict()}, path)
    fresh = run(data)
    before = weights(fresh)
    resume(fresh, path, fresh.steps)
    assert fresh.step == 0
    assert torch.equal(weights(fresh), before)


def test_a_state_at_or_past_the_stop_is_not_used(data: TrainingSet, tmp_path: Path) -> None:
    part = run(data)
    part.advance(3)
    keep(part, tmp_path / "a.pt")
    again = run(data)
    resume(again, tmp_path / "a.pt", 3)
    assert again.step == 0


def test_a_network_that_runs_away_is_no_error_of_the_loss(data: TrainingSet) -> None:
    one = run(data)
    with torch.no_grad():
        one.model.to_box.bias.fill_(torch.nan)  # type: ignore[attr-defined]
    with pytest.raises(Diverged, match=r"prediction that is not finite at step 1 of 14"):
        one.advance(one.steps)


# -- processes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    work = Work("cse_autoloss.testing.executors:start", "cse_autoloss.testing.executors:act", {})
    with RunStore.create(tmp_path / "run", {}) as store, make_executor("inprocess", work) as executor:
        yield Workbench(executor, store, Clock(None), RunStatus(), Silent())


def steps(name: str, sizes: tuple[int, ...], log: list[str]) -> Process[int]:
    total = 0
    for number, size in enumerate(sizes):
        jobs = [Job(f"{name}{number}{i}", {"do": "echo"}) for i in range(size)]
        results = yield Batch(jobs, lambda result: log.append(result.key))
        total += len(results)
    return total


def test_processes_share_the_workers_and_lower_ranks_go_first(bench: Workbench) -> None:
    log: list[str] = []
    later = bench.start(steps("b", (2,), log), "proxy", rank=2)
    first = bench.start(steps("a", (2, 0, 1), log), "proxy", rank=1)
    assert bench.finish(first) == 3
    # b00 was the worker's before a came
    assert log == ["b00", "a00", "a01", "a20"]
    assert not later.done
    assert bench.finish(later) == 2
    assert bench.clock.busy["proxy"] > 0


def test_a_deadline_ends_all_processes(bench: Workbench) -> None:
    log: list[str] = []
    tasks = [bench.start(steps(name, (2, 2), log)) for name in "ab"]
    bench.deadline = 0.0
    assert [bench.finish(task) for task in tasks] == [1, 0]
    assert bench.executor.pending == 0
    assert bench.finish(bench.start(steps("c", (1,), log))) == 0


def test_jobs_under_way_may_end_after_the_deadline(tmp_path: Path) -> None:
    work = Work("cse_autoloss.testing.executors:start", "cse_autoloss.testing.executors:act", {})
    with RunStore.create(tmp_path / "run", {}) as store, make_executor("pool", work, 1) as executor:
        bench = Workbench(executor, store, Clock(None), RunStatus(), Silent())
        bench.run([Job("warm", {"do": "echo"})])
        for patience, done in ((60.0, 1), (0.0, 0)):
            jobs = [Job(f"{i}", {"do": "sleep", "seconds": 1.0}) for i in range(3)]
            bench.patience, bench.deadline = patience, time.monotonic() + 0.5
            assert len(bench.run(jobs)) == done
            assert executor.pending == 0
            assert executor.utilisation().restarts == 1 - done
            bench.deadline = None


def test_looking_takes_in_what_is_there(bench: Workbench) -> None:
    log: list[str] = []
    task = bench.start(steps("a", (1, 1), log))
    bench.look()
    assert task.done
    bench.look()
    assert log == ["a00", "a10"]


@pytest.mark.parametrize(
    ("purpose", "status", "again"),
    [
        ("audit", "crashed", True),
        ("tune", "timeout", True),
        ("combine", "error", True),
        ("audit", "diverged", False),
        ("proxy", "crashed", False),
        ("rung", "timeout", False),
    ],
)
def test_after_the_search_a_failure_that_may_be_the_machines_is_tried_again(
    bench: Workbench, purpose: str, status: str, again: bool
) -> None:
    one = Training(purpose, pair("focal"), 0, 6.0)
    bench.store.add_score(one.score(status, {"status": status}, "as it was", 1.0))
    score = bench.train([one], limit=10.0)[one.key]
    assert (score.detail != "as it was") == again
    kept = bench.store.score(one.key)
    assert kept is not None
    assert kept.detail == score.detail
