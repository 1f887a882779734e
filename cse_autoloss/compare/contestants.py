"""Who takes part: pairs of losses as a user writes them, completed, named and checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from cse_autoloss.bench.audit import Contestant
from cse_autoloss.bench.jobs import LossPair
from cse_autoloss.compare.sources import Part, Source, read_source
from cse_autoloss.compare.units import weight_unit
from cse_autoloss.detectors.registry import BUILT_IN
from cse_autoloss.errors import ConfigError, shorten


@dataclass(frozen=True)
class Field:
    """Everyone who takes part.

    Attributes:
        contestants: in the order in which they were named; the first is what the others are compared with.
        notes: what was completed or scaled, in words.
    """

    contestants: tuple[Contestant, ...]
    notes: tuple[str, ...]


def enlist(
    texts: Sequence[str], *, detector: str, cls_branch: str, default_cls: str, default_reg: str
) -> Field:
    """Contestants from texts.

    Args:
        texts: each a loss (see `sources.read_source`), `CLS+REG`, or `NAME=` and one of these.
        detector: name of the detector, for messages.
        cls_branch: classification branch that it takes.
        default_cls, default_reg: stand beside a loss that is named alone.

    Raises:
        ConfigError: a loss of a branch that the detector does not take, a pair with two losses of one kind, a
            loss named twice, a name given twice.
        AutoLossError: as of `sources.read_source`.
    """
    if not texts:
        raise ConfigError("compare: name a loss or more, as 'focal', 'focal+giou' or a run directory")
    contestants: list[Contestant] = []
    notes: list[str] = []
    seen: dict[tuple[str, str], str] = {}
    formulas: dict[str, str] = {}
    for text in texts:
        given, body = _name_of(text)
        source = _pair_of(body, cls_branch)
        _check_branch(source, body, detector, cls_branch)
        cls = source.cls or _default(default_cls, cls_branch)
        reg = source.reg or _default(default_reg, cls_branch)
        label = given or source.label or f"{_label(cls, formulas)} + {_label(reg, formulas)}"
        if source.cls is None:
            notes.append(f"{label}: no classification loss was given, so it stands beside {default_cls}")
        if source.reg is None:
            notes.append(f"{label}: no box loss was given, so it stands beside {default_reg}")
        same = (cls.digest, reg.digest)
        if same in seen:
            raise ConfigError(f"{seen[same]} and {shorten(text)} are the same pair of losses: name it once")
        if any(one.name == label for one in contestants):
            raise ConfigError(
                f"two contestants are called {label!r}: tell them apart, as NAME={shorten(body)}"
            )
        seen[same] = shorten(text)
        unit = weight_unit(reg.text)
        if unit != 1:
            notes.append(f"{label}: its box weights are multiplied by {unit:g}, to slope like GIoU's")
        contestants.append(Contestant(label, LossPair(cls.text, reg.text, cls.alpha), False, unit=unit))
    return Field(tuple(contestants), tuple(notes))


def _name_of(text: str) -> tuple[str, str]:
    """NAME and what follows it, for NAME=LOSS; formulas have no equals sign, but a path may."""
    name, sign, body = text.partition("=")
    if not sign or os.path.exists(text):
        return "", text
    if not name.strip() or not body.strip():
        raise ConfigError(f"{shorten(text)!r}: expected NAME=LOSS")
    return name.strip(), body


def _pair_of(text: str, cls_branch: str) -> Source:
    if "+" not in text or os.path.exists(text.strip()):
        return read_source(text, cls_branch)
    first, _, second = text.partition("+")
    if not first.strip() or not second.strip() or "+" in second:
        raise ConfigError(f"{shorten(text)!r}: expected a pair written CLS+REG, as focal+giou")
    left, right = read_source(first, cls_branch), read_source(second, cls_branch)
    if left.cls is None or right.reg is None:
        wrong, expected = (first, "classification") if left.cls is None else (second, "box")
        hint = f"; write {second.strip()}+{first.strip()}" if left.reg and right.cls else ""
        raise ConfigError(
            f"{shorten(text)!r}: {shorten(wrong.strip())} is no {expected} loss, and a pair is CLS+REG{hint}"
        )
    # A run or a file of two losses lends the half that it is asked for.
    cls = left.cls if not left.label else _named(left.cls, f"{left.label} (cls)")
    reg = right.reg if not right.label else _named(right.reg, f"{right.label} (box)")
    return Source(cls, reg)


def _named(part: Part, label: str) -> Part:
    return Part(part.text, part.branch, part.label or label, part.alpha, part.digest)


def _default(name: str, cls_branch: str) -> Part:
    source = read_source(name, cls_branch)
    part = source.cls or source.reg
    assert part is not None
    return part


def _check_branch(source: Source, text: str, detector: str, cls_branch: str) -> None:
    branch = source.cls.branch if source.cls is not None else cls_branch
    if branch == cls_branch:
        return
    text = shorten(text.strip())
    takers = [name for name, builder in BUILT_IN.items() if builder.branch == branch]
    if not takers:
        raise ConfigError(f"{text}: a {branch} loss, and no detector takes one")
    hint = f"; its box loss alone can be carried over, as {text} after a +" if source.label else ""
    raise ConfigError(
        f"{text}: a {branch} loss, and the {detector} detector takes {cls_branch} ones; "
        f"use --detector {' or '.join(takers)}{hint}"
    )


def _label(part: Part, formulas: dict[str, str]) -> str:
    """Name of a loss; formulas are numbered in the order in which they come."""
    return part.label or formulas.setdefault(part.digest, f"formula {len(formulas) + 1}")
