"""What a user may name as a loss: a catalogue name, a formula, a loss.json or a run directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cse_autoloss.errors import DataError, FormulaError, RunError, UnknownNameError, shorten
from cse_autoloss.export import from_json_pair, holds_pair
from cse_autoloss.graph import Signature, parse_formula
from cse_autoloss.losses import (
    CATALOGUE,
    GraphLoss,
    infer_signature,
    load_loss,
    read_loss_file,
    read_parametric,
)
from cse_autoloss.losses.parametric import is_parametric
from cse_autoloss.runs import RunStore
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.signatures import BUILT_IN, SIGNATURES

MOST_LETTERS = 10_000
"""Longest formula that is read."""


@dataclass(frozen=True)
class Part:
    """One loss.

    Attributes:
        text: catalogue name or formula, as `jobs.LossSet` takes it.
        signature: name of its signature.
        label: what it is called in tables: its name; empty for a formula, which has none.
        alpha: α weighting of a formula of binary classification. A catalogue name brings its own.
        digest: the same for losses that are the same expression.
    """

    text: str
    signature: str
    label: str
    alpha: float | None
    digest: str


@dataclass(frozen=True)
class Source:
    """What a text named: one loss, or one for several slots.

    Attributes:
        parts: the losses that were named.
        label: name of the whole, for a run or a file that holds several; else empty.
    """

    parts: tuple[Part, ...]
    label: str = ""


def read_source(text: str, slots: Mapping[str, Signature]) -> Source:
    """The losses that a text names.

    Args:
        text: a catalogue name, a published pair ("cse-autoloss-b"), a formula, the path of a loss.json, or a run
            directory.
        slots: of the task; the first one's signature is that of a formula whose variables do not tell it.

    Raises:
        UnknownNameError: none of these; the nearest name is offered.
        FormulaError: a formula that does not parse.
        DataError: a file that is no loss.json.
        RunError: a directory without a run, or a run that has found nothing.
    """
    text = text.strip()
    if not text:
        raise UnknownNameError.of("loss", text, CATALOGUE)
    if text in CATALOGUE:
        entry = CATALOGUE[text]
        return Source((_part(entry.name, entry.signature, entry.name),))
    halves = [f"{text}-cls", f"{text}-reg"]
    if all(name in CATALOGUE for name in halves):
        return Source(tuple(_part(name, CATALOGUE[name].signature, name) for name in halves), text)
    path = Path(text)
    if "(" not in text and len(text) < 1000:
        if os.path.isdir(path):
            return _from_run(path, slots)
        if path.suffix == ".json" or os.path.isfile(path):
            return _from_file(path)
        if "/" in text or "\\" in text:
            raise DataError(f"{shorten(text)}: no such run directory or loss.json")
    if not _may_be_formula(text):
        raise UnknownNameError.of("loss", text, CATALOGUE)
    return Source((_part(text, _signature_of(text, slots)),))


def _part(text: str, signature: Signature, label: str = "", alpha: float | None = None) -> Part:
    if len(text) > MOST_LETTERS and not is_parametric(text):
        raise FormulaError(
            f"{shorten(text)!r}: longer than {MOST_LETTERS} letters; formulas of losses are shorter"
        )
    loss = load_loss(text, signature) if alpha is None else load_loss(text, signature, alpha=alpha)
    if isinstance(loss, GraphLoss):
        return Part(text, signature.name, label, alpha, f"{loss.graph.digest} {loss.alpha}")
    return Part(text, signature.name, label, alpha, text)


def _may_be_formula(text: str) -> bool:
    return "(" in text or (text.isalnum() and len(text) <= 2 and not text.islower())


def _signature_of(formula: str, slots: Mapping[str, Signature]) -> Signature:
    """A task's own signature that takes the formula, else the built-in one that its words tell, else the first."""
    for own in slots.values():
        if own not in BUILT_IN:
            with contextlib.suppress(FormulaError):
                parse_formula(formula, own)
                return own
    try:
        return infer_signature(formula)
    except FormulaError as error:
        if "no signature" not in str(error):
            raise
        return next(iter(slots.values()))


def _from_file(path: Path) -> Source:
    parametric = read_parametric(path)
    if parametric is not None:
        return Source((_part(parametric.text, parametric.signature, _title(path)),))
    files = from_json_pair(path) if holds_pair(path) else (read_loss_file(path),)
    label = _title(path)
    own = label if len(files) == 1 else ""
    parts = [_part(file.graph.formula, file.graph.signature, own, file.alpha) for file in files]
    return Source(tuple(parts), "" if own else label)


def _title(path: Path) -> str:
    """The file's name, or, for the RUN/best/loss.json that every search writes, the run's."""
    if path.stem != "loss":
        return path.stem
    folder = path.resolve().parent
    return folder.parent.name if folder.name == "best" else folder.name


def _from_run(directory: Path, slots: Mapping[str, Signature]) -> Source:
    with RunStore.read(directory) as store:
        if "compare" in store.config:
            raise RunError(f"{directory}: a comparison, not a search: it has no loss of its own")
        with store.understood("the summary"):
            summary = store.meta("summary") or {}
            best = summary.get("best")
    if best is None:
        raise RunError(
            f"{directory}: the run has found no loss yet; go on with it by evolve --resume {directory}"
        )
    parts = []
    with store.understood("the summary"):
        for slot, text in best["losses"].items():
            known = text in CATALOGUE
            # A slot that was not searched holds a loss that people know; of a formula its inputs tell the signature.
            signature = (
                CATALOGUE[text].signature if known else _of_run(summary["slots"].get(slot), text, slots)
            )
            weighted = form_of(signature).weighted and not is_parametric(text)
            alpha = best["alpha"] if weighted else None
            parts.append(_part(text, signature, text if known else "", alpha))
    return Source(tuple(parts), directory.resolve().name)


def _of_run(name: str | None, text: str, slots: Mapping[str, Signature]) -> Signature:
    """The signature that a run names: of the package, else of the task at hand."""
    if name is None:
        return _signature_of(text, slots)
    known = {**{own.name: own for own in slots.values()}, **SIGNATURES}
    if name not in known:
        raise UnknownNameError.of("signature", name, known)
    return known[name]
