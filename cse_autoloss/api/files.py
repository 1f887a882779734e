"""Losses into files: drawings, code and data, a page that explains one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cse_autoloss.api.formulas import expression
from cse_autoloss.errors import RunError, UnknownNameError

if TYPE_CHECKING:
    from cse_autoloss.graph import LossGraph
    from cse_autoloss.losses import LossFile


def render_loss(source: str | Path | LossGraph, path: str | Path, branch: str | None = None) -> Path:
    """Draw the computation graph of a loss; arguments and errors as for `export_loss`.

    Args:
        path: .svg, .png or .dot. The two losses of a run stand one above the other.

    Returns:
        The path.
    """
    from cse_autoloss.export import draw, draw_pair

    first, *second = (one.graph for one in _losses_of(source, branch))
    return draw_pair(first, second[0], path) if second else draw(first, path)


def export_loss(source: str | Path | LossGraph, path: str | Path, branch: str | None = None) -> Path:
    """Write a loss as .py, .json, .tex, .onnx, .svg, .png or .dot.

    Args:
        source: a run directory (its discovered losses), a formula, a catalogue name, a loss.json or a graph.
        path: the file; its suffix says the form.
        branch: where the formula's variables do not tell it; for a run, "cls-binary" or "reg" to take one of two.

    Returns:
        The path.

    Raises:
        AutoLossError: no such loss, or no such form, or a file that can't be written.
    """
    from cse_autoloss.export import export_loss

    first, *second = _losses_of(source, branch)
    loss = (first.graph, second[0].graph) if second else first.graph
    return export_loss(loss, path, alpha=first.alpha, provenance=first.provenance or None)


def explain_loss(source: str | Path, path: str | Path, branch: str | None = None) -> list[Path]:
    """Write a page that shows a loss beside those that people use, with its pictures beside it.

    Args:
        source: a catalogue name, a formula, a loss.json or a run directory.
        path: the page, .html. Of a run that found two losses, "-cls" and "-reg" are put before the suffix.
        branch: where the formula's variables do not tell it; for a run, "cls-binary" or "reg" to take one of two.

    Returns:
        The files that were written.

    Raises:
        AutoLossError: no such loss, another suffix, or a file that can't be written.
    """
    from cse_autoloss.explain import explain

    path = Path(path)
    if not _is_run(source):
        return explain(source, branch).save(path)
    graphs = [one.graph for one in _losses_of(source, branch)]
    written: list[Path] = []
    for graph in graphs:
        name = path if len(graphs) == 1 else path.with_stem(f"{path.stem}-{graph.branch.split('-')[0]}")
        written += explain(graph.formula, graph.branch).save(name)
    return written


def _losses_of(source: str | Path | LossGraph, branch: str | None) -> tuple[LossFile, ...]:
    """One loss; or, of a run that found two, that of the classes and that of the boxes."""
    from cse_autoloss.graph import LossGraph
    from cse_autoloss.losses import LossFile

    if isinstance(source, LossGraph):
        return (LossFile(source, None, {}),)
    if not _is_run(source):
        loss = expression(source, branch)
        return (LossFile(loss.graph, loss.alpha, {}),)
    found = _found_in(Path(source))
    branches = [one.graph.branch for one in found]
    if branch is not None and branch not in branches:
        raise UnknownNameError.of("branch of this run", branch, branches)
    return tuple(one for one in found if branch in (None, one.graph.branch))


def _found_in(run: Path) -> tuple[LossFile, ...]:
    from cse_autoloss.export import from_json, from_json_pair

    file = run / "best" / "loss.json"
    if not file.exists():
        raise RunError(f"{run}: the run has no discovered loss yet ({file} is missing)")
    if '"cls":' in file.read_text(encoding="utf-8"):
        return from_json_pair(file)
    return (from_json(file),)


def _is_run(source: object) -> bool:
    return isinstance(source, (str, Path)) and os.path.exists(Path(source, "run.sqlite"))
