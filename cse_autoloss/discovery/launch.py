"""Starts or resumes a run: configuration, run directory, and off it goes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cse_autoloss.bench.progress import Observer
from cse_autoloss.errors import ConfigError, RunError, UnknownNameError, shorten
from cse_autoloss.settings.load import SearchConfig, changed, load_config, parse_config

TASKS = ("detection",)
CHANGEABLE = ("budget", "generations", "workers")
"""What a resumed run may be given anew: these do not change what a training's score is."""


def launch(
    task: str,
    *,
    config: str | Path | None,
    out: str | Path | None,
    resume: str | Path | None,
    overrides: Mapping[str, Any],
    observer: Observer | None,
) -> tuple[Path, dict[str, Any]]:
    """Run to the end; arguments as of `cse_autoloss.evolve`. Directory and summary."""
    if task not in TASKS:
        raise UnknownNameError.of("task", task, TASKS)
    if resume is not None:
        if config is not None or out is not None:
            raise ConfigError(
                "--resume goes on with a run as it was configured: leave --config and --out away"
            )
        directory = Path(resume)
        settled = _resumed(directory, overrides)
    else:
        settled = load_config(config or task, overrides)
        if settled.task not in TASKS or settled.search != "evolution" or settled.metric is not None:
            raise ConfigError(
                "evolve: expected task detection, search evolution and no metric, got "
                f"{shorten(settled.task)}, {settled.search} and {settled.metric}"
            )
        directory = Path(out) if out is not None else settled.out or _new_directory()
        if (directory / "run.sqlite").exists():
            raise RunError(f"{directory} holds a run already; go on with it by --resume {directory}")
    from cse_autoloss.discovery.run import discover

    return directory, discover(settled, directory, observer)


def _resumed(directory: Path, overrides: Mapping[str, Any]) -> SearchConfig:
    from cse_autoloss.runs import RunStore

    for name in overrides:
        if name not in CHANGEABLE:
            raise ConfigError(
                f"{name}: a resumed run keeps it as it was; only {', '.join(CHANGEABLE)} may change"
            )
    with RunStore.open(directory) as store:
        other = "compare" if "compare" in store.config else store.config.get("search")
        if other in ("compare", "reinforce"):
            other = f"cse-autoloss {other}"
            raise RunError(f"{directory} is a run of {other}: go on with it by {other} --resume {directory}")
        kept = parse_config(store.config)
        if overrides.get("generations") is not None:
            overrides = {"budget": None, **overrides}
        settled = changed(kept, overrides)
        if settled != kept:
            store.set_meta("config", settled.model_dump(mode="json"))
            if (settled.budget, settled.generations) != (kept.budget, kept.generations):
                store.set_meta("size", None)
                store.set_meta("fitted_again", None)
    return settled


def _new_directory() -> Path:
    """`runs/2026-01-31-174500`, with a number behind it where that is taken."""
    base = Path("runs") / time.strftime("%Y-%m-%d-%H%M%S")
    directory, number = base, 2
    while directory.exists():
        directory, number = base.with_name(f"{base.name}-{number}"), number + 1
    return directory
