"""What a probe grid is: curves through the inputs of a loss, each walking towards the right answer.

Every property that is verified is a statement about the loss along such a curve: it must not rise. Along a
curve a positive's logit rises, a negative's falls, and a predicted box moves onto its ground truth. So one
judge serves all branches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

Role = Literal["positive", "negative", "other", "background", "motion"]
"""Whose logit moves: the target's own; a class's at a background sample; another class's at a positive; the
background's own column at a background sample. Or a box moves."""


@dataclass(frozen=True)
class Curve:
    """One walk towards the right answer.

    Attributes:
        role: what moves.
        place: the standing inputs in words, for example "y=1, w=0.5".
        iou: w of the sample; where it is below 1 the loss may aim at a probability that rises with w.
        family: curves of one family and role differ by `iou` alone.
        judged: False where only finiteness is asked for.
    """

    role: Role
    place: str
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
        branch: name of the branch.
        inputs: each variable, (K·P,) or, where classes see each other, (K·P, C).
        tangents: derivative of the moving variables along the curves, of the same shapes.
        curves: what each curve is.
        coordinate: (K, P) float64, the number that words name places by: the moving logit, or i/u.
        coordinate_name: "x" or "i/u".
        step: (K, P-1) float64 length of each step along the curve.
        scale_mask: (K, P) bool, where the curve's scale is taken.
        end_mask: (K, P) bool, where the slope must have vanished.
        overlap: (K, P) bool, where the loss must truly fall: boxes overlap.
        slope_mask: (K, P) bool, where the slope counts; at coincidence the areas have a kink, so it has none.
    """

    branch: str
    inputs: Mapping[str, Tensor]
    tangents: Mapping[str, Tensor]
    curves: Sequence[Curve]
    coordinate: Tensor
    coordinate_name: str
    step: Tensor
    scale_mask: Tensor
    end_mask: Tensor
    overlap: Tensor
    slope_mask: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(K, P)."""
        count, points = self.coordinate.shape
        return count, points

    @cached_property
    def mirrors(self) -> tuple[tuple[int, int], ...]:
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

        On the box branch those while the boxes overlap, on the fine grid; at the first touch and at coincidence
        losses may have kinks. Of logits those where the scale is taken: farther out, S-curves that are rounded to
        1 make stairs of logarithms, which harm nothing.
        """
        judged = torch.tensor([c.judged for c in self.curves], device=self.step.device)[:, None]
        if self.branch == "reg":
            counts = self.overlap & self.slope_mask
            return judged & (self.step <= 0.05) & counts[:, 1:] & counts[:, :-1]
        return judged & (self.step <= 0.5) & self.scale_mask[:, 1:] & self.scale_mask[:, :-1]

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
        return ProbeGrid(
            self.branch,
            {name: value.to(device, dtype) for name, value in self.inputs.items()},
            {name: value.to(device, dtype) for name, value in self.tangents.items()},
            self.curves,
            self.coordinate,
            self.coordinate_name,
            self.step.to(device, dtype),
            self.scale_mask.to(device),
            self.end_mask.to(device),
            self.overlap.to(device),
            self.slope_mask.to(device),
        )
