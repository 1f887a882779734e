"""A run's search trainings as a study of Optuna, which its dashboard opens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cse_autoloss.errors import MissingExtraError, RunError, not_written
from cse_autoloss.report.view import RunView
from cse_autoloss.runs import Score

MOST_CHOICES = 200
"""Different formulas up to which a slot's parameter is the formula itself: Optuna keeps all choices with each trial."""


def write_study(view: RunView, path: Path) -> Path:
    """Write a new SQLite storage with one study, named as the run directory: one trial for each search training.

    A trial's parameters are the formulas by slot (of more than `MOST_CHOICES` their numbers, in order of appearance,
    and an attribute has the formula), its value is the search's metric on validation. A training without metrics is a
    failed trial, whose attribute `detail` says why.

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
    study_of = {
        "storage": f"sqlite:///{path.resolve()}",
        "study_name": view.directory.resolve().name,
        "direction": "maximize" if view.metric.higher else "minimize",
    }
    try:
        optuna.create_study(**study_of).add_trials(_trials(optuna, scores, view.metric.name))
    except BaseException as error:
        path.unlink(missing_ok=True)
        # SQLAlchemy's error, or Optuna's own around it: the disk is full, say.
        if type(error).__module__.partition(".")[0] in ("sqlalchemy", "optuna", "sqlite3"):
            raise not_written(path, OSError(0, str(error.__cause__ or error).splitlines()[0])) from None
        raise
    return path


def _trials(optuna: Any, scores: Sequence[Score], metric: str) -> Iterator[Any]:
    formulas: dict[str, dict[str, int]] = {}
    for score in scores:
        for slot, formula in score.losses.items():
            formulas.setdefault(slot, {}).setdefault(formula, len(formulas.get(slot, {})))
    choices = optuna.distributions.CategoricalDistribution
    whole = optuna.distributions.IntDistribution
    spans = {
        slot: choices(tuple(sorted(own))) if len(own) <= MOST_CHOICES else whole(0, len(own) - 1)
        for slot, own in formulas.items()
    }
    for score in scores:
        told = {"seed": score.seed, "epochs": score.epochs, "seconds": score.seconds, "detail": score.detail}
        numbered = {slot: text for slot, text in score.losses.items() if len(formulas[slot]) > MOST_CHOICES}
        done = score.status == "ok"
        yield optuna.trial.create_trial(
            state=optuna.trial.TrialState.COMPLETE if done else optuna.trial.TrialState.FAIL,
            value=score.metrics[metric] if done else None,
            params={
                slot: formulas[slot][text] if slot in numbered else text
                for slot, text in score.losses.items()
            },
            distributions={slot: spans[slot] for slot in score.losses},
            user_attrs={**told, "status": score.status, **score.settings, **numbered},
        )
