"""Inputs that stand still while a sample's logits or boxes move: what they are, and forms of losses that read them.

One table says all of them. They may be any number of their range along every walk: so each look at a loss is repeated
at their ends and at a point between, and a certificate holds for all of them. What reads none of them is a loss of the
signature that the form extends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from cse_autoloss.errors import DataError, shorten
from cse_autoloss.graph import Input, Kind, Signature
from cse_autoloss.spaces.curves import Look, ProbeGrid
from cse_autoloss.spaces.form import Evaluate, Form, Track, Uniform, View, Written, mark_uniform


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

Value = float | tuple[float, ...]
"""Of an input by class also a number for each."""


class StandingForm(Form):
    """A form whose losses read standing inputs as well.

    Attributes:
        extends: the signature that what reads none of them is of.
        standing: which they are.
        per_class: whether they stand at each class, so that an expression of one alone does, too.
        called: how grids are named.
    """

    extends: ClassVar[Signature]
    standing: ClassVar[tuple[Standing, ...]]
    per_class: ClassVar[bool] = False
    called: ClassVar[str]

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
        return *checked, *(_checked(one, given[one.word], checked[0]) for one in self.asked)

    def elements(self, evaluate: Evaluate, alpha: float | None, *args: Any) -> Tensor:
        known = args[: -len(self.asked)]
        standing = {
            one.name: value.expand_as(args[0]) if one.by_class else value
            for one, value in zip(self.asked, args[len(known) :], strict=True)
        }
        standing |= self.made(*known)

        def at_once(inputs: Mapping[str, Tensor]) -> Tensor:
            return evaluate({**inputs, **standing})

        return super().elements(at_once, alpha, *known)

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


def standing_of(signature: Signature) -> tuple[Standing, ...]:
    """The inputs of a signature that stand still."""
    return signature.form.standing if isinstance(signature.form, StandingForm) else ()


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


def _checked(one: Standing, value: Any, like: Tensor) -> Tensor:
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
        return _of_columns(value.clamp(min=one.low), like)
    if value.dim() and value.shape != like.shape[:1]:
        raise DataError(
            f"{one.word} must be {one.rule}, {len(like)} of them, got the shape {tuple(value.shape)}"
        )
    return value.expand(like.shape[:1])


def _of_columns(value: Tensor, logits: Tensor) -> Tensor:
    """(C,) one a column; the background's, where only the classes have one, is 1."""
    columns = logits.shape[-1]
    if not value.dim():
        return value.expand(columns)
    if value.dim() == 1 and value.shape[0] == columns:
        return value
    if value.dim() == 1 and value.shape[0] == columns - 1:
        return torch.cat((value, value.new_ones(1)))
    raise DataError(f"frequency has the shape {tuple(value.shape)}, and logits have {columns} columns")


def _shown(read: Sequence[Standing]) -> list[tuple[Standing, float]]:
    """Where a loss is drawn: each input at its values while the others are 1, and where all are 1 once."""
    first, *others = read
    return [(first, at) for at in first.shown] + [(one, at) for one in others for at in one.shown[:-1]]


def _moved(track: Track, asked: Sequence[Standing], one: Standing, value: float) -> Track:
    label = ", ".join(filter(None, (track.label, f"{one.symbol} = {value:g}")))
    place = asked.index(one)
    # Losses that are drawn beside know T alone: where all is 1 the others are left out.
    usual: tuple[Any, ...] = (*[None] * place, torch.tensor(value, dtype=torch.float64))
    args = usual if place == 0 or value < 1 else (None,)
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
