"""`load_loss`: a catalogue name, a formula or a loss.json, as a torch module. Nothing it reads is run."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from cse_autoloss.errors import (
    AutoLossError,
    ConfigError,
    DataError,
    FormulaError,
    UnknownNameError,
    nearest,
    printable,
    shorten,
)
from cse_autoloss.graph import LossGraph, Signature, parse_formula
from cse_autoloss.losses.catalogue import CATALOGUE, known
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.losses.parametric import ParametricLoss, is_parametric
from cse_autoloss.losses.reduction import ReducedLoss, check_alpha
from cse_autoloss.losses.taking import IGNORED, Taking
from cse_autoloss.spaces import SIGNATURES, form_of, signature_of
from cse_autoloss.spaces.checks import Targets
from cse_autoloss.spaces.signatures import BUILT_IN
from cse_autoloss.spaces.wide import fitting, least_spaces

MAX_JSON_BYTES = 1_000_000
"""Largest loss.json that is read; a published loss takes under 2,000 bytes."""

FORMAT = 1
"""The version of loss.json that is read."""

_KEYS = {
    "format": int, "signature": (str, dict), "formula": str, "alpha": (int, float, type(None)), "provenance": dict
}  # fmt: skip
_REQUIRED = ("format", "signature", "formula")
_EARLIER = {"branch": "signature"}
"""Keys by the names that files of the same format had before."""


@dataclass(frozen=True)
class LossFile:
    """What a loss.json says.

    Attributes:
        graph: the parsed expression.
        alpha: class weighting of a sigmoid head's loss.
        provenance: where the loss comes from; free data, never interpreted.
    """

    graph: LossGraph
    alpha: float | None
    provenance: dict[str, Any]


def load_loss(
    source: str | Path,
    signature: str | Signature | None = None,
    reduction: str = "mean",
    alpha: float | Literal["default"] | None = "default",
    *,
    targets: Targets = "index",
    ignore_index: int | Literal["default"] | None = "default",
    weight: Tensor | Sequence[float] | None = None,
) -> ReducedLoss:
    """A loss as a torch module, called `loss(logits, target, iou=None)`, `loss(pred_boxes, target_boxes)` or with the
    inputs of a user's signature.

    Args:
        source: a name of the catalogue ("focal"), a formula in prefix notation, the path of a loss.json (of an
            expression or a parametric loss), the directory of a run that found a parametric loss, or the JSON of one
            (`ParametricLoss.text`).
        signature: a name ("cls-binary", "cls-multiclass", "reg", or a registered one) or a `Signature`. Needed for a
            formula whose inputs do not tell which of the three it is of; for a name or a file it must agree.
        reduction: "mean", "sum" or "none".
        alpha: weight α·y + (1 − α)(1 − y) of a cls-binary loss; None for no weighting. By default the
            catalogue's or the file's, and none for a formula.
        targets: of classification losses, see `Taking`: "mask" or "soft" in the place of class indices.
        ignore_index: value of targets that is ignored; by default -100 of class indices, as in torch and in exported
            files; None for none.
        weight: a factor for each class.

    Raises:
        UnknownNameError: no such name, signature or reduction; the nearest one is offered.
        FormulaError: the formula does not parse, or its signature can't be told.
        DataError: the file can't be read or is no loss.json.
        ConfigError: an alpha, or one of the last three, that the loss has no use for, or a parametric loss's numbers
            that are none.
    """
    if not isinstance(source, (str, Path)):
        raise FormulaError(f"expected a name, a formula or a path, got {type(source).__name__}")

    def settled(known: Signature) -> dict[str, Any]:
        indices = form_of(known).head is not None and targets == "index"
        ignored = (IGNORED if indices else None) if ignore_index == "default" else ignore_index
        return {"targets": targets, "ignore_index": ignored, "weight": weight}

    text = str(source).strip()
    wanted = None if signature is None else known(signature)
    if text in CATALOGUE:
        entry = CATALOGUE[text]
        _agree(text, entry.signature, wanted)
        return entry.make(reduction, alpha, **settled(entry.signature))
    parametric = read_parametric(_best_of_run(source), reduction)
    if parametric is not None:
        if alpha not in ("default", None):
            raise ConfigError(f"alpha: a parametric loss weights no classes, got {shorten(repr(alpha))}")
        _agree(parametric.title, parametric.signature, wanted)
        taking = Taking.of(parametric.signature, **settled(parametric.signature))
        if taking.targets != "index" or taking.weight is not None:
            raise ConfigError("a parametric loss takes class indices alone: no targets or weight")
        parametric.taking = taking
        return parametric
    if isinstance(source, Path) or text.endswith(".json"):
        file = read_loss_file(source, wanted)
        _agree(text, file.graph.signature, wanted)
        return GraphLoss(
            file.graph,
            reduction,
            file.alpha if alpha == "default" else alpha,
            **settled(file.graph.signature),
        )
    if not _looks_like_formula(text, wanted) and (wanted is None or text.islower()):
        raise _unknown(text, wanted)
    graph = parse_formula(text, infer_signature(text) if wanted is None else wanted)
    return GraphLoss(graph, reduction, None if alpha == "default" else alpha, **settled(graph.signature))


def _best_of_run(source: str | Path) -> str | Path:
    """The loss.json of a run, where it is one's directory and holds one; else the source itself."""
    text = str(source).strip()
    if is_parametric(text) or not os.path.isdir(text) or not os.path.exists(os.path.join(text, "run.sqlite")):
        return source
    best = Path(text, "best", "loss.json")
    return best if best.exists() else source


