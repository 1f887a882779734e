"""Losses into files: drawings, code and data, a page that explains one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cse_autoloss.api.formulas import expression
from cse_autoloss.errors import ConfigError, RunError, UnknownNameError, shorten

if TYPE_CHECKING:
    from cse_autoloss.certify import Certificate
    from cse_autoloss.graph import LossGraph, Signature
    from cse_autoloss.losses import LossFile
    from cse_autoloss.losses.parametric import ParametricLoss

_PROOFS = ("proved", "refuted", "open", "certificate")
"""Facts of a file that come from a certificate, in a run's files behind the slot."""
_CERTIFIED_WITHIN = 2.0
"""Seconds of one core for the certificate of an exported loss."""


def render_loss(
    source: str | Path | LossGraph, path: str | Path, signature: str | Signature | None = None
) -> Path:
    """Draw the computation graph of a loss; arguments and errors as for `export_loss`.

    Args:
        path: .svg, .png or .dot. The two losses of a run stand one above the other.

    Returns:
        The path.
    """
    from cse_autoloss.export import draw, draw_pair

    first, *second = (one.graph for one in _one_or_pair(source, signature).values())
    return draw_pair(first, second[0], path) if second else draw(first, path)


def export_loss(
    source: str | Path | LossGraph,
    path: str | Path,
    signature: str | Signature | None = None,
    *,
    pick: int | None = None,
) -> Path:
    """Write a loss as .py, .json, .tex, .onnx, .svg, .png or .dot; a parametric one as .py or .json, what is no
    expression in the catalogue as .py. A run as .db is its search trainings, as a storage of Optuna.

    .py, .tex and .onnx say what is proved, refuted and open, .json holds the certificate: a run's own, or a quick one;
    of two losses for each.

    Args:
        source: a run directory (its discovered losses), a formula, a catalogue name, a pair of them (CLS+REG), a
            loss.json or a graph.
        path: the file; its suffix says the form.
        signature: where the formula's inputs do not tell it; of several losses, to take one: by its signature, or by
            the slot of the run.
        pick: of a run, the loss of that number on its front of score against size, in place of the discovered one.

    Returns:
        The path.

    Raises:
        AutoLossError: no such loss, or no such form, or a file that can't be written.
    """
    from cse_autoloss.export import export_loss
    from cse_autoloss.export.handcrafted import Handcrafted
    from cse_autoloss.losses import CATALOGUE, load_loss

    if pick is not None:
        return _export_picked(source, pick, path)
    if Path(path).suffix.lower() == ".db":
        return _export_study(source, Path(path))
    named = load_loss(source, signature) if isinstance(source, str) and source in CATALOGUE else None
    if isinstance(named, Handcrafted):
        return export_loss(named, path)
    parametric = _parametric(source)
    if parametric is not None:
        return export_loss(parametric, path)
    losses = _one_or_pair(source, signature)
    first, *second = losses.values()
    loss = (first.graph, second[0].graph) if second else first.graph
    facts = dict(first.provenance)
    if not any(name.rpartition(" ")[2] in _PROOFS for name in facts):
        facts |= _proved(losses, path)
    return export_loss(loss, path, alpha=first.alpha, provenance=facts or None)


def _export_study(source: str | Path | LossGraph, path: Path) -> Path:
    from cse_autoloss.report.optuna_storage import write_study
    from cse_autoloss.report.view import RunView
    from cse_autoloss.runs import RunStore

    if not isinstance(source, (str, Path)) or not _is_run(source):
        raise RunError(f"{path}: {source} is no run directory; only a run has trials to write as .db")
    with RunStore.read(source) as store:
        with store.understood("what it holds"):
            view = RunView(store)
        return write_study(view, path)


