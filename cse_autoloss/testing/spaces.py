"""Tests for parametric loss spaces: a space of your own gets them by subclassing, in a pytest file.

class TestMine(SpaceConformance):
    def make(self):
        return MySpace()
"""

from __future__ import annotations

import json
import math
from typing import ClassVar

import torch
from torch import Tensor

from cse_autoloss.spaces.parametric import ParametricSpace


class SpaceConformance:
    """What every space must do; a subclass says how to make one.

    Attributes:
        silent: parameters that move the value of the loss at most, and so no gradient.
        spread: standard deviation of the θs that are tried around the start.
        range: largest logit that is tried.
        whole: whether a batch is one whole: then a positive's own logit may do another one harm.
    """

    silent: ClassVar[frozenset[str]] = frozenset()
    spread: ClassVar[float] = 0.2
    range: ClassVar[float] = 60.0
    whole: ClassVar[bool] = False

    def make(self) -> ParametricSpace:
        """The space."""
        raise NotImplementedError

    def samples(self, space: ParametricSpace, count: int) -> Tensor:
        """θs around the start, (count, K)."""
        start = torch.tensor(space.start)
        noise = torch.randn(count, len(start), generator=torch.Generator().manual_seed(1))
        return start + self.spread * noise

    def values(self, space: ParametricSpace, logits: Tensor, target: Tensor, theta: Tensor) -> Tensor:
        """One value for each sample, (N,)."""
        return space.loss(logits, target, theta)

    def batch(self, rows: int = 64, columns: int = 5, models: int = 1) -> tuple[Tensor, Tensor]:
        """Logits (models, rows, columns) from tiny to large, and targets (rows,)."""
        generator = torch.Generator().manual_seed(2)
        size = torch.linspace(0.01, 1, rows)[:, None] * self.range
        logits = size * (2 * torch.rand(models, rows, columns, generator=generator) - 1)
        return logits, torch.randint(columns, (rows,), generator=generator)

    def test_it_declares_its_parameters(self) -> None:
        space = self.make()
        assert isinstance(space, ParametricSpace)
        assert space.name == space.name.lower().replace(" ", "-")
        assert len(set(space.parameters)) == len(space.parameters) == len(space.bounds) == len(space.start)
        for name, (low, high), start in zip(space.parameters, space.bounds, space.start, strict=True):
            assert low < high, name
            assert low <= start <= high, name
            assert math.isfinite(start), name
        assert json.loads(json.dumps(space.to_dict()))["name"] == space.name

    def test_settling_twice_is_settling_once(self) -> None:
        space = self.make()
        theta = 5 * self.samples(space, 100)
        settled = space.settle(theta)
        assert settled.shape == theta.shape
        torch.testing.assert_close(space.settle(settled), settled)
        logits, target = self.batch()
        for raw, kept in zip(theta[:10], settled[:10], strict=True):
            torch.testing.assert_close(
                *(self.values(space, logits[0], target, one) for one in (raw, kept)), rtol=1e-4, atol=1e-4
            )

    def test_values_and_slopes_are_finite_and_the_slopes_have_the_right_sign(self) -> None:
        space = self.make()
        for dtype in (torch.float32, torch.float64):
            logits, target = self.batch(rows=200)
            for theta in (torch.tensor(space.start), *self.samples(space, 20)):
                x = logits[0].to(dtype).requires_grad_()
                before = x.detach().clone()
                values = self.values(space, x, target, theta)
                assert values.shape == target.shape
                assert values.dtype == dtype
                assert bool(values.isfinite().all())
                (slope,) = torch.autograd.grad(values.sum(), x)
                assert bool(slope.isfinite().all())
                own = torch.nn.functional.one_hot(target, x.shape[1] + 1)[:, :-1].bool()
                slack = 1e-5 * slope.abs().max()
                assert self.whole or bool((slope[own] <= slack).all()), (
                    "the loss rises with the target's logit"
                )
                assert bool((slope[~own] >= -slack).all()), "the loss falls with another's logit"
                assert torch.equal(x.detach(), before), "the logits were changed in place"

    def test_the_gradient_is_that_of_the_values(self) -> None:
        space = self.make()
        logits, target = self.batch(rows=40)
        x = (logits[0].double() / self.range).requires_grad_()
        theta = self.samples(space, 1)[0].double()
        (slope,) = torch.autograd.grad(self.values(space, x, target, theta).sum(), x)
        step = 1e-6
        with torch.no_grad():
            for column in range(x.shape[1]):
                move = torch.zeros_like(x)
                move[:, column] = step
                up, down = (self.values(space, x + way, target, theta) for way in (move, -move))
                numeric, told = (up - down) / (2 * step), slope[:, column]
                if self.whole:
                    numeric, told = numeric.sum(), told.sum()
                # A jump inside the step would give a huge quotient; there are no more than a few rows on one.
                wrong = (numeric - told).abs() > 1e-5 * (1 + told.abs())
                assert int(wrong.sum()) <= (not self.whole)

    def test_every_parameter_matters_near_the_start(self) -> None:
        space = self.make()
        logits, target = self.batch(rows=400)
        extra = logits[0] / 20
        x = torch.cat((logits[0], extra)).double().requires_grad_()
        targets = torch.cat((target, target))
        # Not at the start itself: there a parameter may matter only together with another.
        start = torch.tensor(space.start, dtype=torch.float64) + self.spread / 2

        def slope(theta: Tensor) -> Tensor:
            return torch.autograd.grad(self.values(space, x, targets, theta).sum(), x)[0]

        reference = slope(start)
        for index, name in enumerate(space.parameters):
            moved = start.clone()
            moved[index] += self.spread
            changed = not torch.equal(slope(moved), reference)
            assert changed != (name in self.silent), f"{name}: changed={changed}"

    def test_models_side_by_side_are_as_one_after_another(self) -> None:
        space = self.make()
        logits, target = self.batch(models=4)
        theta = self.samples(space, 4)
        x = logits.requires_grad_()
        together = torch.func.vmap(space.loss, in_dims=(0, None, 0))(x, target, theta)
        (grad_together,) = torch.autograd.grad(together.mean(1).sum(), x)
        for model in range(4):
            own = logits[model].detach().requires_grad_()
            alone = space.loss(own, target, theta[model])
            torch.testing.assert_close(together[model], alone)
            (grad,) = torch.autograd.grad(alone.mean(), own)
            torch.testing.assert_close(grad_together[model], grad)


