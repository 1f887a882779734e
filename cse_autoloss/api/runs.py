"""A search for a loss, from Python: `evolve` and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cse_autoloss.bench.progress import Observer
    from cse_autoloss.losses import ReducedLoss


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
        """Whether the interval of the gain over the best baseline lies above 0."""
        best = self.summary["best"]
        return bool(best and best["gain"] and best["gain"]["low"] is not None and best["gain"]["low"] > 0)

    def load(self, branch: str, reduction: str = "mean") -> ReducedLoss:
        """The discovered loss of a branch, "cls" or "reg", as a torch module."""
        from cse_autoloss.errors import RunError, UnknownNameError
        from cse_autoloss.losses import load_loss

        if branch not in ("cls", "reg"):
            raise UnknownNameError.of("branch", branch, ("cls", "reg"))
        best = self.summary["best"]
        if best is None:
            raise RunError(f"{self.directory}: the search found no loss")
        if branch == "reg":
            return load_loss(best["reg"], branch="reg", reduction=reduction)
        options = {} if best["alpha"] is None else {"alpha": best["alpha"]}
        cls_branch = next((b for b in self.summary["hall_of_fame"] if b != "reg"), None)
        return load_loss(best["cls"], branch=cls_branch, reduction=reduction, **options)


def evolve(
    task: str = "detection",
    *,
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    observer: Observer | None = None,
    **overrides: Any,
) -> RunResult:
    """Search for a loss, audit it and write everything into a run directory.

    Args:
        task: "detection".
        config: YAML file, or the name of one that comes with the package; by default the detector's or the task's own.
        out: run directory; by default a new one below `runs/`.
        resume: an earlier run's directory to go on with; then only `budget`, `generations` and `workers` may be given.
        observer: who watches.
        **overrides: settings by their dotted path, with "__" for the dot: `budget="60s"`, `detection__data="coco:DIR"`.

    Returns:
        Directory and summary.

    Raises:
        AutoLossError: a user's mistake, in one line.
    """
    from cse_autoloss.discovery.launch import launch
    from cse_autoloss.settings.load import config_for

    settings = {name.replace("__", "."): value for name, value in overrides.items()}
    if config is None and resume is None and "detection.detector" in settings:
        config = config_for(settings["detection.detector"])
    directory, summary = launch(
        task, config=config, out=out, resume=resume, observer=observer, overrides=settings
    )
    return RunResult(directory, summary)
