"""Starts or resumes a run: configuration, run directory, and off it goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cse_autoloss.bench.progress import Clock, Observer
from cse_autoloss.bench.session import fresh, new_directory
from cse_autoloss.bench.stored import keep_config, named_again, stored_config
from cse_autoloss.errors import ConfigError, RunError
from cse_autoloss.settings.fields import written
from cse_autoloss.settings.load import SearchConfig, changed, load_config
from cse_autoloss.tasks.registry import TASKS, section_of

if TYPE_CHECKING:
    from cse_autoloss.spaces.parametric import ParametricSpace

CHANGEABLE = ("budget", "generations", "workers", "log", "ray.address")
"""What a resumed run may be given anew, and the folders that it writes into besides its own: these do not change what
a training's score is."""


def launch(
    task: str | None,
    *,
    config: str | Path | None,
    out: str | Path | None,
    resume: str | Path | None,
    overrides: Mapping[str, Any],
    observer: Observer | None,
    space: ParametricSpace | None = None,
    side_by_side: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """Run to the end; arguments as of `cse_autoloss.evolve` and `cse_autoloss.reinforce_loss`. Directory and summary.

    `side_by_side`: models are trained so, where the task can.
    """
    if resume is not None:
        if config is not None or out is not None:
            raise ConfigError(
                "--resume goes on with a run as it was configured: leave --config and --out away"
            )
        directory = Path(resume)
        settled = _resumed(directory, {**({"task": task} if task else {}), **overrides})
    else:
        own = {} if space is None else {"executor": "inprocess"}  # no other process knows it
        settled = load_config(config, {**({"task": task} if task else {}), **overrides, **own}, section_of)
        if side_by_side and TASKS.get(settled.task).stacks:
            settled = changed(settled, {"reinforce.side_by_side": True})
        directory = fresh(Path(out) if out is not None else settled.out or new_directory())
    from cse_autoloss.discovery.run import discover

    return directory, discover(settled, directory, observer, space)


def _resumed(directory: Path, overrides: Mapping[str, Any]) -> SearchConfig:
    from cse_autoloss.runs import RunStore

    overrides, code = named_again(overrides)
    with RunStore.open(directory) as store:
        if "compare" in store.config:
            command = "cse-autoloss compare"
            raise RunError(
                f"{directory} is a run of {command}: go on with it by {command} --resume {directory}"
            )
        kept = stored_config(store, code, searches=True, cluster=overrides.get("ray.address"))
        may_change = (*CHANGEABLE, *(name for name in written(kept) if name != "out"))
        for name in overrides:
            if name not in may_change:
                raise ConfigError(
                    f"{name}: a resumed run keeps it as it was; only {', '.join(may_change)} may change"
                )
        if overrides.get("generations") is not None:
            overrides = {"budget": None, **overrides}
        settled = changed(kept, overrides)
        took = Clock.of(store, settled.budget).elapsed
        if (
            store.status == "finished"
            and settled.budget not in (None, kept.budget)
            and settled.budget <= took
        ):
            raise ConfigError(
                f"budget: {directory} is finished and took {took:.0f} s in all; give more to go on with it"
            )
        if settled != kept:
            keep_config(store, settled.model_dump(mode="json"))
            if (settled.budget, settled.generations) != (kept.budget, kept.generations):
                store.status = "running"
                store.set_meta("size", None)
                store.set_meta("fitted_again", None)
    return settled
