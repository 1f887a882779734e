"""All pictures of a search of a parametric space, as its run keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cse_autoloss.report.approximation import plot_approximation
from cse_autoloss.report.plots import plot_gradient, plot_mu
from cse_autoloss.report.schedule_plot import plot_schedule
from cse_autoloss.spaces import CLS_MULTICLASS
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.spaces.parametric import ParametricSpace, signature_of_space
from cse_autoloss.tasks.target_logits import TargetLogits


def draw_search(
    directory: Path,
    space: ParametricSpace,
    path: Sequence[Sequence[float]],
    exported: Sequence[float] | None,
    by_step: Mapping[int, TargetLogits],
    alone: TargetLogits | None = None,
    step: str = "epoch",
) -> None:
    """Write plots/*.png: μ by step; of softmax heads the gradient of the losses that matter, and the schedule.

    Args:
        directory: of the run.
        space: that was searched.
        path: μ before the first step and after each.
        exported: θ of the loss that is taken away; None where it is of another kind.
        by_step: where the best model of a step, from 1, has its logits.
        alone: the same of a model that was trained with the exported loss; without it the last step's is shown.
        step: what a step is called.
    """
    folder = directory / "plots"
    folder.mkdir(exist_ok=True)
    plot_mu(space, path, folder / "mu.png", step)
    if signature_of_space(space) != CLS_MULTICLASS:
        return
    shown = {"μ at the start": path[0], "μ at the end": path[-1]}
    if exported is not None:
        shown["exported"] = exported
    last = by_step[max(by_step)] if by_step else None
    plot_gradient(space, shown, folder / "gradient.png", alone or last)
    if len(path) > 2:
        plot_schedule(space, path, folder / "schedule.png", by_step, step)
    if isinstance(space, AmLfs) and space.form == "bounded":
        plot_approximation(space, folder / "approximation.png")
