"""`load_loss`: a catalogue name, a formula or a loss.json, as a torch module. Nothing it reads is run."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cse_autoloss.errors import AutoLossError, DataError, FormulaError, UnknownNameError, shorten
from cse_autoloss.graph import LossGraph
from cse_autoloss.losses.catalogue import CATALOGUE
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.losses.parametric import ParametricLoss
from cse_autoloss.losses.reduction import ReducedLoss, check_alpha
from cse_autoloss.spaces import BRANCHES, parse

MAX_JSON_BYTES = 1_000_000
"""Largest loss.json that is read; a published loss takes under 2,000 bytes."""

FORMAT = 1
"""The version of loss.json that is read."""

_KEYS = {"format": int, "branch": str, "formula": str, "alpha": (int, float, type(None)), "provenance": dict}
_REQUIRED = ("format", "branch", "formula")

_TELLING: dict[str, frozenset[str]] = {
    "reg": frozenset({"I", "U", "E"}),
    "cls-multiclass": frozenset({"Y", "Z", "Dot"}),
    "cls-binary": frozenset({"Q", "PY", "NY"}),
}


@dataclass(frozen=True)
class LossFile:
    """What a loss.json says.

    Attributes:
        graph: the parsed expression.
        alpha: class weighting, cls-binary only.
        provenance: where the loss comes from; free data, never interpreted.
    """

    graph: LossGraph
    alpha: float | None
    provenance: dict[str, Any]


def load_loss(
    source: str | Path,
    branch: str | None = None,
    reduction: str = "mean",
    alpha: float | Literal["default"] | None = "default",
) -> ReducedLoss:
    """A loss as a torch module, called `loss(logits, target, iou=None)` or `loss(pred_boxes, target_boxes)`.

    Args:
        source: a name of the catalogue ("focal"), a formula in prefix notation, the path of a loss.json, or the JSON
            of a parametric loss (`ParametricLoss.text`).
        branch: "cls-binary", "cls-multiclass" or "reg". Needed for a formula whose variables do not tell it;
            for a name or a file it must agree.
        reduction: "mean", "sum" or "none".
        alpha: weight α·y + (1 − α)(1 − y) of a cls-binary loss; None for no weighting. By default the
            catalogue's or the file's, and none for a formula.

    Raises:
        UnknownNameError: no such name, branch or reduction; the nearest one is offered.
        FormulaError: the formula does not parse, or its branch can't be told.
        DataError: the file can't be read or is no loss.json.
        ConfigError: an alpha that the loss has no use for.
    """
    text = str(source).strip()
    if branch is not None and branch not in {*BRANCHES, "margin"}:
        raise UnknownNameError.of("branch", branch, BRANCHES)
    if text in CATALOGUE:
        entry = CATALOGUE[text]
        _agree(text, entry.branch, branch)
        return entry.make(reduction, alpha)
    if text.startswith("{"):
        return ParametricLoss.from_text(text, reduction)
    if isinstance(source, Path) or text.endswith(".json"):
        file = read_loss_file(source, branch)
        _agree(text, file.graph.branch, branch)
        return GraphLoss(file.graph, reduction, file.alpha if alpha == "default" else alpha)
    if not _looks_like_formula(text) and (branch is None or text.islower()):
        raise UnknownNameError.of("loss", text, CATALOGUE)
    graph = parse(text, branch or infer_branch(text))
    return GraphLoss(graph, reduction, None if alpha == "default" else alpha)


def infer_branch(formula: str) -> str:
    """The branch that the formula's variables tell; FormulaError where they tell none or several."""
    words = set(re.findall(r"[A-Za-z]+", formula))
    told = [branch for branch, names in _TELLING.items() if words & names]
    if len(told) == 1:
        return told[0]
    which = "several branches" if told else "no branch"
    raise FormulaError(
        f"the variables of {shorten(formula)!r} tell {which}; give branch= one of {', '.join(BRANCHES)}"
    )


def read_loss_file(path: str | Path, branch: str | None = None) -> LossFile:
    """Read and check a loss.json: {"format": 1, "branch": …, "formula": …, "alpha": …, "provenance": {…}}.

    The file of a whole detector holds two, {"format": 1, "cls": {…}, "reg": {…}, …}: `branch` says which is meant.

    Raises:
        DataError: no such file, too large, not JSON, or a key that is missing, unknown or of the wrong type.
        FormulaError: its formula does not parse.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"{path}: larger than {MAX_JSON_BYTES} bytes; a loss.json is much smaller")
        # The size can change between the look and the read, and a pipe has none: limit the read too.
        with path.open("rb") as stream:
            raw = stream.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    return parse_loss_json(raw, str(path), branch)


def parse_loss_json(raw: bytes | str, where: str = "loss.json", branch: str | None = None) -> LossFile:
    """The same from the file's content; `where` names it in messages."""
    if len(raw) > MAX_JSON_BYTES:
        raise DataError(f"{where}: larger than {MAX_JSON_BYTES} bytes; a loss.json is much smaller")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {str(error) or 'nested too deeply'}") from None
    if not isinstance(data, dict):
        raise DataError(f"{where}: expected a JSON object with keys {', '.join(_REQUIRED)}")
    if "cls" in data or "reg" in data:
        data, where = _one_of_pair(data, where, branch)
    for key, value in data.items():
        if key not in _KEYS:
            raise DataError(f"{where}: {UnknownNameError.of('key', key, _KEYS)}")
        if not isinstance(value, _KEYS[key]) or isinstance(value, bool):  # type: ignore[arg-type]
            raise DataError(f"{where}: {key}: wrong type, got {shorten(json.dumps(value))}")
    for key in _REQUIRED:
        if key not in data:
            raise DataError(f"{where}: the key {key!r} is missing")
    if data["format"] != FORMAT:
        raise DataError(f"{where}: format: expected {FORMAT}, got {data['format']}")
    try:
        graph = parse(data["formula"], data["branch"])
        alpha = check_alpha(data.get("alpha"), graph.branch)
    except AutoLossError as error:
        raise type(error)(f"{where}: {error}") from None
    return LossFile(graph, alpha, data.get("provenance", {}))


def _one_of_pair(data: dict[str, Any], where: str, branch: str | None) -> tuple[dict[str, Any], str]:
    """The loss of that branch from the file of a whole detector, which holds two."""
    if branch is None:
        raise DataError(f"{where}: holds a detector's two losses; give branch=, of classification or reg")
    key = "reg" if branch == "reg" else "cls"
    if not isinstance(data.get(key), dict):
        raise DataError(f"{where}: the key {key!r} is missing or no object")
    shared = {name: value for name, value in data.items() if name not in ("cls", "reg")}
    return {**shared, **data[key]}, f"{where}: {key}"


def _looks_like_formula(text: str) -> bool:
    return "(" in text or bool(re.fullmatch(r"[A-Z]{1,2}|[0-9]+", text))


def _agree(name: str, has: str, wanted: str | None) -> None:
    if wanted is not None and wanted != has:
        raise UnknownNameError(f"{name!r} is a {has} loss, not {wanted}")
