"""Losses that read more: the paper's inputs, T, and the class's frequency F, or the box's chance P and its size G.

`spaces: wide`, an option beside the paper's signatures and those of T alone. Losses of both are losses of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from cse_autoloss.graph import Signature
from cse_autoloss.spaces.boxes import REG, BoxForm
from cse_autoloss.spaces.head_source import OF_COLUMNS
from cse_autoloss.spaces.heads import CLS_BINARY, CLS_MULTICLASS, HeadForm, SigmoidForm, SoftmaxForm
from cse_autoloss.spaces.progress import BY_PROGRESS, plain_of
from cse_autoloss.spaces.standing import CHANCE, FREQUENCY, PROGRESS, SIZE
from cse_autoloss.spaces.standing_form import StandingForm, extended

MEDIUM = 32.0
"""The side of a box from which COCO calls it medium, in pixels."""


def box_size(target_boxes: Tensor) -> Tensor:
    """G of boxes (N, 4) xyxy: s / (s + 32), s = √(width · height) in pixels; (N,) in [0, 1)."""
    sides = (target_boxes[..., 2:] - target_boxes[..., :2]).clamp(min=0)
    side = (sides[..., 0] * sides[..., 1]).sqrt()
    return side / (side + MEDIUM)


class WideHeadForm(StandingForm, HeadForm):
    """Heads': F, of the class that a logit is of."""

    standing = (PROGRESS, FREQUENCY)
    called, spread = "wide", "logits"
    arguments = 3

    def helpers(self, read: Iterable[str]) -> str:
        return super().helpers(read) + (OF_COLUMNS if FREQUENCY.name in set(read) else "")


class WideSigmoidForm(WideHeadForm, SigmoidForm):
    """Sigmoid heads'."""

    title = "classification, sigmoid heads, wide (cls-binary-wide)"
    extends, per_class = CLS_BINARY, True


class WideSoftmaxForm(WideHeadForm, SoftmaxForm):
    """Softmax heads'."""

    title = "classification, softmax heads, wide (cls-multiclass-wide)"
    extends, spread = CLS_MULTICLASS, "logits[:, :1]"


class WideBoxForm(StandingForm, BoxForm):
    """Boxes': P, the chance of the box's own class, and G, the target's size."""

    title = "boxes, wide (reg-wide)"
    standing = (PROGRESS, CHANCE, SIZE)
    called, spread = "wide", "px1"
    extends, arguments = REG, 2

    def made(self, *known: Tensor) -> dict[str, Tensor]:
        return {SIZE.name: box_size(known[1])}


BY_WIDE = {
    form.extends.name: extended(form, "wide")
    for form in (WideSigmoidForm(), WideSoftmaxForm(), WideBoxForm())
}
"""Of a signature's name, the one with all inputs."""

BY_SPACES: Mapping[str, Mapping[str, Signature]] = {"paper": {}, "extended": BY_PROGRESS, "wide": BY_WIDE}
"""By the setting `spaces`, of a signature's name, the one that reads more."""


def in_spaces(slots: Mapping[str, Signature], spaces: str) -> dict[str, Signature]:
    """Slots with the paper's signatures, or with those of the spaces that read more where there is one."""
    return {slot: BY_SPACES[spaces].get(one.name, one) for slot, one in slots.items()}


def fitting(signature: Signature) -> tuple[Signature, ...]:
    """The signatures whose losses are losses of this one: itself, and those that read less."""
    plain = plain_of(signature)
    between = BY_PROGRESS[plain.name] if signature in BY_WIDE.values() else plain
    return tuple(dict.fromkeys((signature, between, plain)))


def least_spaces(plain: Signature, words: set[str]) -> Signature:
    """Of the signatures that extend a plain one, that with the fewest inputs which knows those of some words."""
    for known in (plain, BY_PROGRESS.get(plain.name, plain)):
        if not words & {one.name for one in BY_WIDE[plain.name].inputs} - set(known.variables):
            return known
    return BY_WIDE[plain.name]
