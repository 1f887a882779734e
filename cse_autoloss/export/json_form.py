"""A loss as JSON, and back: data only, checked field by field, so that a hostile file ends in an error.

One loss::

    {"format": 1, "signature": "reg", "formula": "Sub(1,Div(I,U))", "alpha": null, "provenance": {"seed": 3}}

A signature of a user's stands there in full, as `Signature.to_dict` gives it, so that the file is read anywhere.
Both losses of a detector::

    {"format": 1, "cls": {"signature": …, "formula": …, "alpha": …}, "reg": {…}, "provenance": {…}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from cse_autoloss.errors import AutoLossError, DataError, UnknownNameError, shorten
from cse_autoloss.graph import LossGraph, Signature
from cse_autoloss.losses.load import FORMAT, MAX_JSON_BYTES, LossFile, parse_loss_json
from cse_autoloss.losses.reduction import check_alpha
from cse_autoloss.spaces import REG, form_of, plain_of
from cse_autoloss.spaces.signatures import PACKAGED

MAX_NESTING = 32

Source = str | bytes | Path | Mapping[str, Any]
"""A JSON text, a file, or what was read from one."""


def to_json(
    graph: LossGraph, alpha: float | None = None, provenance: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The loss as plain values, ready for `json.dump`; `from_json` is the inverse.

    Raises:
        AutoLossError: alpha does not fit the signature, or provenance holds what JSON can't.
    """
    return {"format": FORMAT, **_loss(graph, alpha), "provenance": _plain(provenance or {}, "provenance")}


def to_json_pair(
    cls_graph: LossGraph,
    reg_graph: LossGraph,
    alpha: float | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Both losses of a detector as plain values; `from_json_pair` is the inverse."""
    check_pair(cls_graph, reg_graph)
    return {
        "format": FORMAT,
        "cls": _loss(cls_graph, alpha),
        "reg": _loss(reg_graph, None),
        "provenance": _plain(provenance or {}, "provenance"),
    }


def from_json(source: Source) -> LossFile:
    """The loss in a JSON text, a file (a Path) or an already read mapping.

    Raises:
        AutoLossError: what is wrong and in which field; nothing in the text is ever run.
    """
    data, where = _read(source)
    if "cls" in data or "reg" in data:
        _fail(where, "holds a pair of losses, cls and reg; read it with from_json_pair")
    return parse_loss_json(json.dumps(data), where)


def from_json_pair(source: Source) -> tuple[LossFile, LossFile]:
    """Both losses of a detector: (classification, box); arguments and errors as for `from_json`."""
    data, where = _read(source)
    for key in data:
        if key not in ("format", "cls", "reg", "provenance"):
            _fail(where, str(UnknownNameError.of("key", key, ("format", "cls", "reg", "provenance"))))
    shared = {key: data[key] for key in ("format", "provenance") if key in data}
    files = []
    for key in ("cls", "reg"):
        loss = data.get(key)
        if not isinstance(loss, dict):
            _fail(where, f"the key {key!r} is missing" if key not in data else f"{key}: expected an object")
        for name in shared:
            if name in loss:
                _fail(where, f"{key}: {name} stands outside, once for both losses")
        files.append(parse_loss_json(json.dumps({**shared, **loss}), f"{where}: {key}"))
    check_pair(files[0].graph, files[1].graph)
    return files[0], files[1]


def holds_pair(path: Path) -> bool:
    """Whether a file holds two losses, as far as it can be read; what is wrong with it says who reads it."""
    try:
        with path.open("rb") as stream:
            data = json.loads(stream.read(1_000_001))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and "cls" in data and "reg" in data


def _loss(graph: LossGraph, alpha: float | None) -> dict[str, Any]:
    own = graph.signature
    stated = own.name if own in PACKAGED else own.to_dict()
    return {"signature": stated, "formula": graph.formula, "alpha": check_alpha(alpha, own)}


def make_pair(cls: Signature, reg: Signature) -> bool:
    """Whether losses of two signatures are a classification and a box loss, which one file holds."""
    return form_of(cls).head is not None and plain_of(reg) == REG


def check_pair(cls_graph: LossGraph, reg_graph: LossGraph) -> None:
    """Raise AutoLossError unless the two are a classification and a box loss."""
    if not make_pair(cls_graph.signature, reg_graph.signature):
        found = f"{cls_graph.signature.name} and {reg_graph.signature.name}"
        raise AutoLossError(f"a pair is a classification loss and a box loss, got {found}")


def _read(source: Source) -> tuple[dict[str, Any], str]:
    where = "loss JSON"
    if isinstance(source, Mapping):
        return _plain(source, where), where
    if isinstance(source, Path):
        where = str(source)
        try:
            with source.open("rb") as stream:
                source = stream.read(MAX_JSON_BYTES + 1)
        except OSError as error:
            _fail(where, error.strerror or str(error))
    if len(source) > MAX_JSON_BYTES:
        _fail(where, f"larger than {MAX_JSON_BYTES} bytes; a loss takes far less")
    try:
        data = json.loads(source, object_pairs_hook=lambda pairs: _no_twins(pairs, where))
    except (ValueError, RecursionError) as error:
        _fail(where, f"not JSON: {error if isinstance(error, ValueError) else 'nested too deeply'}")
    if not isinstance(data, dict):
        _fail(where, "expected a JSON object")
    return _plain(data, where), where


def _no_twins(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, value in pairs:
        if name in data:
            _fail(where, f"the key {shorten(name)!r} stands there twice")
        data[name] = value
    return data


def _plain(value: Any, at: str, depth: int = 0) -> Any:
    """A copy of plain JSON values, not nested without end; AutoLossError for anything else."""
    if depth > MAX_NESTING:
        _fail(shorten(at), f"nested more than {MAX_NESTING} deep")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                _fail(shorten(at), f"a key is text, got {shorten(repr(key))}")
        return {
            key: _plain(inner, f"{shorten(at)}: {shorten(key)}", depth + 1) for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(inner, at, depth + 1) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        _fail(shorten(at), f"{value} is no JSON number")
    if not isinstance(value, (str, int, float, bool, type(None))):
        _fail(shorten(at), f"expected a JSON value, got a {type(value).__name__}")
    return value


def _fail(where: str, message: str) -> NoReturn:
    raise DataError(f"{where}: {message}")
