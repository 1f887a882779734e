"""The public functions: what the command line does, for Python."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from cse_autoloss.verdict import Verdict

if TYPE_CHECKING:
    from cse_autoloss.bench.progress import Observer
    from cse_autoloss.graph import LossGraph, Signature
    from cse_autoloss.losses import GraphLoss, LossFile, ReducedLoss


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

    def load(self, slot: str, reduction: str = "mean") -> ReducedLoss:
        """The discovered loss of a slot, "cls" or "reg", as a torch module."""
        from cse_autoloss.errors import RunError, UnknownNameError
        from cse_autoloss.losses import load_loss
        from cse_autoloss.spaces import REG

        if slot not in ("cls", "reg"):
            raise UnknownNameError.of("slot", slot, ("cls", "reg"))
        best = self.summary["best"]
        if best is None:
            raise RunError(f"{self.directory}: the search found no loss")
        if slot == "reg":
            return load_loss(best["reg"], signature=REG, reduction=reduction)
        options = {} if best["alpha"] is None else {"alpha": best["alpha"]}
        signature = next((name for name in self.summary["hall_of_fame"] if name != REG.name), None)
        return load_loss(best["cls"], signature=signature, reduction=reduction, **options)


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
        config: YAML file, or the name of one that comes with the package; by default the task's own.
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

    settings = {name.replace("__", "."): value for name, value in overrides.items()}
    directory, summary = launch(
        task, config=config, out=out, resume=resume, observer=observer, overrides=settings
    )
    return RunResult(directory, summary)


def parse(formula: str, signature: str | Signature = "cls-binary") -> LossGraph:
    """Parse a loss in prefix notation, for example `Neg(Dot(Y,Log(Softmax(X))))`; see `spaces.parse`."""
    from cse_autoloss.spaces import parse as parse_formula

    return parse_formula(formula, signature)


@overload
def verify(formula: str | LossGraph, signature: str | Signature = "cls-binary") -> Verdict: ...
@overload
def verify(
    formula: list[str] | list[LossGraph] | tuple[str | LossGraph, ...],
    signature: str | Signature = "cls-binary",
) -> list[Verdict]: ...
def verify(
    formula: str | LossGraph | list[str] | list[LossGraph] | tuple[str | LossGraph, ...],
    signature: str | Signature = "cls-binary",
) -> Verdict | list[Verdict]:
    """Whether a loss has the convergence properties of its signature.

    Args:
        formula: a formula, a catalogue name, a graph, or a list of them.
        signature: "cls-binary", "cls-multiclass", "reg", a registered name or a `Signature`; a graph brings its own.

    Returns:
        A `Verdict` (`.accepted`, `.reason`), or a list of them.

    Raises:
        FormulaError: a formula does not parse.
    """
    from cse_autoloss.verification import verify_population

    if isinstance(formula, (list, tuple)):
        return verify_population([_graph(one, signature) for one in formula])
    return verify_population([_graph(formula, signature)])[0]


def _graph(source: Any, signature: str | Signature) -> LossGraph:
    """The graph of a formula, a catalogue name that is an expression, or a graph."""
    from cse_autoloss.graph import LossGraph
    from cse_autoloss.spaces import signature_of

    if isinstance(source, LossGraph):
        return source
    if "(" in source or source.strip() in signature_of(signature).terminals:
        return parse(source, signature)
    return _any_graph(source, None)


def load_loss(
    source: str | Path, signature: str | Signature | None = None, reduction: str = "mean", **options: Any
) -> ReducedLoss:
    """A loss as a torch module, from a catalogue name, a formula or a loss.json; see `losses.load_loss`."""
    from cse_autoloss.losses import load_loss as load

    return load(source, signature, reduction, **options)


def simulate(formula: str | LossGraph, signature: str | Signature = "cls-binary") -> Verdict:
    """Whether a small model learns with the loss on one embedded scene of each category.

    Args:
        formula: a formula, a catalogue name or a graph.
        signature: "cls-binary", "cls-multiclass" or "reg", whose inputs the small detector makes.

    Raises:
        FormulaError: the formula does not parse.
    """
    import torch

    from cse_autoloss.bench.worker import Context
    from cse_autoloss.errors import FormulaError
    from cse_autoloss.simulation import SimulateSettings
    from cse_autoloss.spaces import REG
    from cse_autoloss.spaces.signatures import BUILT_IN
    from cse_autoloss.tasks.detection import DetectionSettings

    graph = _graph(formula, signature)
    torch.set_num_threads(1)
    simulator = Context(DetectionSettings(), SimulateSettings(), "cpu").simulator
    if graph.signature not in BUILT_IN:
        raise FormulaError(f"the small detector makes no inputs of the signature {graph.signature.name!r}")
    return simulator.run(None, graph) if graph.signature == REG else simulator.run(graph, None)


def render(source: str | LossGraph, path: str | Path, signature: str | Signature | None = None) -> None:
    """Draw the computation graph of a formula, catalogue name or graph to a .svg, .png or .dot file."""
    from cse_autoloss.export import draw

    draw(_any_graph(source, signature), Path(path))


def export(
    source: str | Path | LossGraph, path: str | Path, signature: str | Signature | None = None
) -> None:
    """Write a loss as .py, .json, .tex, .onnx, .svg, .png or .dot.

    Args:
        source: a run directory (its discovered losses), a formula, a catalogue name, a loss.json or a graph.
        path: the file; its suffix says the form.
        signature: where the formula's inputs do not tell it; for a run, to take one of its losses.

    Raises:
        AutoLossError: no such loss, or no such form.
    """
    from cse_autoloss.export import export_loss
    from cse_autoloss.graph import LossGraph

    if not _is_run(source):
        if isinstance(source, LossGraph):
            export_loss(source, Path(path))
        else:
            loss = _expression(source, signature)
            export_loss(loss.graph, Path(path), alpha=loss.alpha)
        return
    chosen = list(_chosen(Path(str(source)), signature).values())
    graphs = tuple(one.graph for one in chosen)
    what = (graphs[0], graphs[1]) if len(graphs) == 2 else graphs[0]
    export_loss(what, Path(path), alpha=chosen[0].alpha, provenance=chosen[0].provenance)


def explain(source: str | Path, path: str | Path, signature: str | Signature | None = None) -> list[Path]:
    """Write a page that shows a loss, with its pictures beside it; see `cse_autoloss.explain`.

    Args:
        source: a catalogue name, a formula, a loss.json or a run directory.
        path: the page, .html. Of a run that found two losses, "-cls" and "-reg" are put before the suffix.
        signature: where the formula's inputs do not tell it; for a run, to take one of its losses.

    Returns:
        The files that were written.

    Raises:
        AutoLossError: no such loss.
    """
    from cse_autoloss.explain import explain as explain_loss

    path = Path(path)
    if not _is_run(source):
        return explain_loss(source, signature).save(path)
    chosen = _chosen(Path(source), signature)
    written: list[Path] = []
    for slot, found in chosen.items():
        own = path if len(chosen) == 1 else path.with_stem(f"{path.stem}-{slot}")
        written += explain_loss(found.graph.formula, found.graph.signature).save(own)
    return written


def _chosen(run: Path, signature: str | Signature | None) -> dict[str, LossFile]:
    """What a run discovered, by slot: one loss or several, or that of a signature."""
    from cse_autoloss.errors import RunError
    from cse_autoloss.export import from_json, from_json_pair
    from cse_autoloss.spaces import signature_of

    file = run / "best" / "loss.json"
    if not file.exists():
        raise RunError(f"{run}: the run has no discovered loss yet ({file} is missing)")
    if '"cls":' not in file.read_text(encoding="utf-8"):
        return {"": from_json(file)}
    found = dict(zip(("cls", "reg"), from_json_pair(file), strict=True))
    if signature is None:
        return found
    wanted = signature_of(signature)
    chosen = {slot: one for slot, one in found.items() if one.graph.signature == wanted}
    if not chosen:
        raise RunError(f"{run}: the run has no loss of the signature {wanted.name}")
    return chosen


def _is_run(source: object) -> bool:
    return isinstance(source, (str, Path)) and os.path.exists(Path(source, "run.sqlite"))


def _any_graph(source: str | Path | LossGraph, signature: str | Signature | None) -> LossGraph:
    """The graph of anything `load_loss` takes."""
    from cse_autoloss.graph import LossGraph

    return source if isinstance(source, LossGraph) else _expression(source, signature).graph


def _expression(source: str | Path, signature: str | Signature | None) -> GraphLoss:
    """What `load_loss` gives, where that is an expression; FormulaError where it is not."""
    from cse_autoloss.errors import FormulaError
    from cse_autoloss.losses import GraphLoss, load_loss

    loss = load_loss(source, signature)
    if not isinstance(loss, GraphLoss):
        raise FormulaError(f"{source!r} is not an expression in our operators")
    return loss
