"""A run as a storage of Optuna."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from cse_autoloss import export_loss
from cse_autoloss.errors import AutoLossError, MissingExtraError
from cse_autoloss.runs import RunStore, Score

INSTALLED = importlib.util.find_spec("optuna") is not None


@pytest.fixture
def run(tmp_path: Path) -> Path:
    about = {"metric": {"name": "error", "higher": False}, "slots": {}}
    with RunStore.create(tmp_path / "mine", {"task": "detection"}, {"about": about}) as store:
        for key, formula, value in (("a", "Sub(1,Div(I,U))", 0.4), ("b", "Neg(Div(I,U))", 0.3)):
            losses = {"cls": "focal", "reg": formula}
            store.add_score(Score(key, "proxy", losses, "val", 0, 2.0, metrics={"error": value}))
        bad = Score(
            "c", "proxy", {"cls": "focal", "reg": "U"}, "val", 0, 2.0, status="diverged", detail="NaN"
        )
        store.add_score(bad)
        store.add_score(Score("d", "audit", losses, "test", 1, 2.0, metrics={"error": 0.1}))
    return tmp_path / "mine"


@pytest.mark.skipif(not INSTALLED, reason="optuna is not installed")
@pytest.mark.filterwarnings("default")
def test_each_search_training_is_a_trial(run: Path, tmp_path: Path) -> None:
    import optuna

    study = optuna.load_study(study_name="mine", storage=f"sqlite:///{export_loss(run, tmp_path / 's.db')}")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "FAIL"]
    assert study.best_trial.params == {"cls": "focal", "reg": "Neg(Div(I,U))"}
    assert study.best_value == 0.3
    assert study.trials[2].user_attrs["detail"] == "NaN"
    with pytest.raises(AutoLossError, match=r"s\.db"):
        export_loss(run, tmp_path / "s.db")


@pytest.mark.skipif(not INSTALLED, reason="optuna is not installed")
@pytest.mark.filterwarnings("default")
def test_thousands_of_formulas_are_numbers(run: Path, tmp_path: Path) -> None:
    """Optuna keeps all choices of a parameter with each trial: twice the trials would be four times the file."""
    import optuna

    with RunStore.open(run) as store:
        for at in range(600):
            losses = {"cls": "focal", "reg": f"Mul({at},U)"}
            store.add_score(Score(f"e{at}", "proxy", losses, "val", 0, 2.0, metrics={"error": 0.5 + at}))
    path = export_loss(run, tmp_path / "s.db")
    assert path.stat().st_size < 1_500_000
    study = optuna.load_study(study_name="mine", storage=f"sqlite:///{path}")
    assert len(study.trials) == 603
    assert study.best_trial.params == {"cls": "focal", "reg": 1}
    assert study.best_trial.user_attrs["reg"] == "Neg(Div(I,U))"


@pytest.mark.skipif(not INSTALLED, reason="optuna is not installed")
def test_a_full_disk_is_one_line_and_leaves_no_part(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    code = (
        "import resource, signal, sys; import optuna, cse_autoloss; import cse_autoloss.report.optuna_storage;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000));"
        "cse_autoloss.export_loss(sys.argv[1], sys.argv[2])"
    )
    given = [sys.executable, "-W", "ignore", "-c", code, str(run), str(path)]
    told = subprocess.run(given, capture_output=True, text=True, check=False).stderr.strip().splitlines()[-1]
    assert told.startswith(f"cse_autoloss.errors.AutoLossError: can not write {path}: ")
    assert not path.exists()


@pytest.mark.skipif(INSTALLED, reason="optuna is installed")
def test_without_optuna_it_says_what_to_install(run: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match="pip install optuna"):
        export_loss(run, tmp_path / "s.db")
    assert not (tmp_path / "s.db").exists()


def test_only_a_run_has_trials(tmp_path: Path) -> None:
    with pytest.raises(AutoLossError, match="only a run has trials"):
        export_loss("focal", tmp_path / "s.db")
