"""Forms of losses that read inputs which stand still: looked at where they stand, called with them, drawn and written.

They may be any number of their range along every walk: so each look at a loss is repeated at their ends and at a point
between. What reads none of them is a loss of the signature that the form extends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from cse_autoloss.graph import Input, Kind, Signature
from cse_autoloss.spaces.curves import Look, ProbeGrid
from cse_autoloss.spaces.form import Evaluate, Form, Track, Uniform, View, Written, mark_uniform
from cse_autoloss.spaces.standing import FREQUENCY, PROGRESS, Standing, checked_value

Value = float | tuple[float, ...]
"""Of an input by class also a number for each."""


class StandingForm(Form):
    """A form whose losses read standing inputs as well.

    Attributes:
        extends: the signature that what reads none of them is of.
        standing: which they are.
        per_class: whether they stand at each class, so that an expression of one alone does, too.
        called: how grids are named.
        spread: like what T is in calls, its type and shape, by its name in exported code; empty for one number.
    """

    extends: ClassVar[Signature]
    standing: ClassVar[tuple[Standing, ...]]
    per_class: ClassVar[bool] = False
    called: ClassVar[str]
    spread: ClassVar[str] = ""

    @property
    def asked(self) -> tuple[Standing, ...]:
        """Those that are given, in the order in which `check` gives them; arguments after the others."""
        return tuple(one for one in self.standing if one.given != "made")

    def made(self, *known: Any) -> dict[str, Tensor]:
        """The others, by name, from what a loss was called with."""
        return {}

    def check(self, *args: Any, **named: Any) -> tuple[Any, ...]:
        first = self.arguments
        given: dict[str, Any] = {one.word: named.pop(one.word, None) for one in self.asked}
        given |= dict(zip(given, args[first:], strict=False))
        checked = super().check(*args[:first], *args[first + len(given) :], **named)
        return *checked, *(checked_value(one, given[one.word], checked[0]) for one in self.asked)

    def elements(self, evaluate: Evaluate, alpha: float | None, *args: Any) -> Tensor:
        known = args[: -len(self.asked)]
        standing = {
            one.name: self._spread(one, value, args[0])
            for one, value in zip(self.asked, args[len(known) :], strict=True)
        }
        standing |= self.made(*known)

        def at_once(inputs: Mapping[str, Tensor]) -> Tensor:
            return evaluate({**inputs, **standing})

        return super().elements(at_once, alpha, *known)

    def _spread(self, one: Standing, value: Tensor, like: Tensor) -> Tensor:
        value = value.to(like) if self.spread else value
        return value.expand_as(like) if one.by_class or (self.spread and self.per_class) else value

    def grid(self, look: Look) -> ProbeGrid:
        grid = super().grid(look)
        return self._at_each(grid, self._points(look, next(iter(grid.inputs.values()))))

    def marks(self, coupled: bool) -> ProbeGrid:
        grid = super().marks(coupled)
        if PROGRESS.name in grid.inputs:
            return grid
        return replace(grid, inputs=self._drawn(grid.inputs, mark_uniform()))

    def sample(self, count: int, uniform: Uniform, dtype: torch.dtype) -> dict[str, Tensor]:
        return self._drawn(super().sample(count, uniform, dtype), uniform)

    def example(self, read: Iterable[str]) -> dict[str, tuple[Tensor, Mapping[int, str]]]:
        read = set(read)
        found = super().example(read)
        if PROGRESS.name in read:
            if self.head is not None:
                found.setdefault("iou", (torch.ones(6), {0: "N"}))
            found[PROGRESS.word] = (torch.tensor(0.5), {})
        for one in self.asked:
            if one.name in read and one != PROGRESS:
                count, axis = (5, "C") if one.by_class else (6, "N")
                found[one.word] = (torch.ones(count), {0: axis})
        return found

    def views(self, loss: Callable[..., Tensor]) -> tuple[View, ...]:
        graph = getattr(loss, "graph", None)
        read = () if graph is None else tuple(one for one in self.asked if one.name in graph.variables)
        if not read:
            return super().views(loss)
        found = []
        for view in super().views(loss):
            kept = [track for track in view.tracks if track.shade in (0.5, 1.0)]
            tracks = [_moved(track, self.asked, one, at) for track in kept for one, at in _shown(read)]
            found.append(replace(view, tracks=tuple(tracks)))
        return tuple(found)

    def forward(self, written: Written) -> list[str]:
        lines = super().forward(written)
        told = [one for one in self.standing if one.given == "told" and one.name in written.read]
        methods = [line for one in told for line in _METHODS[one.name]]
        if self.spread:
            now, spread = "progress = self.progress", f".to({self.spread}).expand_as({self.spread})"
            lines = [f"{line}{spread}" if line.endswith(now) else line for line in lines]
        return [*methods, *lines]

    def _points(self, look: Look, like: Tensor) -> tuple[dict[str, Value], ...]:
        """Where the inputs stand: all at their least, each of several alone at 1, between, and all at 1.

        The middle lies elsewhere in each run, so that nothing can be right at one point alone.
        """
        low: dict[str, Value] = {one.name: one.low for one in self.standing}
        alone = [{**low, one.name: 1.0} for one in self.standing] if len(low) > 1 else []
        middle: dict[str, Value] = {}
        for place, one in enumerate(self.standing):
            columns = like.shape[1] if one.by_class and like.dim() == 2 else 1
            drawn = look.uniform(columns, salt=3 + 400 * place).tolist()
            found = tuple(round(0.5 + 0.35 * number, 3) for number in drawn)
            middle[one.name] = found if len(found) > 1 else found[0]
        return low, *alone, middle, dict.fromkeys(low, 1.0)

    def _at_each(self, grid: ProbeGrid, points: Sequence[Mapping[str, Value]]) -> ProbeGrid:
        """A grid's curves once for each of some points, where the inputs stand still along each."""
        count, steps = grid.shape
        times = len(points)
        inputs = _repeated(grid.inputs, times)
        like = next(iter(inputs.values()))
        for one in self.standing:
            rows = [torch.tensor(point[one.name], dtype=torch.float64) for point in points]
            if any(row.dim() for row in rows):
                rows = [row.expand(like.shape[1]) for row in rows]
            inputs = self._with(inputs, one, torch.stack(rows).repeat_interleave(count * steps, 0))
        told = [
            ", ".join(f"{one.symbol}={_number(point[one.name])}" for one in self.standing) for point in points
        ]
        curves = tuple(
            replace(curve, place=f"{curve.place}, {where}", family=f"{curve.family}; {where}")
            for where in told
            for curve in grid.curves
        )
        tall = ("coordinate", "step", "scale_mask", "end_mask", "falls", "slope_mask")
        return replace(
            grid,
            name=f"{grid.name}, {self.called}",
            inputs=inputs,
            tangents=_repeated(grid.tangents, times),
            curves=curves,
            mirrored=tuple((a + k * count, b + k * count) for k in range(times) for a, b in grid.mirrored),
            **{name: getattr(grid, name).repeat(times, 1) for name in tall},
        )

    def _drawn(self, inputs: Mapping[str, Tensor], uniform: Uniform) -> dict[str, Tensor]:
        """The inputs and standing ones at random, their ends among them."""
        found, some = dict(inputs), next(iter(inputs.values()))
        for one in self.standing:
            shape = some.shape if one.by_class else some.shape[:1]
            found = self._with(found, one, (1.4 * uniform(*shape) - 0.2).clamp(one.low, 1).to(some.dtype))
        return found

    def _with(self, inputs: Mapping[str, Tensor], one: Standing, value: Tensor) -> dict[str, Tensor]:
        """The inputs and one more, (N,) or (N, C), in the shape that the signature's kind has."""
        some = next(iter(inputs.values()))
        if some.dim() == 2:
            value = value[:, None] if value.dim() == 1 else value
            if self.per_class or one.by_class:
                value = value.expand_as(some).contiguous()
        return {**inputs, one.name: value}


