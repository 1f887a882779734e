"""What a probe grid is: curves through the inputs of a loss, each walking towards the right answer.

Every property that is verified is a statement about the loss along such a curve: it must not rise. Along a
curve a positive's logit rises, a negative's falls, a predicted box moves onto its ground truth, or whatever a
user's walk moves. So one judge serves all signatures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

PIXELS = (0.5, 2000.0)
"""Sides of ground-truth boxes that losses are looked at on, unless the settings say otherwise."""


@dataclass(frozen=True)
class Look:
    """Which probe grid is meant.

    Attributes:
        fine: the grid that decides, of some 1,000 points; else the coarse one of 64, for what is plainly wrong.
        coupled: the loss holds a Softmax, so that the classes of a sample see each other.
        classes: number of classes of a grid that shows what their number does; 0 for the usual two or three.
        seed: of the jitter of all points.
        pixels: least and largest side of the ground-truth boxes.
    """

    fine: bool
    coupled: bool = False
    classes: int = 0
    seed: int = 0
    pixels: tuple[float, float] = PIXELS

    def uniform(self, *shape: int, salt: int = 0) -> Tensor:
        """Numbers in [-1, 1) that the seed decides, float64; another `salt` gives others."""
        generator = torch.Generator().manual_seed(1009 * self.seed + 31 * self.classes + salt)
        return 2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1

    def jittered(self, points: Tensor, salt: int = 0) -> Tensor:
        """Rising points (n,) moved by up to JITTER of the way to the nearer neighbour; both ends stay."""
        gaps = points.diff()
        room = torch.minimum(gaps[1:], gaps[:-1]) * JITTER
        inner = points[1:-1] + room * self.uniform(len(room), salt=salt)
        return torch.cat((points[:1], inner, points[-1:]))

    def nearing(self, points: Tensor) -> Tensor:
        """Rising points (n,) and, of a fine look, some nearer to the last: what is least beside the end shows there."""
        if not self.fine:
            return points
        near = points[-1] - points.diff()[-1] * torch.tensor(NEAR, dtype=points.dtype)
        return torch.cat((points[:-1], near, points[-1:]))

    def far(self, points: Tensor) -> Tensor:
        """Of what `nearing` gave, the points where a loss must still fall; nearer, any smooth one comes to rest."""
        kept = torch.ones(len(points), dtype=torch.bool)
        if self.fine:
            kept[-1 - len(NEAR) : -1] = False
        return kept


NEAR = (0.3, 0.1, 0.03, 0.01, 0.003)
"""Places before a curve's end, as shares of its last step: boxes come to an IoU of some 0.9998."""

JITTER = 0.4
"""Neighbouring points keep a fifth of their distance."""

Role = Literal["positive", "negative", "other", "background", "motion", "walk"]
"""Whose logit moves: the target's own; a class's at a background sample; another class's at a positive; the
background's own column at a background sample. Or a box moves, or the inputs of a user's walk."""


@dataclass(frozen=True)
class Words:
    """How verdicts speak of what a loss does wrong along a curve.

    Attributes:
        rises: code and words of a loss that goes the wrong way.
        everywhere: added where it does so all along; `{figure}` is the share of all steps.
        amount: added where it does so somewhere; `{figure}` is by how much.
        rests: code and words of a loss that never moves along the curve.
        flat: code and words of a loss that is level where it must fall.
        constant: what is wrong with a loss that is constant on all curves.
        end: what stands at the curve's end.
        on: which curve it is, where that is no matter of course.
    """

    rises: tuple[str, str]
    everywhere: str = ", at every point looked at"
    amount: str = ", by {figure:.2g} of its largest slope"
    rests: tuple[str, str] = ("", "")
    flat: tuple[str, str] = ("", "")
    constant: str = "its gradient is 0 at every point looked at"
    end: str = ""
    on: str = ""


@dataclass(frozen=True)
class Curve:
    """One walk towards the right answer.

    Attributes:
        role: what moves.
        place: the standing inputs in words, for example "y=1, w=0.5".
        words: how verdicts speak of it.
        iou: w of the sample; where it is below 1 the loss may aim at a probability that rises with w.
        family: curves of one family and role differ by `iou` alone.
        judged: False where only finiteness is asked for.
    """

    role: Role
    place: str
    words: Words
    iou: float = 1.0
    family: str = ""
    judged: bool = True

    @property
    def may_aim(self) -> bool:
        """Whether one minimum inside the curve is allowed."""
        return self.iou < 1.0


