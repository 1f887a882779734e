"""What a user may name as a loss: a catalogue name, a formula, a loss.json or a run directory."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from cse_autoloss.errors import DataError, FormulaError, RunError, UnknownNameError, shorten
from cse_autoloss.export import from_json_pair
from cse_autoloss.losses import CATALOGUE, GraphLoss, infer_signature, load_loss, read_loss_file
from cse_autoloss.runs import RunStore

MOST_LETTERS = 10_000
"""Longest formula that is read."""


@dataclass(frozen=True)
class Part:
    """One loss of a pair.

    Attributes:
        text: catalogue name or formula, as `jobs.LossPair` takes it.
        branch: "cls-binary", "cls-multiclass" or "reg".
        label: what it is called in tables: its name; empty for a formula, which has none.
        alpha: α weighting of a formula in the binary branch. A catalogue name brings its own.
        digest: the same for losses that are the same expression.
    """

    text: str
    branch: str
    label: str
    alpha: float | None
    digest: str


@dataclass(frozen=True)
class Source:
    """What a text named: one loss, or a pair.

    Attributes:
        cls, reg: the losses; None for the one that was not named.
        label: name of the pair as a whole, for a run or a file that holds two; else empty.
    """

    cls: Part | None = None
    reg: Part | None = None
    label: str = ""


def read_source(text: str, cls_branch: str) -> Source:
    """The losses that a text names.

    Args:
        text: a catalogue name, a published pair ("cse-autoloss-b"), a formula, the path of a loss.json, or a run
            directory.
        cls_branch: branch of a formula whose variables do not tell it.

    Raises:
        UnknownNameError: none of these; the nearest name is offered.
        FormulaError: a formula that does not parse.
        DataError: a file that is no loss.json.
        RunError: a directory without a run, or a run that has found nothing.
    """
    text = text.strip()
    if text in CATALOGUE:
        return _single(_part(text, CATALOGUE[text].signature.name, text))
    halves = [f"{text}-cls", f"{text}-reg"]
    if all(name in CATALOGUE for name in halves):
        cls, reg = (_part(name, CATALOGUE[name].signature.name, name) for name in halves)
        return Source(cls, reg, text)
    path = Path(text)
    if "(" not in text and len(text) < 1000:
        if os.path.isdir(path):
            return _from_run(path, cls_branch)
        if path.suffix == ".json" or os.path.isfile(path):
            return _from_file(path)
        if "/" in text or "\\" in text:
            raise DataError(f"{shorten(text)}: no such run directory or loss.json")
    if not _may_be_formula(text):
        raise UnknownNameError.of("loss", text, CATALOGUE)
    return _single(_part(text, _branch_of(text, cls_branch)))


def _single(part: Part) -> Source:
    return Source(reg=part) if part.branch == "reg" else Source(cls=part)


def _part(text: str, branch: str, label: str = "", alpha: float | None = None) -> Part:
    if len(text) > MOST_LETTERS:
        raise FormulaError(
            f"{shorten(text)!r}: longer than {MOST_LETTERS} letters; formulas of losses are shorter"
        )
    loss = load_loss(text, branch) if alpha is None else load_loss(text, branch, alpha=alpha)
    if isinstance(loss, GraphLoss):
        return Part(text, branch, label, alpha, f"{loss.graph.digest} {loss.alpha}")
    return Part(text, branch, label, alpha, text)


def _may_be_formula(text: str) -> bool:
    return "(" in text or (text.isalnum() and len(text) <= 2 and not text.islower())


def _branch_of(formula: str, cls_branch: str) -> str:
    try:
        return infer_signature(formula).name
    except FormulaError as error:
        if "no signature" not in str(error):
            raise
        return cls_branch


def _from_file(path: Path) -> Source:
    if _holds_pair(path):
        cls, reg = (
            _part(file.graph.formula, file.graph.signature.name, "", file.alpha)
            for file in from_json_pair(path)
        )
        return Source(cls, reg, _title(path))
    file = read_loss_file(path)
    return _single(_part(file.graph.formula, file.graph.signature.name, _title(path), file.alpha))


def _title(path: Path) -> str:
    """The file's name, or, for the RUN/best/loss.json that every search writes, the run's."""
    if path.stem != "loss":
        return path.stem
    folder = path.resolve().parent
    return folder.parent.name if folder.name == "best" else folder.name


def _holds_pair(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            data = json.loads(stream.read(1_000_001))
    except (OSError, ValueError, RecursionError):
        return False  # read_loss_file says what is wrong
    return isinstance(data, dict) and "cls" in data and "reg" in data


def _from_run(directory: Path, cls_branch: str) -> Source:
    with RunStore.read(directory) as store:
        if "compare" in store.config:
            raise RunError(f"{directory}: a comparison, not a search: it has no loss of its own")
        summary = store.meta("summary") or {}
        best = summary.get("best")
    if best is None:
        raise RunError(
            f"{directory}: the run has found no loss yet; go on with it by evolve --resume {directory}"
        )
    reg = _part(best["reg"], "reg", best["reg"] if best["reg"] in CATALOGUE else "")
    cls, known = best["cls"], best["cls"] in CATALOGUE
    branch = CATALOGUE[cls].signature.name if known else _branch_of(cls, cls_branch)
    alpha = best["alpha"] if branch == "cls-binary" else None
    return Source(_part(cls, branch, cls if known else "", alpha), reg, directory.resolve().name)
