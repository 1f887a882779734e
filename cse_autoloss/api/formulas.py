"""Questions about a formula: what it parses to, whether it has its signature's properties, whether a model learns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, overload

from cse_autoloss.verdict import Verdict

if TYPE_CHECKING:
    from cse_autoloss.graph import LossGraph, Signature
    from cse_autoloss.losses import GraphLoss


@overload
def verify(formula: str | LossGraph, signature: str | Signature | None = None) -> Verdict: ...
@overload
def verify(
    formula: list[str] | list[LossGraph] | tuple[str | LossGraph, ...],
    signature: str | Signature | None = None,
) -> list[Verdict]: ...
def verify(
    formula: str | LossGraph | list[str] | list[LossGraph] | tuple[str | LossGraph, ...],
    signature: str | Signature | None = None,
) -> Verdict | list[Verdict]:
    """Whether a loss has the convergence properties of its signature.

    Args:
        formula: a formula, a catalogue name, a graph, or a list of them.
        signature: "cls-binary", "cls-multiclass", "reg", a registered name or a `Signature`; a graph brings its own.
            By default the one that alone has the formula's inputs, and "cls-binary" where several have.

    Returns:
        A `Verdict` (`.accepted`, `.reason`), or a list of them.

    Raises:
        FormulaError: a formula does not parse.
        UnknownNameError: no such name, or one of another signature.
    """
    from cse_autoloss.verification import verify_population

    if isinstance(formula, (list, tuple)):
        return verify_population([graph_of(one, signature) for one in formula])
    return verify_population([graph_of(formula, signature)])[0]


def simulate(formula: str | LossGraph, signature: str | Signature | None = None) -> Verdict:
    """Whether a small model learns with the loss on one embedded scene of each category.

    Args:
        formula: a formula, a catalogue name or a graph.
        signature: "cls-binary", "cls-multiclass" or "reg", whose inputs the small detector makes; by default as of
            `verify`.

    Raises:
        FormulaError: the formula does not parse.
        UnknownNameError: as of `verify`.
    """
    from cse_autoloss.errors import FormulaError
    from cse_autoloss.settings.filters import SimulateSettings
    from cse_autoloss.settings.tasks.detection import DetectionSettings
    from cse_autoloss.spaces.signatures import PACKAGED
    from cse_autoloss.tasks.detection import DetectionTask
    from cse_autoloss.threads import one_torch_thread

    graph = graph_of(formula, signature)
    if graph.signature not in PACKAGED:
        raise FormulaError(f"the small detector makes no inputs of the signature {graph.signature.name!r}")
    with one_torch_thread():
        (verdict,) = (
            DetectionTask(DetectionSettings(data="digits")).simulation(SimulateSettings()).run_batch([graph])
        )
    return verdict


def graph_of(source: str | LossGraph, signature: str | Signature | None) -> LossGraph:
    """The graph of a formula, of a catalogue name that is an expression, or a graph as it is; signature and errors as
    of `verify`."""
    from cse_autoloss.graph import LossGraph
    from cse_autoloss.losses import CATALOGUE
    from cse_autoloss.losses.family import called
    from cse_autoloss.spaces import parse, signature_of

    if isinstance(source, LossGraph):
        return source
    if isinstance(source, str):
        known = _inferred(source)[0] if signature is None else signature_of(signature)
        point = called(source)  # focal(gamma=1) is a name
        is_name = point is not None and point[0] in CATALOGUE
        if ("(" in source and not is_name) or source.strip() in known.terminals:
            return parse(source, known)
    return expression(source, signature).graph


def taken_as(source: str) -> str:
    """The signature that `verify` takes a formula to have where its inputs do not tell it; empty where they do."""
    from cse_autoloss.losses import CATALOGUE
    from cse_autoloss.losses.family import called

    point = called(source)
    return "" if point is not None and point[0] in CATALOGUE else _inferred(source)[1]


def _inferred(formula: str) -> tuple[Signature, str]:
    """A formula's signature, and its name where it is a guess."""
    from cse_autoloss.errors import FormulaError
    from cse_autoloss.losses import infer_signature
    from cse_autoloss.spaces import CLS_BINARY

    try:
        return infer_signature(formula), ""
    except FormulaError:
        return CLS_BINARY, CLS_BINARY.name


def expression(source: str | Path, signature: str | Signature | None) -> GraphLoss:
    """What `load_loss` gives, where that is an expression; FormulaError where it is not."""
    from cse_autoloss.errors import FormulaError
    from cse_autoloss.losses import GraphLoss, load_loss

    loss = load_loss(source, signature)
    if not isinstance(loss, GraphLoss):
        raise FormulaError(f"{source!r} is not an expression in our operators")
    return loss
