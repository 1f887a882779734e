"""A search for a loss, from Python: `evolve`, `reinforce_loss` and what they give back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cse_autoloss.bench.progress import Observer
    from cse_autoloss.losses import ReducedLoss
    from cse_autoloss.spaces.parametric import ParametricSpace


@dataclass(frozen=True)
class RunResult:
    """A run that has ended.

    Attributes:
        directory: the run directory.
        summary: what summary.json holds.
    """

    directory: Path
    summary: dict[str, Any]

    @property
    def improved(self) -> bool:
        """Whether the interval of the gain over the best baseline lies above 0; never of a run that was too short."""
        best = self.summary["best"]
        if self.summary.get("too_short"):
            return False
        return bool(best and best["gain"] and best["gain"]["low"] is not None and best["gain"]["low"] > 0)

    def _repr_html_(self) -> str:
        """The run's page, as a notebook shows it."""
        from cse_autoloss.report.page import shown
        from cse_autoloss.runs import RunStore

        with RunStore.read(self.directory) as store:
            return shown(store)

    def load(self, slot: str, reduction: str = "mean") -> ReducedLoss:
        """The discovered loss of a slot ("cls" or "reg" of a detector, "loss" of other tasks) as a torch module."""
        from cse_autoloss.errors import RunError, UnknownNameError
        from cse_autoloss.losses import load_loss
        from cse_autoloss.losses.parametric import is_parametric
        from cse_autoloss.spaces import SIGNATURES, form_of

        best, slots = self.summary["best"], self.summary["slots"]
        if best is None:
            raise RunError(f"{self.directory}: the search found no loss")
        if slot not in best["losses"]:
            raise UnknownNameError.of("slot", slot, best["losses"])
        known = SIGNATURES.get(slots.get(slot, ""))
        weighted = best["alpha"] is not None and known is not None and form_of(known).weighted
        weighted = weighted and not is_parametric(best["losses"][slot])
        options = {"alpha": best["alpha"]} if weighted else {}
        return load_loss(best["losses"][slot], slots.get(slot), reduction, **options)


def evolve(
    task: str | None = None,
    *,
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    observer: Observer | None = None,
    **overrides: Any,
) -> RunResult:
    """Search for a loss, audit it and write everything into a run directory.

    Args:
        task: "detection", "classification", ..., or "my_file.py:MyTask"; None is the configuration's, or detection.
        config: YAML file, or the name of one that comes with the package; by default the detector's or the task's own.
        out: run directory; by default a new one below `runs/`.
        resume: an earlier run's directory to go on with; then only `budget`, `generations` and `workers` may be given.
        observer: who watches.
        **overrides: settings by their dotted path, with "__" for the dot: `budget="60s"`, `own__data="coco:DIR"`
            (`own` is the task's section).

    Returns:
        Directory and summary.

    Raises:
        AutoLossError: a user's mistake, in one line.
    """
    return _launched(task, config, overrides, out=out, resume=resume, observer=observer)


def reinforce_loss(
    task: str | None = None,
    *,
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    space: ParametricSpace | None = None,
    observer: Observer | None = None,
    **overrides: Any,
) -> RunResult:
    """Search a parametric space of softmax losses by REINFORCE, and hold what it finds against tuned baselines.

    Tasks that can train models side by side are searched as the papers do, an epoch a generation; any other task with a
    softmax slot, as a detector with `own__detector="two-stage"`, as `evolve` does with `search="reinforce"`.

    Args:
        task: as of `evolve`; None is the configuration's, or classification.
        config: as of `evolve`.
        out: as of `evolve`.
        resume: as of `evolve`.
        space: one of your own, searched in place of the configured one; to resume its run, give it again.
        observer: as of `evolve`.
        **overrides: as of `evolve`, for example `reinforce__space="search-softmax"`.

    Returns:
        Directory and summary.

    Raises:
        AutoLossError: a user's mistake, in one line.
    """
    if space is not None:
        from cse_autoloss.errors import ConfigError, shorten
        from cse_autoloss.spaces.parametric import ParametricSpace

        if not isinstance(space, ParametricSpace):
            raise ConfigError(f"space: expected what `ParametricSpace` says, got {shorten(repr(space))}")
    if resume is None:
        overrides["search"] = "reinforce"
        task = task or ("classification" if config is None and "task" not in overrides else None)
    return _launched(
        task, config, overrides, out=out, resume=resume, observer=observer, space=space, side_by_side=True
    )


def _launched(
    task: str | None, config: str | Path | None, overrides: Mapping[str, Any], **options: Any
) -> RunResult:
    from cse_autoloss.discovery.launch import launch
    from cse_autoloss.settings.load import config_for

    settings = {name.replace("__", "."): value for name, value in overrides.items()}
    detector = settings.get("own.detector", settings.get("detection.detector"))
    if config is None and options["resume"] is None and detector is not None:
        config = config_for(str(detector))
    directory, summary = launch(task, config=config, overrides=settings, **options)
    return RunResult(directory, summary)


def report_run(run: str | Path) -> Path:
    """Write a run's page, `report.html`, anew from what its store holds; a run that goes on may be looked at too.

    Args:
        run: directory of evolve, reinforce, compare or a study.

    Returns:
        The page: one file, which needs nothing from elsewhere.

    Raises:
        RunError: there is no run, or the page can't be written.
    """
    from cse_autoloss.errors import RunError
    from cse_autoloss.report.page import write_page
    from cse_autoloss.runs import RunStore

    with RunStore.read(run) as store:
        try:
            with store.understood("what it holds"):
                return write_page(store)
        except OSError as error:
            raise RunError(f"{run}: the page can't be written: {error.strerror or error}") from None
