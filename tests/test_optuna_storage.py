"""A run as a storage of Optuna."""

from __future__ import annotations

import importlib.util
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


@pytest.mark.skipif(INSTALLED, reason="optuna is installed")
def test_without_optuna_it_says_what_to_install(run: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match="pip install optuna"):
        export_loss(run, tmp_path / "s.db")
    assert not (tmp_path / "s.db").exists()


def test_only_a_run_has_trials(tmp_path: Path) -> None:
    with pytest.raises(AutoLossError, match="only a run has trials"):
        export_loss("focal", tmp_path / "s.db")