def _unknown(text: str, wanted: Signature | None) -> UnknownNameError:
    """A name of the catalogue misspelt, or a path of nothing: then what lies beside it may be meant, not all losses."""
    path = Path(text)
    fitting = [name for name, one in CATALOGUE.items() if wanted in (None, one.signature)] or list(CATALOGUE)
    told = printable(shorten(text))
    if path.suffix == ".py" and os.path.isfile(text):
        return UnknownNameError(_code(path))
    halves = [half.strip() for half in text.split("+")]
    if len(halves) > 1 and all(half in CATALOGUE for half in halves):
        return UnknownNameError(f"{told}: a pair; give {' or '.join(map(repr, halves))}, one at a time")
    if len(path.parts) == 1 and "\\" not in text and (wanted is not None or nearest(text, fitting)):
        return UnknownNameError.of("loss", text, fitting)
    if os.path.isdir(text):
        best = os.path.join(text, "best", "loss.json")
        if not os.path.exists(os.path.join(text, "run.sqlite")):
            return UnknownNameError(f"{told}: a folder that holds no run")
        if os.path.exists(best):
            return UnknownNameError(f"{told}: a run; its loss is {printable(shorten(best, 200))}")
        return UnknownNameError(f"{told}: a run that has no discovered loss (yet)")
    beside: list[str] = []
    with contextlib.suppress(OSError, ValueError):
        beside = os.listdir(path.parent)
    close = nearest(path.name, beside)
    hint = f"; did you mean {printable(str(path.parent / close))!r}?" if close else ""
    return UnknownNameError(f"no such run, file or loss: {told!r}{hint}")


def _code(path: Path) -> str:
    told = printable(shorten(str(path), 200))
    return f"{told}: Python code, which is imported and not read; name the .json of the same loss"


def infer_signature(formula: str) -> Signature:
    """The built-in signature that alone has the formula's words, with T, or all of `spaces: wide`, where it holds them.

    FormulaError where they tell none or several.
    """
    words = set(re.findall(r"[A-Za-z]+", formula))
    told = [one for one in BUILT_IN if words & _telling(one)]
    if len(told) == 1:
        return least_spaces(told[0], words)
    which = "several signatures" if told else "no signature"
    raise FormulaError(
        f"the variables of {shorten(formula)!r} tell {which}; give signature= one of {', '.join(SIGNATURES)}"
    )


def _telling(signature: Signature) -> frozenset[str]:
    """Inputs and operators that no other built-in signature has."""
    words = [{*one.variables, *one.operators} for one in BUILT_IN if one != signature]
    return frozenset({*signature.variables, *signature.operators}.difference(*words))