class WholeSpaceConformance(SpaceConformance):
    """The same for a space of sigmoid heads, whose losses see a batch as one ranking."""

    range: ClassVar[float] = 12.0
    whole: ClassVar[bool] = True

    def values(self, space: ParametricSpace, logits: Tensor, target: Tensor, theta: Tensor) -> Tensor:
        """With IoUs that are the same for the same number of samples."""
        iou = torch.linspace(0, 1, len(target), dtype=logits.dtype)
        return space.loss(logits, target, theta, iou)  # type: ignore[call-arg]

    def batch(self, rows: int = 64, columns: int = 5, models: int = 1) -> tuple[Tensor, Tensor]:
        """A third of the samples are background."""
        logits, target = super().batch(rows, columns, models)
        return logits, torch.where(torch.arange(rows) % 3 == 0, columns, target)

    def test_models_side_by_side_are_as_one_after_another(self) -> None:
        """Nobody trains them so."""

    def test_the_order_of_samples_is_no_matter_and_background_has_no_value(self) -> None:
        space = self.make()
        logits, target = self.batch()
        iou, order = torch.linspace(0, 1, len(target)), torch.randperm(len(target))
        theta = torch.tensor(space.start)
        values = space.loss(logits[0], target, theta, iou)  # type: ignore[call-arg]
        again = space.loss(logits[0][order], target[order], theta, iou[order])  # type: ignore[call-arg]
        torch.testing.assert_close(again, values[order])
        assert not bool(values[target == logits.shape[-1]].any())
