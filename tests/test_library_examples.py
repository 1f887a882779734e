"""The examples of timm and Lightning run where these are installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

LIBRARIES = Path(__file__).parents[1] / "examples" / "libraries"
pytestmark = pytest.mark.torchvision


def printed(library: str, script: str, *args: str) -> list[str]:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    command = [sys.executable, LIBRARIES / script, *args]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def losses(lines: list[str]) -> list[float]:
    return [float(line.split()[-1]) for line in lines if line.startswith("step ")]


@pytest.mark.parametrize(
    "loss", [["cse-autoloss-a-cls"], ["quality-focal", "cls-binary"]], ids=lambda x: x[0]
)
def test_timm_trains_with_class_indices_and_with_mixup(loss: list[str]) -> None:
    found = losses(printed("timm", "timm_classification.py", *loss))
    plain, mixed = found[:10], found[10:]
    assert len(mixed) == 10
    assert all(later < earlier for earlier, later in pairwise(plain))
    assert mixed[-1] < mixed[0]


def test_lightning_trains_and_its_checkpoint_knows_the_loss() -> None:
    lines = printed("lightning", "lightning_module.py", "softmax-poly-1")
    found = losses(lines)
    assert len(found) == 10
    assert found[-1] < found[0]
    assert lines[-1].startswith("from the checkpoint: GraphLoss('Dot(Y,")


@pytest.mark.parametrize("script", ["timm_classification.py", "lightning_module.py"])
def test_it_fits_on_a_page(script: str) -> None:
    assert len((LIBRARIES / script).read_text(encoding="utf-8").splitlines()) < 60
