"""Losses that change while a network learns: the paper's inputs, and T, how much of the training is done.

An option beside the paper's signatures, which stay the default. A loss of T is verified at the training's beginning, at
its end and in between; what reads no T is a loss of the paper's signature too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from cse_autoloss.errors import DataError
from cse_autoloss.graph import Input, Kind, Signature
from cse_autoloss.spaces.curves import Look, ProbeGrid
from cse_autoloss.spaces.form import Evaluate, Form, Track, Uniform, View, Written
from cse_autoloss.spaces.heads import CLS_BINARY, CLS_MULTICLASS, HeadForm, SigmoidForm, SoftmaxForm

PROGRESS = "T"
"""The input's name in formulas."""

SHOWN = (0.0, 0.5, 1.0)
"""Shares of a training at which losses are drawn and certified."""


class ProgressForm(HeadForm):
    """A head's form whose losses read T as well: a state of the module, or a fourth argument."""

    extends: ClassVar[Signature]

    def check(
        self,
        logits: Tensor,
        target: Tensor,
        iou: Tensor | None = None,
        progress: Tensor | float | None = None,
        **taking: Any,
    ) -> tuple[Any, ...]:
        checked = super().check(logits, target, iou, **taking)
        progress = 1.0 if progress is None else progress
        if not isinstance(progress, Tensor):
            if isinstance(progress, bool) or not isinstance(progress, (int, float)) or not 0 <= progress <= 1:
                raise DataError(
                    f"progress must be the share of the training that is done, 0 to 1, got {progress!r}"
                )
            progress = torch.full((), progress, dtype=checked[0].dtype, device=checked[0].device)
        if progress.dim():
            raise DataError(f"progress must be one number, got the shape {tuple(progress.shape)}")
        return *checked, progress

    def elements(self, evaluate: Evaluate, alpha: float | None, *args: Any) -> Tensor:
        *known, progress = args

        def at_once(inputs: Mapping[str, Tensor]) -> Tensor:
            return evaluate({**inputs, PROGRESS: progress})

        return super().elements(at_once, alpha, *known)

    def grid(self, look: Look) -> ProbeGrid:
        # The middle lies elsewhere in each run, so that nothing can be right at one point alone.
        middle = round(0.5 + 0.35 * float(look.uniform(1, salt=3)), 3)
        return at_each(super().grid(look), (0.0, middle, 1.0))

    def sample(self, count: int, uniform: Uniform, dtype: torch.dtype) -> dict[str, Tensor]:
        inputs = super().sample(count, uniform, dtype)
        share = (1.4 * uniform(count, 1) - 0.2).clamp(0, 1).to(dtype)
        return {**inputs, PROGRESS: self.spread(share, inputs["X"])}

    def spread(self, share: Tensor, logits: Tensor) -> Tensor:
        """T (N, 1) in the shape that the signature's kind has."""
        raise NotImplementedError

    def example(self, read: Iterable[str]) -> dict[str, tuple[Tensor, Mapping[int, str]]]:
        found = super().example(read)
        if PROGRESS in set(read):
            found.setdefault("iou", (torch.ones(6), {0: "N"}))
            found["progress"] = (torch.tensor(0.5), {})
        return found

    def views(self, loss: Callable[..., Tensor]) -> tuple[View, ...]:
        graph = getattr(loss, "graph", None)
        if graph is None or not reads_progress(graph):
            return super().views(loss)
        found = []
        for view in super().views(_at_end(loss)):
            kept = [track for track in view.tracks if track.shade in (0.5, 1.0)]
            tracks = [_moved(track, at) for track in kept for at in SHOWN]
            found.append(replace(view, tracks=tuple(tracks)))
        return tuple(found)

    def forward(self, written: Written) -> list[str]:
        lines = super().forward(written)
        if PROGRESS not in written.read:
            return lines
        method = [
            "def set_progress(self, share: float) -> None:",
            '    """Say before each step what share of the training is done, 0 to 1; by default it is 1."""',
            "    self.progress = torch.full_like(self.progress, share)",
            "",
        ]
        return [*method, *lines]