def extended(form: StandingForm, ending: str) -> Signature:
    """The signature that a form extends with the inputs that stand still; its operators and its default stay."""
    signature = form.extends
    added = [
        Input(
            one.name, one.low, 1.0, one.meaning,
            Kind.PER_CLASS if form.per_class or one.by_class else Kind.PER_SAMPLE,
            one.symbol, one.word,
        )
        for one in form.standing
    ]  # fmt: skip
    return Signature(
        f"{signature.name}-{ending}",
        (*signature.inputs, *added),
        signature.operators,
        signature.default,
        result=signature.result,
        form=form,
    )


def _shown(read: Sequence[Standing]) -> list[tuple[Standing, float]]:
    """Where a loss is drawn: each input at its values while the others are 1, and where all are 1 once."""
    first, *others = read
    return [(first, at) for at in first.shown] + [(one, at) for one in others for at in one.shown[:-1]]


def _moved(track: Track, asked: Sequence[Standing], one: Standing, value: float) -> Track:
    label = ", ".join(filter(None, (track.label, f"{one.symbol} = {value:g}")))
    place, at = asked.index(one), torch.tensor(value, dtype=torch.float64)
    if one.by_class:  # of the target's class, the others being the most frequent
        columns, own = track.args[0].shape[1], int(track.args[1][0])
        at = torch.ones(columns, dtype=torch.float64)
        at[min(own, columns - 1)] = value
    # Losses that are drawn beside know T alone: where all is 1 the others are left out.
    args: tuple[Any, ...] = (*[None] * place, at) if place == 0 or value < 1 else (None,)
    return replace(
        track, args=(*track.args, *args), label=label,
        shade=track.shade * (0.3 + 0.7 * value), beside=value == 1.0 and track.beside,
    )  # fmt: skip


def _number(value: Value) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(f'{one:g}' for one in value[:3])}{', …' if len(value) > 3 else ''})"
    return f"{value:g}"


def _repeated(inputs: Mapping[str, Tensor], times: int) -> dict[str, Tensor]:
    return {name: value.repeat(times, *[1] * (value.dim() - 1)) for name, value in inputs.items()}


_METHODS = {
    PROGRESS.name: (
        "def set_progress(self, share: float) -> None:",
        '    """Say before each step what share of the training is done, 0 to 1; by default it is 1."""',
        "    self.progress = torch.full_like(self.progress, share)",
        "",
    ),
    FREQUENCY.name: (
        "def set_frequency(self, frequency: Tensor) -> None:",
        '    """Say before training how often classes are: (C,), over the most frequent one; by default all are 1."""',
        "    self.frequency = torch.as_tensor(frequency).to(self.frequency).clamp(0.01, 1.0)",
        "",
    ),
}
"""Of exported classes, for inputs that are told."""
