"""Inputs that stand still while a sample's logits or boxes move: which there are, and what is told of them.

One table says all of them; `standing_form` says how losses that read them are looked at, called and written.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor

from cse_autoloss.errors import DataError, shorten
from cse_autoloss.graph import Signature


@dataclass(frozen=True)
class Standing:
    """An input that stands still.

    Attributes:
        name: in formulas.
        word: as an argument of a call, a state of the module, and in exported code.
        symbol: in verdicts, pictures and LaTeX.
        meaning: in a few words.
        given: "told": the module keeps what its `set_…` was told; "called": with each call; "made": from the boxes.
        rule: what a value must be, in words, where it is given.
        low: the least that losses are looked at with, the most is 1; what is told is not taken for less.
        by_class: whether each class has its own.
        shown: values at which losses are drawn.
    """

    name: str
    word: str
    symbol: str
    meaning: str
    given: Literal["told", "called", "made"]
    rule: str = ""
    low: float = 0.0
    by_class: bool = False
    shown: tuple[float, ...] = (0.0, 0.5, 1.0)


PROGRESS = Standing(
    "T", "progress", "t", "share of the training that is done", "told",
    "the share of the training that is done, 0 to 1",
)  # fmt: skip
FREQUENCY = Standing(
    "F", "frequency", "f", "objects of the class in training over those of the most frequent class", "told",
    "the classes' frequencies, 0 to 1, (C,)", low=0.01, by_class=True, shown=(0.01, 0.1, 1.0),
)  # fmt: skip
CHANCE = Standing(
    "P", "score", "p", "chance that the detector gives the box's own class", "called",
    "the chance of each box's class, 0 to 1, (N,)",
)  # fmt: skip
SIZE = Standing(
    "G", "size", "g", "size of the target, s / (s + 32), s the root of its area in pixels", "made"
)  # fmt: skip

STANDING = (PROGRESS, FREQUENCY, CHANCE, SIZE)
"""All of them."""


def standing_of(signature: Signature) -> tuple[Standing, ...]:
    """The inputs of a signature that stand still."""
    found: tuple[Standing, ...] = getattr(signature.form, "standing", ())
    return found


def standing_in(graph: Any) -> tuple[Standing, ...]:
    """Those that a loss reads."""
    return tuple(one for one in standing_of(graph.signature) if one.name in graph.variables)


def cases(graph: Any) -> list[dict[str, float]]:
    """Arguments by word: where a loss that reads inputs which are given is looked at, all of them together."""
    read = [one for one in standing_in(graph) if one.given != "made"]
    return [
        dict(zip((one.word for one in read), values, strict=True))
        for values in product(*(one.shown for one in read))
    ]


def frequency_of(labels: Tensor, classes: int) -> Tensor:
    """(C,) objects of each class over those of the most frequent one; 0 of a class that has none.

    Args:
        labels: int64 class indices in any shape; others than 0 to C − 1 are of no class.
        classes: C.
    """
    known = labels[(labels >= 0) & (labels < classes)]
    counts = torch.bincount(known, minlength=classes).float()
    return counts / counts.max().clamp(min=1)


def told_frequency(value: Any) -> Tensor:
    """Frequencies of classes as a loss keeps them: (C,) or one number, those below 0.01 taken for 0.01.

    Raises:
        DataError: other shapes, or numbers that are not in [0, 1].
    """
    try:
        found = torch.as_tensor(value, dtype=torch.float32).detach()
    except (TypeError, ValueError, RuntimeError):
        found = torch.tensor(float("nan"))
    if found.dim() > 1 or not bool(((found >= 0) & (found <= 1)).all()) or not found.numel():
        raise DataError(f"frequency must be {FREQUENCY.rule}, got {shorten(repr(value))}")
    return found.clamp(min=FREQUENCY.low)


def checked_value(one: Standing, value: Any, like: Tensor) -> Tensor:
    """What a loss was given: a number (), (C,) by class, or (N,) one a box; 1 where it was not."""
    value = 1.0 if value is None else value
    if not isinstance(value, Tensor):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise DataError(f"{one.word} must be {one.rule}, got {shorten(repr(value))}")
        value = torch.full((), value, dtype=like.dtype, device=like.device)
    if one == PROGRESS:
        if value.dim():
            raise DataError(f"{one.word} must be one number, got the shape {tuple(value.shape)}")
        return value
    value = value.detach().to(like)
    if one.by_class:
        return _by_column(value.clamp(min=one.low), like)
    if value.dim() and value.shape != like.shape[:1]:
        raise DataError(
            f"{one.word} must be {one.rule}, {len(like)} of them, got the shape {tuple(value.shape)}"
        )
    return value.expand(like.shape[:1])


def _by_column(value: Tensor, logits: Tensor) -> Tensor:
    """(C,) one a column; the background's, where only the classes have one, is 1."""
    columns = logits.shape[-1]
    if not value.dim():
        return value.expand(columns)
    if value.dim() == 1 and value.shape[0] == columns:
        return value
    if value.dim() == 1 and value.shape[0] == columns - 1:
        return torch.cat((value, value.new_ones(1)))
    raise DataError(f"frequency has the shape {tuple(value.shape)}, and logits have {columns} columns")
