"""The search's trainings by another optimiser or in another precision than the audit's."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cse_autoloss as cal
from cse_autoloss.bench.budget import AuditSize, Cost, fit
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.session import Session
from cse_autoloss.discovery.learning import learnt
from cse_autoloss.errors import ConfigError
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import load_config
from cse_autoloss.spaces import SIGNATURES
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.protocol import Schedule as Asked
from cse_autoloss.tasks.registry import section_of
from cse_autoloss.tasks.regression import RegressionTask
from cse_autoloss.training import precision
from cse_autoloss.training.loop import Schedule, TrainingRun
from cse_autoloss.training.muon import Muon, kernels_of, orthogonalised

LOSSES = LossSet.of({"cls": "bce", "reg": "giou"})


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8)])
def test_a_kernels_step_has_no_scale_and_keeps_its_directions(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalised(matrix)
    assert found.shape == shape
    assert torch.allclose(found, orthogonalised(1000 * matrix), atol=1e-4)
    # In the basis of the matrix's own directions it is diagonal, and no longer stretched.
    inner = u.T @ found @ v.T
    assert torch.allclose(inner, torch.diag(inner.diagonal()), atol=1e-3)
    large = inner.diagonal()[values > 0.1 * values[0]]
    assert ((large > 0.6) & (large < 1.3)).all()


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.norm(self.first(images)).relu()).mean((1, 2, 3))


def _run(optimizer: Any) -> TrainingRun:
    source = torch.Generator().manual_seed(1)
    images = torch.randn(32, 1, 6, 6, generator=source)
    wanted = images.mean((1, 2, 3)).abs()
    model = _Net()

    def loss(index: Tensor, source: torch.Generator) -> Tensor:
        return (model(images[index]) - wanted[index]).square().mean()

    return TrainingRun(model, 32, loss, Schedule(6.0, 8, 0.1, optimizer=optimizer), seed=0)


def test_kernels_alone_are_moved_by_it() -> None:
    run = _run("muon")
    assert isinstance(run._optimiser, Muon)
    assert kernels_of(run.model) == [run.model.first.weight]
    before = run.model.first.weight.detach().clone()
    run.advance(1)
    rate = run._optimiser.param_groups[-1]["lr"]  # the next step's, and so no smaller than this one's
    moved = (run.model.first.weight - before).norm()
    assert 0 < moved < rate * 8**0.5
    assert torch.equal(run.model.last.weight, _stepped_by_sgd())


def _stepped_by_sgd() -> Tensor:
    run = _run("sgd")
    run.advance(1)
    return run.model.last.weight


def test_models_without_kernels_have_their_inner_matrices_moved() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    assert kernels_of(model) == [model[0].weight, model[2].weight]


def test_a_pause_changes_no_digit() -> None:
    whole, first, rest = _run("muon"), _run("muon"), _run("muon")
    whole.advance(whole.steps)
    first.advance(10)
    rest.load_state(first.state())
    rest.advance(rest.steps)
    kept = whole.model.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in rest.model.state_dict().items())
    assert not torch.equal(kept["first.weight"], _run("muon").model.first.weight)


def test_what_is_usual_leaves_a_trainings_key_as_it_was() -> None:
    plain = Training("proxy", LOSSES, 0, 2.0)
    assert plain.key == Training("tune", LOSSES, 0, 2.0, optimizer="sgd", precision=None).key
    keys = {
        Training("proxy", LOSSES, 0, 2.0, optimizer="muon").key,
        Training("proxy", LOSSES, 0, 2.0, precision="bfloat16").key,
        plain.key,
    }
    assert len(keys) == 3


def test_the_search_has_them_and_the_audit_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = collections.defaultdict(set)
    train = DetectionTask.train

    def watched(self: DetectionTask, losses: Any, *, schedule: Asked, **rest: Any) -> Any:
        seen[rest["split"], schedule.epochs].add((schedule.optimizer, schedule.precision))
        return train(self, losses, schedule=schedule, **rest)

    monkeypatch.setattr(DetectionTask, "train", watched)
    quick = {"proxy__optimizer": "muon", "proxy__precision": "bfloat16", "proxy__epochs": 1.25}
    out = tmp_path / "run"
    cal.evolve(config="smoke", seed=0, out=out, executor="inprocess", device="cpu", **quick)
    usual = {("sgd", None)}
    assert seen.pop(("val", 1.25)) == {("muon", "bfloat16")}
    measured = [how for (split, epochs), how in seen.items() if ("muon", "bfloat16") in how]
    assert len(measured) == 2, "each length that is measured, is for the search's trainings too"
    assert all(how == usual for (split, _), how in seen.items() if split == "test")
    assert any(split == "test" for split, _ in seen)
    assert all(how in (usual, usual | {("muon", "bfloat16")}) for how in seen.values())
    with RunStore.read(out) as store:
        cost = store.typed_meta("cost", Cost)
        assert cost is not None
        assert cost.quick is not None


def test_what_another_optimiser_trained_is_not_the_runs_own(tmp_path: Path) -> None:
    first = Path(cal.evolve(config="smoke", seed=1, out=tmp_path / "first").directory)
    slots = {"cls": SIGNATURES["cls-binary"]}
    rows = {}
    for name in ("sgd", "muon"):
        config = load_config("smoke", {"proxy.optimizer": name}, section_of)
        with RunStore.create(tmp_path / name, {}) as store:
            rows[name] = learnt(store, [str(first)], config, slots)
    assert any(row.worths for row in rows["sgd"])
    assert not any(row.worths for row in rows["muon"])


def test_a_cheaper_training_has_more_of_them_and_the_audit_as_before() -> None:
    asked = AuditSize(winners=3, baselines=7, tuning=4, tune_epochs=15, seeds=5, epochs=15)
    plain, quick = (
        fit(240, 5, 2, cost, 0.5, 15, 16, asked) for cost in (Cost(0.5, 0.3), Cost(0.5, 0.3, 0.2))
    )
    assert quick.epochs * quick.share > plain.epochs * plain.share
    assert quick.audit == plain.audit


def test_a_task_with_a_training_of_its_own_refuses(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from cse_autoloss.tasks.regression import RegressionTask\n"
        "class Mine(RegressionTask):\n    name = 'mine'\n    quickens = False\n"
    )
    with pytest.raises(
        ConfigError, match=r"^proxy: .*has a training of its own; expected no optimizer but sgd"
    ):
        cal.evolve(task=f"{file}:Mine", out=tmp_path / "run", proxy__optimizer="muon")
    assert not (tmp_path / "run").exists()


def test_names_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"proxy\.optimizer: expected 'sgd' or 'muon', got 'adam'"):
        cal.evolve(config="smoke", out=tmp_path / "run", proxy__optimizer="adam")


@pytest.mark.parametrize(("here", "kept"), [("bfloat16", "bfloat16"), ("float32", None)])
def test_auto_is_settled_when_a_run_begins(
    here: str, kept: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "quick_here", lambda device: here)
    out = tmp_path / "run"
    result = cal.evolve(
        config="smoke", out=out, executor="inprocess", device="cpu", generations=1, proxy__precision="auto"
    )
    with RunStore.read(out) as store:
        assert store.config["proxy"]["precision"] == kept
    told = [note for note in result.summary["notes"] if "compute in bfloat16" in note]
    assert len(told) == (kept is not None)


@pytest.mark.parametrize(
    "settings",
    [{"detection.precision": "float16"}, {"executor": "ray"}, {"task": "regression"}],
)
def test_auto_is_the_tasks_own_where_another_would_not_do(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "quick_here", lambda device: "bfloat16")
    monkeypatch.setattr("cse_autoloss.executors.ray_pool.cluster_gpus", lambda *_: 0)
    monkeypatch.setattr(RegressionTask, "quickens", False)
    session = Session(
        load_config(None, {"proxy.precision": "auto", "device": "auto", **settings}, section_of)
    )
    assert session.quick == ("sgd", None)


def test_the_probe_knows_no_other_precision() -> None:
    assert precision.quick_here("cpu") in ("float32", "bfloat16")
