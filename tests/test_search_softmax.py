"""Search-Softmax's space: one a ≤ 0, in logit space."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from cse_autoloss.errors import ConfigError
from cse_autoloss.losses.margin import CosFace
from cse_autoloss.losses.parametric import make_space
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.spaces.search_softmax import Parameter, RandomSoftmax, SearchSoftmax
from cse_autoloss.testing.spaces import SpaceConformance


class TestSearchSoftmax(SpaceConformance):
    def make(self) -> ParametricSpace:
        return SearchSoftmax()


class TestRandomSoftmax(SpaceConformance):
    def make(self) -> ParametricSpace:
        return RandomSoftmax()


class TestSearchSoftmaxOfA(SpaceConformance):
    def make(self) -> ParametricSpace:
        return SearchSoftmax(parameter="a")


def _cosines() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.rand(60, 6, generator=generator, dtype=torch.float64) - 1, torch.arange(60) % 6


@pytest.mark.parametrize("a", [-1e-6, -0.5, -3.0, -5e3, -1e9])
@pytest.mark.parametrize("parameter", ["u", "a"])
def test_a_constant_a_is_cosface(a: float, parameter: Parameter) -> None:
    cosine, target = _cosines()
    space = SearchSoftmax(20.0, parameter)
    theta = space.theta_of(a)
    torch.testing.assert_close(space.a(theta), torch.tensor(a, dtype=torch.float64), rtol=1e-6, atol=1e-12)
    expected = CosFace("none", 20.0, math.log1p(-a) / 20.0)(cosine, target)
    torch.testing.assert_close(space.loss(20 * cosine, target, theta), expected, rtol=1e-9, atol=1e-9)


def test_it_is_the_papers_formula() -> None:
    cosine, target = _cosines()
    space = SearchSoftmax(scale=5.0)
    theta = torch.tensor([0.1], dtype=torch.float64)
    a = space.a(theta)
    p = (5 * cosine).softmax(-1).gather(-1, target[:, None])[:, 0]
    torch.testing.assert_close(space.loss(5 * cosine, target, theta), -(p / (a * p + 1 - a)).log())


def test_without_a_margin_it_is_softmax() -> None:
    cosine, target = _cosines()
    value = SearchSoftmax().loss(30 * cosine, target, torch.tensor([-20.0]))
    torch.testing.assert_close(value, cross_entropy(30 * cosine, target, reduction="none"))


def test_a_is_never_above_0_and_always_falls_with_u() -> None:
    u = torch.linspace(-3, 2, 200, dtype=torch.float64)[:, None]
    a = SearchSoftmax().a(u)
    assert float(a.max()) <= 0
    assert bool((a.diff() < 0).all())


def test_of_a_what_is_above_0_counts_as_0() -> None:
    cosine, target = _cosines()
    space = SearchSoftmax(5.0, parameter="a")
    assert (space.parameters, space.start) == (("a",), (-1.0,))
    for a in (0.0, 0.7):
        value = space.loss(5 * cosine, target, torch.tensor([a], dtype=torch.float64))
        torch.testing.assert_close(value, cross_entropy(5 * cosine, target, reduction="none"))
    assert make_space(**space.to_dict()).margin(torch.tensor([-1.0])).item() == pytest.approx(math.log(2))  # type: ignore[attr-defined]
    assert SearchSoftmax().to_dict() == {"name": "search-softmax", "scale": 30.0}


def test_impossible_values() -> None:
    with pytest.raises(ConfigError, match="parameter: expected 'u' or 'a', got 'b'"):
        SearchSoftmax(parameter="b")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="scale: expected a number above 0, got -1"):
        SearchSoftmax(-1)
    with pytest.raises(ConfigError, match="a: expected a number below 0"):
        SearchSoftmax().theta_of(0.0)
