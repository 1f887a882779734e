"""Every task of the package: its conformance, and a whole search on it at the smallest size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import cse_autoloss
from cse_autoloss.testing.tasks import TaskConformance

TINY: dict[str, Any] = {
    "generations": 2,
    "executor": "inprocess",
    "device": "cpu",
    "evolution__population": 6,
    "evolution__offspring": 3,
    "evolution__batch": 40,
    "evolution__scouts": 400,
    "evolution__attempts": 3,
    "evolution__tournament": 2,
    "evolution__elite": 1,
    "evolution__combine": 1,
    "proxy__epochs": 2,
    "audit__finalists": 1,
    "audit__baselines": 2,
    "audit__tune_epochs": 2,
    "audit__epochs": 2,
    "audit__seeds": 2,
    "audit__edge_steps": 0,
    "audit__resamples": 1000,
}
SMALL: dict[str, dict[str, Any]] = {
    "classification": {"train_limit": 200},
    "segmentation": {"scenes": {"canvas": 16, "size": [8, 12], "digits": [1, 1], "counts": [40, 24, 24]}},
}


@pytest.mark.parametrize("task", SMALL)
def test_a_search_runs_to_its_end(task: str, tmp_path: Path) -> None:
    own = {f"own__{name}": value for name, value in SMALL[task].items()}
    result = cse_autoloss.evolve(task, config=task, out=tmp_path / "run", **TINY, **own)
    summary = result.summary
    assert summary["status"] == "finished"
    assert summary["best"]["gain"]["low"] <= summary["best"]["gain"]["high"]
    assert len(summary["baselines"]) == 2


class TestClassification(TaskConformance):
    task = "classification"
    own = SMALL["classification"]
    absent: ClassVar = {"data": "folder:/nowhere"}

    def spoil(self, task: Any, split: str) -> None:
        getattr(task.splits, split).labels[:] = 0


class TestSegmentation(TaskConformance):
    task = "segmentation"
    own = SMALL["segmentation"]
    absent: ClassVar = {"data": "folder:/nowhere"}

    def spoil(self, task: Any, split: str) -> None:
        task.splits[split].masks[:] = np.roll(task.splits[split].masks, 5, axis=1)


class TestDetection(TaskConformance):
    task = "detection"
    own: ClassVar = {
        "scenes": {"canvas": 32, "digits": [1, 1], "size": [16, 20], "counts": [64, 24, 24], "noise": 0.0}
    }
    epochs = 10.0
    absent: ClassVar = {"data": "coco:/nowhere"}

    def spoil(self, task: Any, split: str) -> None:
        task.split(split).labels[:] = 0
