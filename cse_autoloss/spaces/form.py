"""How the losses of a signature meet the world: called, probed, compared, drawn and written as code.

A user's signature gets all of this from its inputs and walks (`walks.py`). The three of object detection state it
themselves (`heads.py`, `boxes.py`), because their inputs are made from what a training step has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from cse_autoloss.spaces.curves import Look, ProbeGrid

Evaluate = Callable[[Mapping[str, Tensor]], Tensor]
Uniform = Callable[..., Tensor]
"""Draws float64 numbers in [0, 1) of the shape given."""


@dataclass(frozen=True)
class Need:
    """Inputs of which a formula must read one, else it is rejected with that code for that reason."""

    names: frozenset[str]
    code: str
    reason: str


@dataclass(frozen=True, eq=False)
class Batch:
    """A fixed batch on which losses are compared by their gradients.

    Attributes:
        args: what a loss is called with.
        moving: which of them gradients are taken by.
        split: elements of the gradient that may have a factor of their own; None where none may.
        alone: the others need not agree at all, as where boxes do not overlap.
    """

    args: tuple[Tensor, ...]
    moving: tuple[int, ...] = (0,)
    split: Tensor | None = None
    alone: bool = False


@dataclass(frozen=True, eq=False)
class Track:
    """Where one line of a picture is taken.

    Attributes:
        x: (K,) its places on the horizontal axis.
        args: what the loss is called with there.
        by: (K,) the parameter that `args` were made from, which requires a gradient.
        rate: (K,) dx/d(by); None for 1.
        label: short; empty for the loss's own name.
        shade: 0 to 1, how strongly the line is drawn.
        beside: whether other losses are drawn there too.
    """

    x: Tensor
    args: tuple[Tensor, ...]
    by: Tensor
    rate: Tensor | None = None
    label: str = ""
    shade: float = 1.0
    beside: bool = True


@dataclass(frozen=True, eq=False)
class View:
    """One panel of a picture: its title, its axes, and the tracks of its lines."""

    title: str
    x_label: str
    slope_label: str
    tracks: tuple[Track, ...]


@dataclass(frozen=True)
class Written:
    """A loss as lines of code, for `Form.forward`.

    Attributes:
        lines: assignments in order, then `result`, the loss's expression.
        read: names of the inputs that are read.
        names: every name in the code.
        constant: whether the result is a Python number.
        alpha: whether the class weighting is applied.
    """

    lines: tuple[str, ...]
    result: str
    read: frozenset[str]
    names: frozenset[str]
    constant: bool
    alpha: bool

    def steps(self, like: str) -> list[str]:
        """The lines, ending in `loss = …`; a constant gets the shape of `like`."""
        result = f"torch.full_like({like}, {self.result})" if self.constant else self.result
        return [*self.lines, f"loss = {result}"]


class Form:
    """What a signature knows besides its inputs and operators.

    Attributes:
        moving: the inputs that gradients go to.
        head: of classification, what stands before the loss: "sigmoid" or "softmax".
        arguments: of losses that read the progress of a training, how many the others are called with.
        weighted: whether α·y + (1 − α)(1 − y) may weight the loss.
        needs: inputs without which no loss can be right.
        title, reading: for people: what such losses are for, and how to read their pictures.
        accepted: the reason of a verdict on a right loss; `{points}` is the number of points that it was looked at,
            `{low}` and `{high}` are the sides of boxes.
        properties: what is verified, in order: a name, and the codes of verdicts that deny it.
        baselines: short name and source of the losses that are drawn beside another.
        fitted: whether they are drawn times a power of ten that brings them to the loss's range.
        noun, summary, unit: for exported code: the kind of loss, its class's first line, the inputs' unit.
        ignores: whether exported code takes `ignore_index`.
    """

    moving: frozenset[str]
    head: ClassVar[Literal["sigmoid", "softmax"] | None] = None
    weighted: ClassVar[bool] = False
    arguments: ClassVar[int] = 0
    needs: tuple[Need, ...] = ()
    title: str
    reading: str
    accepted: str
    properties: tuple[tuple[str, frozenset[str]], ...] = ()
    baselines: tuple[tuple[str, str], ...] = ()
    fitted: ClassVar[bool] = False
    noun: str
    summary: str
    unit: ClassVar[str] = ""
    ignores: ClassVar[bool] = False

    def grid(self, look: Look) -> ProbeGrid:
        """Where losses are probed, float64."""
        raise NotImplementedError

    def class_counts(self, coupled: bool) -> tuple[int, ...]:
        """Numbers of classes that losses are looked at with besides, where their number can matter."""
        return ()

    def marks(self, coupled: bool) -> ProbeGrid:
        """Where fingerprints are taken: points that no filter looks at, each moved in a direction of its own."""
        uniform = mark_uniform()
        inputs = self.sample(MARKS, uniform, torch.float64)
        return self._marks(
            inputs, {name: 2 * uniform(*inputs[name].shape) - 1 for name in sorted(self.moving)}
        )

    def _marks(self, inputs: Mapping[str, Tensor], tangents: Mapping[str, Tensor]) -> ProbeGrid:
        return ProbeGrid.scattered(f"{self.noun} marks", inputs, tangents)

    def check(self, *args: Any, **named: Any) -> tuple[Any, ...]:
        """What a loss is called with, in order and in at least float32; DataError where it does not fit."""
        raise NotImplementedError

    def elements(self, evaluate: Evaluate, alpha: float | None, *args: Any) -> Tensor:
        """The loss before the reduction, from what `check` gives."""
        raise NotImplementedError

    def shaped(self, values: Tensor, *args: Any, **named: Any) -> Tensor:
        """Elements in the shape that a caller expects, from what a loss was called with."""
        return values

    def sample(self, count: int, uniform: Uniform, dtype: torch.dtype) -> dict[str, Tensor]:
        """The inputs at `count` random places of what training can meet, corners among them."""
        raise NotImplementedError

    def batch(self, uniform: Callable[..., Tensor]) -> Batch:
        """Where losses are compared; `uniform(*shape, low, high)` draws."""
        raise NotImplementedError

    def example(self, read: Iterable[str]) -> dict[str, tuple[Tensor, Mapping[int, str]]]:
        """Arguments by name, with the axes that may have any length, for ONNX."""
        raise NotImplementedError

    def views(self, loss: Callable[..., Tensor]) -> tuple[View, ...]:
        """Where a loss of reduction "none" is drawn."""
        raise NotImplementedError

    def scales(self) -> tuple[Track, ...]:
        """One way through the inputs at several scales, the second the usual one; none where scale means nothing."""
        return ()

    def beside(self, loss: Any) -> Sequence[tuple[str, Callable[..., Tensor]]]:
        """Losses that are drawn beside one and stand in no catalogue."""
        return ()

    def forward(self, written: Written) -> list[str]:
        """The method `forward` of the exported class; its docstring says what is called."""
        raise NotImplementedError

    def helpers(self, read: Iterable[str]) -> str:
        """Functions that the exported code needs after the class."""
        return ""


MARKS = 192
"""Places at which a fingerprint is taken."""


def mark_uniform() -> Uniform:
    """The draws that the points of all fingerprints come from: the same for every run."""
    generator = torch.Generator().manual_seed(271_828_182)
    return lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)


def widened(tensor: Tensor) -> Tensor:
    """Half precision to float32: the ε = 1e-20 of Log and Div is 0 in it."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
