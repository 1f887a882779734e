"""Starts or resumes a run: configuration, run directory, and off it goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cse_autoloss.bench.progress import Observer
from cse_autoloss.bench.session import fresh, new_directory
from cse_autoloss.errors import ConfigError, RunError
from cse_autoloss.settings.load import SearchConfig, changed, load_config, parse_config
from cse_autoloss.tasks.registry import section_of

CHANGEABLE = ("budget", "generations", "workers")
"""What a resumed run may be given anew: these do not change what a training's score is."""


def launch(
    task: str | None,
    *,
    config: str | Path | None,
    out: str | Path | None,
    resume: str | Path | None,
    overrides: Mapping[str, Any],
    observer: Observer | None,
) -> tuple[Path, dict[str, Any]]:
    """Run to the end; arguments as of `cse_autoloss.evolve`. Directory and summary."""
    if resume is not None:
        if config is not None or out is not None:
            raise ConfigError(
                "--resume goes on with a run as it was configured: leave --config and --out away"
            )
        directory = Path(resume)
        settled = _resumed(directory, overrides)
    else:
        settled = load_config(config, {"task": task, **overrides} if task else overrides, section_of)
        directory = fresh(Path(out) if out is not None else settled.out or new_directory())
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
        kept = parse_config(store.config, section=section_of)
        if overrides.get("generations") is not None:
            overrides = {"budget": None, **overrides}
        settled = changed(kept, overrides)
        if settled != kept:
            store.set_meta("config", settled.model_dump(mode="json"))
            if (settled.budget, settled.generations) != (kept.budget, kept.generations):
                store.set_meta("size", None)
                store.set_meta("fitted_again", None)
    return settled
