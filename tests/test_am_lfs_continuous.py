"""AM-LFS with curves that do not jump."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from cse_autoloss.report.approximation import errors, plot_approximation
from cse_autoloss.spaces.am_lfs import AmLfs, Form
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.testing.spaces import SpaceConformance


class TestContinuous(SpaceConformance):
    def make(self) -> ParametricSpace:
        return AmLfs(5, continuous=True)


class TestContinuousUnbounded(SpaceConformance):
    silent = frozenset({"b_tau"})

    def make(self) -> ParametricSpace:
        return AmLfs(4, form="unbounded", continuous=True)


@pytest.mark.parametrize("form", ["bounded", "unbounded"])
@pytest.mark.parametrize("intervals", [1, 3, 4])
def test_neither_curve_jumps_and_the_start_is_softmax(form: Form, intervals: int) -> None:
    space = AmLfs(intervals, 10.0, form, continuous=True)
    assert len(space.parameters) == 2 * intervals + 2
    generator = torch.Generator().manual_seed(0)
    theta = torch.tensor(space.start, dtype=torch.float64)
    logits, target = 5 * torch.randn(50, 4, generator=generator, dtype=torch.float64), torch.arange(50) % 4
    expected = cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(space.loss(logits, target, theta), expected)
    theta = theta + 0.5 * torch.rand(len(theta), generator=generator, dtype=torch.float64)
    x = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    assert space.t(x, theta).diff().abs().max() < 3e-4
    assert space.t(torch.zeros(1, dtype=torch.float64), theta).item() == pytest.approx(
        theta[intervals].item()
    )
    p = torch.linspace(1e-4, 1, 20_001, dtype=torch.float64)
    assert space.tau(p, theta).diff().abs().max() < 1e-3
    if form == "bounded":
        assert space.tau(torch.zeros(1, dtype=torch.float64), theta).item() == pytest.approx(theta[-1].item())


def test_it_approximates_given_curves() -> None:
    space = AmLfs(40, 10.0, continuous=True)
    theta = space.approximate(t=lambda c: c**3 + c - 0.3, tau=lambda p: 0.2 + 0.8 * p**2)
    x = torch.linspace(-1, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(space.t(x, theta), x**3 + x - 0.3, rtol=0, atol=5e-3)
    p = torch.linspace(0.2, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(space.tau(p, theta), 0.2 + 0.8 * p**2, rtol=0, atol=5e-2)


def test_the_picture_of_known_losses_tells_how_far_off_it_is(tmp_path: Path) -> None:
    coarse, fine = (errors(AmLfs(number, least_slope=1e-6)) for number in (6, 96))
    assert coarse["CosFace"] < 1e-9
    assert all(fine[name] < coarse[name] / 3 for name in coarse if name != "CosFace")
    plot_approximation(AmLfs(6), tmp_path / "approximation.png")
    assert (tmp_path / "approximation.png").read_bytes().startswith(b"\x89PNG")