def read_loss_file(path: str | Path, signature: str | Signature | None = None) -> LossFile:
    """Read and check a loss.json: {"format": 1, "signature": …, "formula": …, "alpha": …, "provenance": {…}}.

    A signature that is not built in stands there in full. The file of a task of several slots holds one loss a slot,
    {"format": 1, "cls": {…}, "reg": {…}, …}: `signature` says which is meant.

    Raises:
        DataError: no such file, too large, not JSON, or a key that is missing, unknown or of the wrong type.
        FormulaError: its formula does not parse.
    """
    return parse_loss_json(_content(Path(path)), str(path), signature)


def _content(path: Path) -> bytes:
    """What a loss.json holds; DataError where it can't be read, is too large to be one, or is code."""
    if path.suffix == ".py" and path.is_file():
        raise DataError(_code(path))
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"{path}: larger than {MAX_JSON_BYTES} bytes; a loss.json is much smaller")
        # The size can change between the look and the read, and a pipe has none: limit the read too.
        with path.open("rb") as stream:
            raw = stream.read(MAX_JSON_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = getattr(error, "strerror", None) or "no name of a file"
        raise DataError(f"{printable(shorten(str(path), 200))}: {why}") from None
    return raw


def read_parametric(source: str | Path, reduction: str = "mean") -> ParametricLoss | None:
    """The parametric loss whose text or loss.json it is; None for any other. Errors as of `read_loss_file`."""
    text = str(source).strip()
    if is_parametric(text):
        return ParametricLoss.from_text(text, reduction)
    if not isinstance(source, Path) and not text.endswith(".json"):
        return None
    raw = _content(Path(source))
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        return None  # the reader of expressions says what is wrong
    is_one = isinstance(data, dict) and "space" in data and "formula" not in data
    return ParametricLoss.from_text(raw, reduction, text) if is_one else None


def parse_loss_json(
    raw: bytes | str, where: str = "loss.json", signature: str | Signature | None = None
) -> LossFile:
    """The same from the file's content; `where` names it in messages."""
    if len(raw) > MAX_JSON_BYTES:
        raise DataError(f"{where}: larger than {MAX_JSON_BYTES} bytes; a loss.json is much smaller")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {str(error) or 'nested too deeply'}") from None
    if not isinstance(data, dict):
        raise DataError(f"{where}: expected a JSON object with keys {', '.join(_REQUIRED)}")
    if "space" in data and "theta" in data:
        raise DataError(f"{where}: a parametric loss, which is no expression in our operators")
    slots = [key for key, value in data.items() if isinstance(value, dict) and key not in _KEYS]
    if slots and "formula" not in data:
        slot = _slot(data, slots, where, signature)
        data, where = (
            {**{key: data[key] for key in data if key not in slots}, **data[slot]},
            f"{where}: {slot}",
        )
    data = {_EARLIER.get(key, key): value for key, value in data.items()}
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
        stated = data["signature"]
        own = Signature.from_dict(stated) if isinstance(stated, dict) else signature_of(stated)
        graph = parse_formula(data["formula"], own)
        alpha = check_alpha(data.get("alpha"), own)
    except AutoLossError as error:
        raise type(error)(f"{where}: {error}") from None
    return LossFile(graph, alpha, data.get("provenance", {}))


def _slot(data: dict[str, Any], slots: list[str], where: str, signature: str | Signature | None) -> str:
    """The slot whose loss has that signature."""
    listed = " and ".join(slots)
    if signature is None:
        raise DataError(f"{where}: holds the losses of {listed}; give signature= that of one of them")
    name = known(signature).name
    for slot in slots:
        stated = data[slot].get("signature", data[slot].get("branch"))
        if (stated.get("name") if isinstance(stated, dict) else stated) == name:
            return slot
    raise DataError(f"{where}: holds the losses of {listed}; none of them is a {name} loss")


def _looks_like_formula(text: str, signature: Signature | None) -> bool:
    if signature is not None and text in signature.variables:
        return True
    return "(" in text or bool(re.fullmatch(r"[A-Z]{1,2}|[0-9]+", text))


def _agree(name: str, has: Signature, wanted: Signature | None) -> None:
    if wanted is not None and has not in fitting(wanted):
        raise UnknownNameError(f"{name!r} is a {has.name} loss, not {wanted.name}")
