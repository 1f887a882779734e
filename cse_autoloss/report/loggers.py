"""A run's figures for TensorBoard, MLflow or Weights & Biases, while it goes on and at its end (setting `log`).

The x axis is the run's second, which only grows, across a resume too. All three write into the run directory and need
no network: `tensorboard/`, `mlflow.db` and `wandb/` (kept offline; `wandb sync` sends it).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

from cse_autoloss.bench.progress import Observer, RunStatus
from cse_autoloss.errors import MissingExtraError
from cse_autoloss.runs import RunStore

EVERY = 10.0
"""Seconds of the run between two entries within one generation."""


class Logger(Protocol):
    """Where figures and words go."""

    def figures(self, values: Mapping[str, float], second: int) -> None:
        """Add a point to each curve."""
        ...

    def words(self, name: str, text: str) -> None:
        """Keep a text."""
        ...

    def close(self) -> None:
        """Write what is still held."""
        ...


class TensorBoard:
    """Event files in `tensorboard/`."""

    def __init__(self, module: ModuleType, store: RunStore) -> None:
        self._board = module.SummaryWriter(str(store.directory / "tensorboard"))

    def figures(self, values: Mapping[str, float], second: int) -> None:
        for name, value in values.items():
            self._board.add_scalar(name, value, second)

    def words(self, name: str, text: str) -> None:
        self._board.add_text(name, text)

    def close(self) -> None:
        self._board.close()


class MLflow:
    """A run of the experiment "cse-autoloss" in the database `mlflow.db`."""

    def __init__(self, module: ModuleType, store: RunStore) -> None:
        folder = store.directory.resolve()
        self._client = module.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        found = self._client.get_experiment_by_name("cse-autoloss")
        experiment = (
            found.experiment_id
            if found
            else self._client.create_experiment("cse-autoloss", (folder / "mlruns").as_uri())
        )
        self._run = self._client.create_run(experiment, run_name=folder.name).info.run_id
        for name in ("task", "search", "seed", "budget", "generations"):
            self._client.log_param(self._run, name, store.config.get(name))

    def figures(self, values: Mapping[str, float], second: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=second)

    def words(self, name: str, text: str) -> None:
        self._client.set_tag(self._run, name, text)

    def close(self) -> None:
        self._client.set_terminated(self._run)


class WandB:
    """An offline run in `wandb/`."""

    def __init__(self, module: ModuleType, store: RunStore) -> None:
        self._run = module.init(
            project="cse-autoloss",
            name=store.directory.resolve().name,
            dir=str(store.directory),
            mode="offline",
            config=dict(store.config),
        )

    def figures(self, values: Mapping[str, float], second: int) -> None:
        self._run.log(dict(values), step=second)

    def words(self, name: str, text: str) -> None:
        self._run.summary[name] = text

    def close(self) -> None:
        self._run.finish()


_KINDS: dict[str, tuple[type[TensorBoard] | type[MLflow] | type[WandB], str]] = {
    "tensorboard": (TensorBoard, "torch.utils.tensorboard"),
    "mlflow": (MLflow, "mlflow"),
    "wandb": (WandB, "wandb"),
}


def library(name: str) -> ModuleType:
    """The library of a logger; MissingExtraError, with the line that installs it, where there is none."""
    try:
        return importlib.import_module(_KINDS[name][1])
    except ImportError:
        raise MissingExtraError(f"log: {name} needs its library: pip install {name}") from None


class Logged:
    """An observer that logs what it sees, and hands it on."""

    def __init__(self, logger: Logger, watcher: Observer) -> None:
        self._logger, self._watcher = logger, watcher
        self._place: tuple[str, int] | None = None
        self._due = 0.0

    def update(self, status: RunStatus) -> None:
        """Show it; log it where the run came to another generation or phase, and every ten seconds."""
        self._watcher.update(status)
        place = status.phase, status.generation
        if place != self._place or status.elapsed >= self._due:
            self._place, self._due = place, status.elapsed + EVERY
            self._logger.figures(figures_of(status), int(status.elapsed))


def _end(logger: Logger, summary: Mapping[str, Any]) -> None:
    """The verdict, the losses, and what the audit says."""
    best = summary.get("best") or {}
    audited = {
        f"audit/{part}/{end}": value
        for part in (() if summary.get("too_short") else ("test", "gain"))
        for end, value in (best.get(part) or {}).items()
    }
    figures = {name: float(value) for name, value in audited.items() if isinstance(value, (int, float))}
    logger.figures(figures, int(summary["seconds"]["total"]))
    logger.words("verdict", summary["verdict"])
    for slot, formula in best.get("losses", {}).items():
        logger.words(f"loss/{slot}", formula)


def figures_of(status: RunStatus) -> dict[str, float]:
    """What a status holds of figures, by name."""
    found: dict[str, float] = {f"funnel/{name}": float(count) for name, count in status.funnel.items()}
    found |= {f"seconds/{stage}": seconds for stage, seconds in status.seconds.items()}
    found |= {f"best/{slot}": value for slot, (_, value) in status.best.items()}
    if status.baseline is not None:
        found["best/handcrafted"] = status.baseline[1]
    return found | {"generation": float(status.generation)}


@contextmanager
def logged(name: str | None, store: RunStore, watcher: Observer) -> Iterator[Observer]:
    """The observer of a run that logs, around the one that watches; that one itself where `name` is None.

    Args:
        name: tensorboard, mlflow or wandb.
        store: of the run; at the end its summary is logged.
        watcher: is shown all.

    Raises:
        MissingExtraError: the library is not installed.
    """
    if name is None:
        yield watcher
        return
    logger = _KINDS[name][0](library(name), store)
    try:
        yield Logged(logger, watcher)
        if (summary := store.meta("summary")) is not None:
            _end(logger, summary)
    finally:
        logger.close()