class ProgressSigmoidForm(ProgressForm, SigmoidForm):
    """Sigmoid heads'."""

    title = "classification, sigmoid heads, by progress (cls-binary-progress)"
    extends = CLS_BINARY

    def spread(self, share: Tensor, logits: Tensor) -> Tensor:
        return share.expand_as(logits).contiguous()


class ProgressSoftmaxForm(ProgressForm, SoftmaxForm):
    """Softmax heads'."""

    title = "classification, softmax heads, by progress (cls-multiclass-progress)"
    extends = CLS_MULTICLASS

    def spread(self, share: Tensor, logits: Tensor) -> Tensor:
        return share


def at_each(grid: ProbeGrid, shares: tuple[float, ...]) -> ProbeGrid:
    """A grid's curves once for each share of the training, which stands still along each."""
    count, points = grid.shape
    times = len(shares)
    sample = grid.inputs["X"]
    rows = torch.tensor(shares, dtype=torch.float64).repeat_interleave(count * points)
    spread = rows[:, None] if sample.dim() == 2 else rows
    whole = "Z" not in grid.inputs and sample.dim() == 2
    inputs = {name: value.repeat(times, *[1] * (value.dim() - 1)) for name, value in grid.inputs.items()}
    inputs[PROGRESS] = spread.expand(-1, sample.shape[1]).contiguous() if whole else spread
    curves = tuple(
        replace(curve, place=f"{curve.place}, t={share:g}", family=f"{curve.family}; t={share:g}")
        for share in shares
        for curve in grid.curves
    )
    tall = {
        name: getattr(grid, name).repeat(times, 1)
        for name in ("coordinate", "step", "scale_mask", "end_mask", "falls", "slope_mask")
    }
    return replace(
        grid,
        name=f"{grid.name}, by progress",
        inputs=inputs,
        tangents={
            name: value.repeat(times, *[1] * (value.dim() - 1)) for name, value in grid.tangents.items()
        },
        curves=curves,
        mirrored=tuple((a + k * count, b + k * count) for k in range(times) for a, b in grid.mirrored),
        **tall,
    )


def reads_progress(graph: Any) -> bool:
    """Whether a loss's expression holds T of these signatures."""
    return isinstance(graph.signature.form, ProgressForm) and PROGRESS in graph.variables


def _at_end(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *args: loss(*args)


def _moved(track: Track, share: float) -> Track:
    label = ", ".join(filter(None, (track.label, f"t = {share:g}")))
    return replace(
        track, args=(*track.args, torch.tensor(share, dtype=torch.float64)), label=label,
        shade=track.shade * (0.3 + 0.7 * share), beside=share == 1.0 and track.beside,
    )  # fmt: skip


def with_progress(signature: Signature, form: Form, kind: Kind) -> Signature:
    """The signature and T; its operators and its default stay."""
    share = Input(PROGRESS, 0.0, 1.0, "share of the training that is done", kind, "t", "progress")
    return Signature(
        f"{signature.name}-progress",
        (*signature.inputs, share),
        signature.operators,
        signature.default,
        result=signature.result,
        form=form,
    )


CLS_BINARY_PROGRESS = with_progress(CLS_BINARY, ProgressSigmoidForm(), Kind.PER_CLASS)
CLS_MULTICLASS_PROGRESS = with_progress(CLS_MULTICLASS, ProgressSoftmaxForm(), Kind.PER_SAMPLE)

BY_PROGRESS = {one.form.extends.name: one for one in (CLS_BINARY_PROGRESS, CLS_MULTICLASS_PROGRESS)}
"""Of a signature's name, the one with T."""


def in_spaces(slots: Mapping[str, Signature], spaces: str) -> dict[str, Signature]:
    """Slots with the paper's signatures, or with those that read T where spaces are "extended" and there is one."""
    if spaces == "paper":
        return dict(slots)
    return {slot: BY_PROGRESS.get(one.name, one) for slot, one in slots.items()}


def plain_of(signature: Signature) -> Signature:
    """The signature without T: itself where it has none."""
    extends: Signature = getattr(signature.form, "extends", signature)
    return extends
