"""The examples run as they stand, at small size, and leave a loss file that trains by itself."""

import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cse_autoloss import Study

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def inputs(name: str) -> tuple[torch.Tensor, ...]:
    """What the example's loss reads; the first carries the gradient."""
    logits = torch.tensor([[0.3, -0.2, 0.1], [0.5, 0.4, -1.0]], requires_grad=True)
    return {
        "regression_outliers": (torch.tensor([0.5, -2.0, 4.0], requires_grad=True),),
        "segmentation": (torch.tensor([0.5, -2.0], requires_grad=True), torch.tensor([1.0, 0.0])),
    }.get(name, (logits, torch.tensor([0, 2])))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_runs_and_leaves_a_loss_that_stands_alone(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(script.read_text(encoding="utf-8").splitlines()) < 60
    monkeypatch.chdir(tmp_path)
    # The audit as in the example, but for its size.
    whole = Study.audit
    monkeypatch.setattr(
        Study, "audit", lambda *args, **given: whole(*args, **{**given, "seeds": 2, "tuning": 2})
    )
    if script.stem == "ask_tell":  # one of them in a fresh interpreter, whose start is most of the time
        done = subprocess.run([sys.executable, script, "6"], capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
    else:
        monkeypatch.setattr(sys, "argv", [str(script), "6"])
        runpy.run_path(str(script), run_name="__main__")
    (file,) = tmp_path.glob("*_loss.py")
    assert "cse_autoloss" not in {
        line.split()[1] for line in file.read_text().splitlines() if line.startswith("import ")
    }
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    first, *others = inputs(script.stem)
    module.DiscoveredLoss()(first, *others).backward()
    assert first.grad is not None
    assert first.grad.isfinite().all()
    assert first.grad.any()


def test_all_four_are_there() -> None:
    assert {path.stem for path in SCRIPTS} == {
        "ask_tell", "noisy_labels", "regression_outliers", "segmentation",
    }  # fmt: skip
