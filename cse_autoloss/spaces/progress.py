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
from cse_autoloss.spaces.boxes import REG, BoxForm
from cse_autoloss.spaces.curves import Look, ProbeGrid
from cse_autoloss.spaces.form import Evaluate, Form, Track, Uniform, View, Written, mark_uniform
from cse_autoloss.spaces.heads import CLS_BINARY, CLS_MULTICLASS, SigmoidForm, SoftmaxForm

PROGRESS = "T"
"""The input's name in formulas."""

SHOWN = (0.0, 0.5, 1.0)
"""Shares of a training at which losses are drawn."""


class ProgressForm(Form):
    """A form whose losses read T as well: a state of the module, or the argument after the others."""

    extends: ClassVar[Signature]

    def check(self, *args: Any, **named: Any) -> tuple[Any, ...]:
        progress = named.pop("progress", None)
        if len(args) > self.arguments:
            progress = args[self.arguments]
        checked = super().check(*args[: self.arguments], *args[self.arguments + 1 :], **named)
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
        return self._at_each(super().grid(look), (0.0, middle, 1.0))

    def marks(self, coupled: bool) -> ProbeGrid:
        grid = super().marks(coupled)
        if PROGRESS in grid.inputs:
            return grid
        count = len(next(iter(grid.inputs.values())))
        return replace(grid, inputs=self._with_share(grid.inputs, _shares(count, mark_uniform())))

    def sample(self, count: int, uniform: Uniform, dtype: torch.dtype) -> dict[str, Tensor]:
        inputs = super().sample(count, uniform, dtype)
        return self._with_share(inputs, _shares(count, uniform).to(dtype))

    def example(self, read: Iterable[str]) -> dict[str, tuple[Tensor, Mapping[int, str]]]:
        found = super().example(read)
        if PROGRESS in set(read):
            if self.head is not None:
                found.setdefault("iou", (torch.ones(6), {0: "N"}))
            found["progress"] = (torch.tensor(0.5), {})
        return found

    def views(self, loss: Callable[..., Tensor]) -> tuple[View, ...]:
        graph = getattr(loss, "graph", None)
        if graph is None or not reads_progress(graph):
            return super().views(loss)
        found = []
        for view in super().views(loss):
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

    def _with_share(self, inputs: Mapping[str, Tensor], share: Tensor) -> dict[str, Tensor]:
        """The inputs and T (N,), in the shape that the signature's kind has."""
        some = next(iter(inputs.values()))
        if some.dim() == 2:
            share = share[:, None]
            if self.per_class:
                share = share.expand_as(some).contiguous()
        return {**inputs, PROGRESS: share}

    per_class: ClassVar[bool] = False
    """Whether T stands at each class, so that an expression of T alone is one, too."""

    def _at_each(self, grid: ProbeGrid, shares: tuple[float, ...]) -> ProbeGrid:
        """A grid's curves once for each share of the training, which stands still along each."""
        count, points = grid.shape
        times = len(shares)
        at = torch.tensor(shares, dtype=torch.float64).repeat_interleave(count * points)
        curves = tuple(
            replace(curve, place=f"{curve.place}, t={share:g}", family=f"{curve.family}; t={share:g}")
            for share in shares
            for curve in grid.curves
        )
        tall = ("coordinate", "step", "scale_mask", "end_mask", "falls", "slope_mask")
        return replace(
            grid,
            name=f"{grid.name}, by progress",
            inputs=self._with_share(_repeated(grid.inputs, times), at),
            tangents=_repeated(grid.tangents, times),
            curves=curves,
            mirrored=tuple((a + k * count, b + k * count) for k in range(times) for a, b in grid.mirrored),
            **{name: getattr(grid, name).repeat(times, 1) for name in tall},
        )


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


def _shares(count: int, uniform: Uniform) -> Tensor:
    """(count,) shares of a training, its ends among them."""
    found: Tensor = (1.4 * uniform(count) - 0.2).clamp(0, 1)
    return found


def _repeated(inputs: Mapping[str, Tensor], times: int) -> dict[str, Tensor]:
    return {name: value.repeat(times, *[1] * (value.dim() - 1)) for name, value in inputs.items()}


def reads_progress(graph: Any) -> bool:
    """Whether a loss's expression holds T of these signatures."""
    return isinstance(graph.signature.form, ProgressForm) and PROGRESS in graph.variables


def _moved(track: Track, share: float) -> Track:
    label = ", ".join(filter(None, (track.label, f"t = {share:g}")))
    return replace(
        track, args=(*track.args, torch.tensor(share, dtype=torch.float64)), label=label,
        shade=track.shade * (0.3 + 0.7 * share), beside=share == 1.0 and track.beside,
    )  # fmt: skip


def _with_progress(form: ProgressForm) -> Signature:
    """The signature that the form extends, and T; its operators and its default stay."""
    signature, kind = form.extends, Kind.PER_CLASS if form.per_class else Kind.PER_SAMPLE
    share = Input(PROGRESS, 0.0, 1.0, "share of the training that is done", kind, "t", "progress")
    return Signature(
        f"{signature.name}-progress",
        (*signature.inputs, share),
        signature.operators,
        signature.default,
        result=signature.result,
        form=form,
    )


BY_PROGRESS = {
    form.extends.name: _with_progress(form)
    for form in (ProgressSigmoidForm(), ProgressSoftmaxForm(), ProgressBoxForm())
}
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
