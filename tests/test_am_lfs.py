"""AM-LFS's space and the fused softmax under it."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from cse_autoloss.errors import ConfigError, DataError, UnknownNameError
from cse_autoloss.losses.margin import ArcFace, CosFace, LSoftmax, MarginSoftmax
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.spaces.target_logit import log_softmax_of_target, target_logits
from cse_autoloss.testing.spaces import SpaceConformance


class TestBounded(SpaceConformance):
    def make(self) -> ParametricSpace:
        return AmLfs()


class TestPlainLogits(SpaceConformance):
    def make(self) -> ParametricSpace:
        return AmLfs(intervals=3, scale=10.0)


class TestUnbounded(SpaceConformance):
    silent = frozenset(f"b_tau[{i}]" for i in range(4))

    def make(self) -> ParametricSpace:
        return AmLfs(intervals=4, form="unbounded")


def _batch(rows: int = 50, columns: int = 7, size: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    cosine = 2 * torch.rand(rows, columns, generator=generator, dtype=torch.float64) - 1
    return size * cosine, torch.randint(columns, (rows,), generator=generator)


@pytest.mark.parametrize("form", ["bounded", "unbounded"])
@pytest.mark.parametrize("size", [0.1, 30.0, 300.0])
def test_the_identity_is_softmax_cross_entropy(form: str, size: float) -> None:
    space = AmLfs(form=form)  # type: ignore[arg-type]
    logits, target = _batch(size=size)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        x, y = (logits.to(dtype, copy=True).requires_grad_() for _ in range(2))
        value = space.loss(x, target, torch.tensor(space.start))
        expected = cross_entropy(y, target, reduction="none")
        torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)
        value.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(x.grad, y.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("margin", "curve"),
    [
        (CosFace("none", 30.0), lambda x: x - 0.35),
        (ArcFace("none", 30.0), lambda x: ArcFace("none").margin(x)),
        (LSoftmax("none", 30.0), lambda x: LSoftmax("none").margin(x)),
    ],
)
def test_fine_pieces_approach_margin_losses(margin: MarginSoftmax, curve: Callable[[Tensor], Tensor]) -> None:
    cosine, target = _batch(rows=400)
    exact = margin(cosine, target)
    errors = []
    for intervals in (3, 12, 48, 192):
        space = AmLfs(intervals, least_slope=0.01)
        errors.append(
            float((space.loss(30 * cosine, target, space.approximate(t=curve)) - exact).abs().mean())
        )
    if isinstance(margin, CosFace):  # a straight line already
        assert max(errors) < 1e-12
    else:
        assert all(later < earlier / 3 for earlier, later in pairwise(errors)), errors


def test_fine_pieces_approach_focal_loss() -> None:
    logits, target = _batch(rows=400, size=4.0)
    logs = log_softmax(logits, -1).gather(-1, target[:, None])[:, 0]
    exact = -((1 - logs.exp()) ** 2) * logs
    errors = []
    for intervals in (3, 12, 48, 192):
        space = AmLfs(intervals, least_slope=1e-6)
        theta = space.approximate(tau=lambda p: p ** ((1 - p) ** 2))
        errors.append(float((space.loss(logits, target, theta) - exact).abs().mean()))
    assert all(later < earlier / 1.5 for earlier, later in pairwise(errors)), errors


def test_the_rule_keeps_slopes_and_tau_positive() -> None:
    space = AmLfs(intervals=5, least_slope=0.1)
    theta = space.settle(3 * torch.randn(2000, 20, generator=torch.Generator().manual_seed(0)).double())
    slope_t, _, slope_tau, _ = theta.split(5, -1)
    assert float(slope_t.min()) >= 0.1
    assert float(slope_tau.min()) >= 0.1
    p = torch.logspace(-8, 0, 200, dtype=torch.float64)
    tau = torch.stack([space.tau(p, row) for row in theta])
    assert bool((tau >= 0.1 * p * (1 - 1e-9)).all())
    assert torch.equal(space.settle(torch.tensor(space.start)), torch.tensor(space.start))


def test_the_stated_formula_holds() -> None:
    space = AmLfs(intervals=4, scale=16.0)
    theta = torch.tensor(space.start).double() + 0.2 * torch.randn(
        16, generator=torch.Generator().manual_seed(4), dtype=torch.float64
    )
    cosine, target = _batch()
    column = target[:, None]
    logits = (16 * cosine).scatter(-1, column, 16 * space.t(cosine.gather(-1, column), theta))
    expected = -space.tau(logits.softmax(-1).gather(-1, column)[:, 0], theta).log()
    torch.testing.assert_close(space.loss(16 * cosine, target, theta), expected)


def test_the_fused_softmax_is_exact_where_the_target_is_certain() -> None:
    """A margin of 22 nats on a target that is 30 ahead: the plain probability is 1 to float32, the loss is
    not 0."""
    logits = torch.tensor([[30.0, 0.0, 0.0]], requires_grad=True)
    target = torch.tensor([0])
    own = target_logits(logits, target) - 28.0
    value = log_softmax_of_target(logits, target, own, torch.ones(1))
    assert value.item() == pytest.approx(-math.log1p(2 * math.exp(-2.0)), rel=1e-5)
    (slope,) = torch.autograd.grad(value.sum(), logits)
    assert slope[0, 1].item() == pytest.approx(-1 / (math.exp(2) + 2), rel=1e-5)
    assert slope.sum().abs().item() < 1e-6


def test_theta_has_a_gradient_too() -> None:
    space = AmLfs(intervals=3, scale=5.0)
    logits, target = _batch(size=5.0)
    theta = torch.tensor(space.start, dtype=torch.float64) + 0.05
    assert torch.autograd.gradcheck(
        lambda value: space.loss(logits, target, value).sum(), theta.requires_grad_(), raise_exception=True
    )


def test_half_precision_is_computed_in_float32() -> None:
    space = AmLfs()
    logits, target = _batch(size=30.0)
    value = space.loss(logits.bfloat16(), target, torch.tensor(space.start))
    assert value.dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"intervals": 0}, "intervals: expected a whole number of at least 1, got 0"),
        ({"intervals": 2.5}, "intervals"),
        ({"scale": 0}, "scale"),
        ({"scale": math.nan}, "scale"),
        ({"least_slope": 0}, "least_slope"),
    ],
)
def test_impossible_settings(options: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        AmLfs(**options)  # type: ignore[arg-type]


def test_an_unknown_form_and_a_wrong_theta() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'bounded'"):
        AmLfs(form="bound")  # type: ignore[arg-type]
    logits, target = _batch()
    with pytest.raises(ConfigError, match="expected 24 values, got 3"):
        AmLfs().loss(logits, target, torch.zeros(3))


def test_a_second_derivative_is_refused_not_wrong() -> None:
    logits, target = _batch()
    logits.requires_grad_()
    value = AmLfs().loss(logits, target, torch.tensor(AmLfs().start)).sum()
    (slope,) = torch.autograd.grad(value, logits, create_graph=True)
    with pytest.raises(DataError, match="differentiated once"):
        torch.autograd.grad(slope.sum(), logits)
