"""Losses that change while a network learns: the paper's inputs, and T, how much of the training is done.

An option beside the paper's signatures, which stay the default. A loss of T is verified at the training's beginning, at
its end and in between; what reads no T is a loss of the paper's signature too.
"""

from __future__ import annotations

from typing import Any

from cse_autoloss.graph import Signature
from cse_autoloss.spaces import standing
from cse_autoloss.spaces.boxes import REG, BoxForm
from cse_autoloss.spaces.heads import CLS_BINARY, CLS_MULTICLASS, SigmoidForm, SoftmaxForm
from cse_autoloss.spaces.standing import standing_in
from cse_autoloss.spaces.standing_form import StandingForm, extended

PROGRESS = standing.PROGRESS.name
"""The input's name in formulas."""


class ProgressForm(StandingForm):
    """A form whose losses read T as well: a state of the module, or the argument after the others."""

    standing = (standing.PROGRESS,)
    called = "by progress"


class ProgressSigmoidForm(ProgressForm, SigmoidForm):
    """Sigmoid heads'."""

    title = "classification, sigmoid heads, by progress (cls-binary-progress)"
    extends, arguments, per_class = CLS_BINARY, 3, True


class ProgressSoftmaxForm(ProgressForm, SoftmaxForm):
    """Softmax heads'."""

    title = "classification, softmax heads, by progress (cls-multiclass-progress)"
    extends, arguments = CLS_MULTICLASS, 3


class ProgressBoxForm(ProgressForm, BoxForm):
    """Boxes'."""

    title = "boxes, by progress (reg-progress)"
    extends, arguments = REG, 2


def reads_progress(graph: Any) -> bool:
    """Whether a loss's expression holds T of signatures that know it."""
    return standing.PROGRESS in standing_in(graph)


BY_PROGRESS = {
    form.extends.name: extended(form, "progress")
    for form in (ProgressSigmoidForm(), ProgressSoftmaxForm(), ProgressBoxForm())
}
"""Of a signature's name, the one with T."""


def plain_of(signature: Signature) -> Signature:
    """The signature without what stands still: itself where it has none."""
    extends: Signature = getattr(signature.form, "extends", signature)
    return extends