@dataclass(frozen=True)
class ProbeGrid:
    """K curves of P points; row k·P + p of the inputs is point p of curve k.

    Attributes:
        name: of the kind of grid; fingerprints on grids of different names differ.
        measure: what a slope is measured by: the largest "slope" of its curve, or the curve's whole "fall".
        inputs: each variable, (K·P,) or, where classes see each other, (K·P, C).
        tangents: derivative of the moving variables along the curves, of the same shapes.
        curves: what each curve is.
        coordinate: (K, P) float64, the number that words name places by: the moving logit, or i/u.
        coordinate_name: "x", "i/u" or an input's.
        step: (K, P-1) float64 length of each step along the curve.
        scale_mask: (K, P) bool, where the curve's scale is taken; of boxes, where they overlap.
        end_mask: (K, P) bool, where the slope must have vanished.
        falls: (K, P) bool, where the loss must truly fall: boxes overlap.
        slope_mask: (K, P) bool, where the slope counts; at a curve's end a loss may have a kink, so it has none.
        longest: steps up to this length are so short that the slopes at their ends must show in the values.
        mirrored: pairs of curves on which the loss must be the same.
    """

    name: str
    measure: Literal["slope", "fall"]
    inputs: Mapping[str, Tensor]
    tangents: Mapping[str, Tensor]
    curves: Sequence[Curve]
    coordinate: Tensor
    coordinate_name: str
    step: Tensor
    scale_mask: Tensor
    end_mask: Tensor
    falls: Tensor
    slope_mask: Tensor
    longest: float
    mirrored: tuple[tuple[int, int], ...] = ()

    @classmethod
    def scattered(cls, name: str, inputs: Mapping[str, Tensor], tangents: Mapping[str, Tensor]) -> ProbeGrid:
        """Points without curves, at which slopes are read and nothing is judged."""
        count = len(next(iter(inputs.values())))
        at = torch.zeros(count, 1, dtype=torch.float64)
        none = torch.zeros(count, 1, dtype=torch.bool)
        curves = (Curve("walk", "", Words(("", "")), judged=False),) * count
        return cls(name, "slope", inputs, tangents, curves, at, "", at[:, 1:], none, none, none, none, 0.0)

    @property
    def shape(self) -> tuple[int, int]:
        """(K, P)."""
        count, points = self.coordinate.shape
        return count, points

    @cached_property
    def opposites(self) -> tuple[tuple[int, int], ...]:
        """Pairs of a positive's and a background sample's curve that differ by the target alone."""
        by_key = {(c.role, c.family): k for k, c in enumerate(self.curves) if c.judged and c.iou == 1.0}
        return tuple(
            (k, by_key["negative", family])
            for (role, family), k in by_key.items()
            if role == "positive" and ("negative", family) in by_key
        )

    @cached_property
    def resolving(self) -> Tensor:
        """(K, P-1) bool: steps so short that the slopes at their ends must show in the values between them.

        Of boxes those while they overlap; at the first touch and at coincidence losses may have kinks. Of logits
        those where the scale is taken: farther out, S-curves that are rounded to 1 make stairs of logarithms,
        which harm nothing.
        """
        judged = torch.tensor([c.judged for c in self.curves], device=self.step.device)[:, None]
        counts = self.scale_mask & self.slope_mask
        return judged & (self.step <= self.longest) & counts[:, 1:] & counts[:, :-1]

    @cached_property
    def families(self) -> tuple[tuple[int, ...], ...]:
        """Curves of positives with w below 1, by rising w, one tuple a family."""
        groups: dict[str, list[int]] = {}
        for k, curve in enumerate(self.curves):
            if curve.judged and curve.may_aim and curve.role == "positive":
                groups.setdefault(curve.family, []).append(k)
        return tuple(
            tuple(sorted(g, key=lambda k: self.curves[k].iou)) for g in groups.values() if len(g) > 1
        )

    def to(self, dtype: torch.dtype, device: str | torch.device = "cpu") -> ProbeGrid:
        """The same grid with its inputs, tangents and steps in another dtype and place."""
        moved: dict[str, object] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in ("inputs", "tangents"):
                value = {name: tensor.to(device, dtype) for name, tensor in value.items()}
            elif one.name == "step":
                value = value.to(device, dtype)
            elif one.name in ("scale_mask", "end_mask", "falls", "slope_mask"):
                value = value.to(device)
            moved[one.name] = value
        return ProbeGrid(**moved)  # type: ignore[arg-type]