def _proved(losses: Mapping[str, LossFile], path: str | Path) -> dict[str, Any]:
    """What quick certificates say, for the form that the suffix names: one line an outcome, or whole in .json.

    Of two losses each has its own: "cls proved" beside "reg proved", as in a run's files; in .json one by slot.
    """
    from cse_autoloss.certify import QUICK, certificate_of
    from cse_autoloss.report.write import finite

    suffix = Path(path).suffix.lower()
    if suffix not in (".py", ".json", ".tex", ".onnx"):
        return {}
    found = {
        slot: certificate_of(one.graph, _CERTIFIED_WITHIN, QUICK, alpha=one.alpha)
        for slot, one in losses.items()
    }
    if suffix == ".json":
        whole = {slot: finite(one.to_dict()) for slot, one in found.items()}
        return {"certificate": whole if len(whole) > 1 else next(iter(whole.values()))}
    return {
        f"{slot} {outcome}" if len(found) > 1 else outcome: names
        for slot, one in found.items()
        for outcome, names in one.brief().items()
    }


def _export_picked(source: str | Path | LossGraph, number: int, path: str | Path) -> Path:
    from cse_autoloss.export import export_loss
    from cse_autoloss.graph import parse_formula
    from cse_autoloss.losses import LossFile
    from cse_autoloss.report.front import pick
    from cse_autoloss.report.view import RunView
    from cse_autoloss.runs import RunStore
    from cse_autoloss.spaces import form_of

    if not isinstance(source, (str, Path)) or not _is_run(source):
        raise RunError(f"pick: {source} is no run directory; only a run has a front of score against size")
    with RunStore.read(source) as store, store.understood("what it holds"):
        view = RunView(store)
        one = pick(view, number)
        facts = {
            "run": view.directory.name,
            "slot": one.slot,
            "number on the front": number,
            "size": one.size,
        }
        facts |= {"metric": view.metric.name, "val": one.figure, "trainings": one.trainings}
        alpha = view.config.get("alpha") if form_of(view.slots[one.slot]).weighted else None
    graph = parse_formula(one.formula, view.slots[one.slot])
    facts |= _proved({one.slot: LossFile(graph, alpha, {})}, path)
    return export_loss(graph, path, alpha=alpha, provenance=facts)


def explain_loss(
    source: str | Path, path: str | Path, signature: str | Signature | None = None
) -> list[Path]:
    """Write a page that shows a loss beside those that people use, with its pictures beside it.

    Args:
        source: a catalogue name, a formula, a loss.json or a run directory.
        path: the page, .html. Of several losses, as of a run, the slots ("-cls", "-reg") are put before the suffix.
        signature: where the formula's inputs do not tell it; of two losses, to take one.

    Returns:
        The files that were written.

    Raises:
        AutoLossError: no such loss, another suffix, or a file that can't be written.
    """
    from cse_autoloss.explain import explain

    path = Path(path)
    if _is_run(source):
        if _parametric(source) is not None:
            return explain(Path(source, "best", "loss.json"), signature).save(path)
    elif signature is not None or not _pair_in(source):
        return explain(source, signature).save(path)
    found = _losses_of(source, signature)
    written: list[Path] = []
    for slot, one in found.items():
        name = path if len(found) == 1 else path.with_stem(f"{path.stem}-{slot}")
        written += explain(one.graph.formula, one.graph.signature, one.alpha).save(name)
    return written


def certify_loss(
    source: str | Path | LossGraph,
    signature: str | Signature | None = None,
    *,
    seconds: float = 30.0,
    out: str | Path | None = None,
) -> list[Certificate]:
    """Prove properties of a loss over a stated domain, or refute them with a witness.

    Args:
        source: a run directory (its discovered losses), a formula, a catalogue name, a loss.json or a graph.
        signature: where the formula's inputs do not tell it; of two losses, to take one.
        seconds: for each loss; what is not decided by then stays open.
        out: a .json file that the certificates are written to besides.

    Returns:
        One `Certificate` a loss.

    Raises:
        AutoLossError: no such loss, one that is no expression, or a file that can't be written.
    """
    from cse_autoloss.certify import certificate_of, write_certificates

    losses = _losses_of(source, signature).values()
    found = [certificate_of(one.graph, seconds, alpha=one.alpha) for one in losses]
    if out is not None:
        write_certificates(found, out)
    return found


def _one_or_pair(source: str | Path | LossGraph, signature: str | Signature | None) -> dict[str, LossFile]:
    """By slot, what one file holds: a loss, or those of a detector; AutoLossError for any other several."""
    from cse_autoloss.export import make_pair

    found = _losses_of(source, signature)
    signatures = [one.graph.signature for one in found.values()]
    if len(found) == 1 or (len(found) == 2 and make_pair(*signatures)):
        return found
    raise ConfigError(
        f"{source}: the run found losses of {len(found)} slots, {', '.join(found)}, and a file holds one: "
        f"take it by --signature {next(iter(found))}"
    )


