"""A run's search trainings as a study of Optuna, which its dashboard opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cse_autoloss.errors import MissingExtraError, RunError, not_written
from cse_autoloss.report.view import RunView
from cse_autoloss.runs import Score


def write_study(view: RunView, path: Path) -> Path:
    """Write a new SQLite storage with one study, named as the run directory: one trial for each search training.

    A trial's parameters are the formulas by slot, its value is the search's metric on validation. A training without
    metrics is a failed trial, whose attribute `detail` says why.

    Returns:
        The path.

    Raises:
        MissingExtraError: optuna is not installed.
        AutoLossError: the run trained nothing, or the file is there already or can't be written.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("a study as .db needs Optuna: pip install optuna") from None
    scores = view.store.scores("proxy")
    if not scores:
        raise RunError(f"{view.directory}: its search trained nothing; there are no trials to write")
    try:
        path.touch(exist_ok=False)
    except OSError as error:
        raise not_written(path, error) from None
    slots = sorted({slot for score in scores for slot in score.losses})
    formulas = {
        slot: optuna.distributions.CategoricalDistribution(
            tuple(sorted({score.losses[slot] for score in scores if slot in score.losses}))
        )
        for slot in slots
    }
    study = optuna.create_study(
        storage=f"sqlite:///{path.resolve()}",
        study_name=view.directory.resolve().name,
        direction="maximize" if view.metric.higher else "minimize",
    )
    study.add_trials([_trial(optuna, score, formulas, view.metric.name) for score in scores])
    return path


def _trial(optuna: Any, score: Score, formulas: dict[str, Any], metric: str) -> Any:
    done = score.status == "ok"
    told = {"seed": score.seed, "epochs": score.epochs, "seconds": score.seconds, "detail": score.detail}
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if done else optuna.trial.TrialState.FAIL,
        value=score.metrics[metric] if done else None,
        params=dict(score.losses),
        distributions={slot: formulas[slot] for slot in score.losses},
        user_attrs=told | {"status": score.status, **score.settings},
    )
