"""Which two losses a training uses: whatever a user names, settled into text that stands by itself.

A run directory or a file can change while a training lasts; what its checkpoints hold can not.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cse_autoloss.errors import ConfigError, FormulaError, RunError, UnknownNameError, nearest, shorten
from cse_autoloss.export import from_json, from_json_pair
from cse_autoloss.fullsize.families import family_of
from cse_autoloss.fullsize.settings import TrainSettings
from cse_autoloss.losses import CATALOGUE, GraphLoss, LossFile, ReducedLoss, infer_signature, load_loss
from cse_autoloss.losses.parametric import is_parametric
from cse_autoloss.settings.load import changed

OWN = "torchvision"
"""What to say, as None, for torchvision's own loss."""
REG = "reg"


class Part(NamedTuple):
    """One loss as text.

    Attributes:
        signature: what kind it is.
        text: a formula, or the name of a catalogue's loss that is no expression.
        alpha: class weighting, where it comes with one.
    """

    signature: str
    text: str
    alpha: float | None = None


def settle(settings: TrainSettings) -> TrainSettings:
    """The settings with `loss`, `loss_reg` and `alpha` as formulas and numbers; settled ones stay as they are.

    Raises:
        AutoLossError: no such loss, or one that does not fit the detector's heads.
    """
    family = family_of(settings.detector)
    cls, box = None, None
    if settings.loss not in (None, OWN):
        assert settings.loss is not None
        parts = _parts(settings.loss, family.signature)
        cls, box = _classification(settings, parts), parts.get(REG)
        if cls is None and len(parts) == 1 and not _holds_several(settings.loss):
            raise ConfigError(f"loss: {_shown(settings.loss)} is a box loss; give it with --loss-reg")
    if settings.loss_reg == OWN:
        box = None
    elif settings.loss_reg is not None:
        box = _parts(settings.loss_reg, REG).get(REG)
        if box is None:
            raise ConfigError(
                f"loss_reg: expected a box loss, got {_shown(settings.loss_reg)}, which is none"
            )
    alpha: float | str | None = settings.alpha
    if cls is None:
        if alpha not in ("default", None):
            raise ConfigError("alpha: torchvision's own classification loss has no alpha to set here")
        alpha = None
    elif alpha == "default":
        alpha = cls.alpha
    settled = changed(settings, {"loss": cls and cls.text, "loss_reg": box and box.text, "alpha": alpha})
    loss_modules(settled)
    return settled


def loss_modules(settings: TrainSettings) -> tuple[ReducedLoss | None, ReducedLoss | None]:
    """The classification and the box loss of settled settings; None where torchvision's own stays."""
    signature = family_of(settings.detector).signature
    cls = box = None
    if settings.loss is not None:
        # A configuration's α is that of expressions.
        own = is_parametric(settings.loss)
        alpha: float | Literal["default"] | None = "default" if own else settings.alpha
        cls = load_loss(settings.loss, signature, "none", alpha=alpha)
    if settings.loss_reg is not None:
        box = load_loss(settings.loss_reg, REG, "none")
    return cls, box


def _classification(settings: TrainSettings, parts: Mapping[str, Part]) -> Part | None:
    """The part for the detector's classification head; ConfigError where the only one is for another."""
    family = family_of(settings.detector)
    if family.signature in parts:
        return parts[family.signature]
    other = next((signature for signature in parts if signature != REG), None)
    if other is None:
        return None
    kind = "one-stage" if other == "cls-binary" else "two-stage"
    raise ConfigError(
        f"loss: {_shown(str(settings.loss))} is a {other} loss, for {kind} detectors; "
        f"the head of {settings.detector} takes one of {family.signature}"
    )


def _parts(source: str, wanted: str) -> dict[str, Part]:
    """What a name, formula, file or run holds, by signature; `wanted` is for formulas that do not tell."""
    text = source.strip()
    if {f"{text}-cls", f"{text}-reg"} <= CATALOGUE.keys():
        return _by_branch(_part(load_loss(f"{text}-{half}", None, "none"), text) for half in ("cls", "reg"))
    if "(" not in text and text not in CATALOGUE:
        if os.path.isdir(text):
            return _of_run(Path(text))
        if text.endswith(".json"):
            return _of_file(Path(text))
    if "(" in text and text not in CATALOGUE:
        # Where its variables do not tell, it is what it is given for.
        with contextlib.suppress(FormulaError):
            wanted = infer_signature(text).name
        return _by_branch([_part(load_loss(text, wanted, "none"), text)])
    try:
        return _by_branch([_part(load_loss(text, None, "none"), text)])
    except UnknownNameError:
        raise _unknown(text) from None


def _holds_several(source: str) -> bool:
    """Whether it may hold a box loss alone and yet be rightly given as `loss`."""
    return os.path.isdir(source) or source.endswith(".json")


def _unknown(text: str) -> UnknownNameError:
    pairs = {name.removesuffix("-cls") for name in CATALOGUE if name.endswith("-cls")}
    close = nearest(text, [*CATALOGUE, *pairs])
    hint = f"did you mean {close!r}?" if close else "`cse-autoloss losses` lists the names"
    return UnknownNameError(f"no loss, file or run directory {shorten(text)!r}; {hint}")


def _of_run(directory: Path) -> dict[str, Part]:
    file = directory / "best" / "loss.json"
    if file.is_file():
        return _of_file(file)
    if (directory / "run.sqlite").exists():
        raise RunError(f"{directory}: the run has no discovered loss yet ({file} is missing)")
    raise RunError(f"{directory}: no run directory of `cse-autoloss evolve` ({file} is missing)")


def _of_file(file: Path) -> dict[str, Part]:
    found: tuple[LossFile, ...]
    try:
        keys: Any = json.loads(file.read_bytes()[:1_000_000])
    except (OSError, ValueError, RecursionError):
        keys = None
    if isinstance(keys, dict) and keys.keys() & {"cls", "reg"}:
        found = from_json_pair(file)
    else:
        found = (from_json(file),)
    return _by_branch(Part(one.graph.signature.name, one.graph.formula, one.alpha) for one in found)


def _part(loss: ReducedLoss, text: str) -> Part:
    if isinstance(loss, GraphLoss):
        return Part(loss.signature.name, loss.formula, loss.alpha)
    return Part(loss.signature.name, text)


def _by_branch(parts: Iterable[Part]) -> dict[str, Part]:
    return {part.signature: part for part in parts}


def _shown(text: str) -> str:
    return repr(shorten(text))