def _losses_of(source: str | Path | LossGraph, signature: str | Signature | None) -> dict[str, LossFile]:
    """By slot, as far as it is known: one loss, or all that a run or a file has."""
    from cse_autoloss.graph import LossGraph
    from cse_autoloss.losses import LossFile
    from cse_autoloss.losses.load import read_loss_file
    from cse_autoloss.spaces import signature_of

    if isinstance(source, LossGraph):
        return {"loss": LossFile(source, None, {})}
    if not _is_run(source):
        if signature is None and (pair := _pair_in(source)):
            return pair
        loss = expression(source, signature)
        told = read_loss_file(source, signature).provenance if _is_file(source) else {}
        return {"loss": LossFile(loss.graph, loss.alpha, told)}
    found = _found_in(Path(source))
    if signature is None:
        return found
    if isinstance(signature, str) and signature in found:
        return {signature: found[signature]}
    known = {one.graph.signature.name for one in found.values()}
    wanted = signature if isinstance(signature, str) else signature.name
    if wanted not in known:
        wanted = signature_of(signature).name
    chosen = {slot: one for slot, one in found.items() if one.graph.signature.name == wanted}
    if not chosen:
        raise UnknownNameError.of("signature of this run", wanted, sorted(known))
    return chosen


def _found_in(run: Path) -> dict[str, LossFile]:
    """Slot -> loss, of best/loss.json, or of the files that losses of other slots than a detector's have."""
    from cse_autoloss.export import from_json

    file = run / "best" / "loss.json"
    if file.exists():
        return _pair_in(file) or {"loss": from_json(file)}
    own = sorted(file.parent.glob("loss_*.json"))
    if not own:
        raise RunError(f"{run}: the run has no discovered loss yet ({file} is missing)")
    return {each.stem.removeprefix("loss_"): from_json(each) for each in own}


def _pair_in(source: str | Path) -> dict[str, LossFile]:
    """Both losses of CLS+REG, or of a file that holds two, as a run's best/loss.json; none of anything else."""
    from cse_autoloss.export import from_json_pair, holds_pair

    if isinstance(source, str) and "+" in source and not os.path.exists(source):
        return _pair_named(source)
    file = Path(source)
    if file.suffix != ".json" or not holds_pair(file):
        return {}
    cls, reg = from_json_pair(file)
    return {"cls": cls, "reg": reg}


def _pair_named(text: str) -> dict[str, LossFile]:
    """Both losses of CLS+REG, as `compare` takes them."""
    from cse_autoloss.export import make_pair
    from cse_autoloss.losses import LossFile

    halves = [half.strip() for half in text.split("+")]
    expected = f"{shorten(text)!r}: expected CLS+REG, a loss of classes and one of boxes"
    if not all(halves):
        raise UnknownNameError(expected)
    pair = [expression(half, None) for half in halves]
    kinds = [one.graph.signature for one in pair]
    if len(kinds) != 2 or not make_pair(*kinds):
        raise UnknownNameError(f"{expected}, got {'+'.join(one.name for one in kinds)}")
    return {slot: LossFile(one.graph, one.alpha, {}) for slot, one in zip(("cls", "reg"), pair, strict=True)}


def _parametric(source: str | Path | LossGraph) -> ParametricLoss | None:
    """The parametric loss that a run found, or that a file or text holds; None for any other."""
    from cse_autoloss.losses import read_parametric

    if not isinstance(source, (str, Path)):
        return None
    file = Path(source, "best", "loss.json") if _is_run(source) else source
    return read_parametric(file) if not _is_run(source) or os.path.exists(file) else None


def _is_file(source: str | Path) -> bool:
    """Whether `load_loss` reads a loss.json there."""
    return isinstance(source, Path) or source.strip().endswith(".json")


def _is_run(source: object) -> bool:
    return isinstance(source, (str, Path)) and os.path.exists(Path(source, "run.sqlite"))
