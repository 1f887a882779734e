"""Margin softmax losses: of cosines between features and class weights. They stand in the catalogue as plain modules;
what they do to the target's angle is no expression, so nothing is searched or verified here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cse_autoloss.graph import Input, Kind, Signature
from cse_autoloss.spaces.form import Batch, Form, Track, View


class CosineForm(Form):
    """Losses of cosines (N, C) and a class index (N,); one value for each sample."""

    moving = frozenset({"X"})
    title = "margin softmax, on cosines"
    reading = (
        "Two classes; the cosine to the own class moves, the other stands. Softmax is the same scale without a "
        "margin, the other class at 0. Below stands the slope."
    )

    def batch(self, uniform: Callable[..., Tensor]) -> Batch:
        return Batch((uniform(96, 4, low=-0.95, high=0.95), torch.arange(96) % 4))

    def views(self, loss: Callable[..., Tensor]) -> tuple[View, ...]:
        tracks = []
        for rest in (0.0, 0.4):
            x = torch.linspace(-0.999, 0.999, 481, dtype=torch.float64).requires_grad_()
            args = (torch.stack([x, torch.full_like(x, rest)], -1), torch.zeros(len(x), dtype=torch.int64))
            tracks.append(Track(x.detach(), args, x, None, f"other at {rest:g}", 0.5 + rest, rest == 0.0))
        return (View("The true class", "cos θ to the own class", "∂L/∂cos θ", tuple(tracks)),)

    def beside(self, loss: Any) -> Sequence[tuple[str, Callable[..., Tensor]]]:
        scale = float(getattr(loss, "scale", 1.0))

        def softmax(cosine: Tensor, target: Tensor) -> Tensor:
            return torch.nn.functional.cross_entropy(scale * cosine, target, reduction="none")

        return (("softmax", softmax),)


MARGIN = Signature(
    "margin",
    (
        Input("X", -1.0, 1.0, "cosines to the classes", Kind.PER_CLASS, "x", "cosine"),
        Input("Y", 0.0, 1.0, "one-hot target", Kind.PER_CLASS, "y", "one_hot", one_hot=True),
    ),
    form=CosineForm(),
)
"""What `margin` losses are called with; it is in no registry, because its losses are no expressions."""
