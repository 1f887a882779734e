"""REINFORCE on the distribution of losses: the algorithm itself, on rewards that are known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cse_autoloss.errors import ConfigError, RunError
from cse_autoloss.searches.reinforce import (
    Reinforce,
    ReinforceState,
    best_of,
    log_probability,
    normalise,
    score_gradient,
)
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.spaces.search_softmax import RandomSoftmax, SearchSoftmax


def _climb(search: Reinforce, reward: Callable[[Tensor], Tensor], epochs: int) -> ReinforceState:
    state = search.init()
    for _ in range(epochs):
        state = search.tell(state, reward(search.ask(state)).tolist())
    return state


def test_mu_moves_from_its_default_start_to_a_planted_optimum() -> None:
    search = Reinforce(SearchSoftmax(), samples=16, seed=3)
    state = _climb(search, lambda theta: -((theta[:, 0] - 0.4) ** 2), 60)
    assert state.mu[0] == pytest.approx(0.4, abs=0.1)
    assert state.steps == 60


def test_all_parameters_of_am_lfs_move_to_a_planted_optimum() -> None:
    space = AmLfs(intervals=3)
    goal = torch.tensor(space.start, dtype=torch.float64)
    goal += torch.tensor([0.6, -0.4, 0.5] * 4, dtype=torch.float64)
    search = Reinforce(space, samples=64, seed=1)
    state = _climb(search, lambda theta: -(theta - goal).square().sum(-1), 120)
    error = (torch.tensor(state.mu) - goal).abs()
    assert float(error.max()) < 0.15


def test_the_gradient_is_unbiased() -> None:
    """E[R·∇log g] against ∇E[R] by finite differences of an integral, for a reward with all its moments."""
    sigma, mu = 0.3, torch.tensor([0.2, -0.1], dtype=torch.float64)

    def reward(theta: Tensor) -> Tensor:
        return torch.sin(3 * theta[..., 0]) + theta[..., 0] * theta[..., 1] ** 2

    grid = torch.linspace(-6, 6, 401, dtype=torch.float64)
    offsets = sigma * torch.cartesian_prod(grid, grid)
    weight = torch.exp(-offsets.square().sum(-1) / (2 * sigma**2))
    weight = weight / weight.sum()

    def expected(centre: Tensor) -> float:
        return float((weight * reward(centre + offsets)).sum())

    step = 1e-5
    numeric = [
        (expected(mu + step * unit) - expected(mu - step * unit)) / (2 * step)
        for unit in torch.eye(2, dtype=torch.float64)
    ]
    drawn = mu + sigma * torch.randn(
        400_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    estimate = score_gradient(drawn, reward(drawn), mu, sigma)
    assert estimate.tolist() == pytest.approx(numeric, abs=0.02)


def test_the_log_probability_is_that_of_what_was_drawn() -> None:
    space = SearchSoftmax()
    search = Reinforce(space, samples=5, sigma=0.7)
    drawn = search.ask(search.init())
    mu = torch.tensor(space.start, dtype=torch.float64).requires_grad_()
    expected = torch.distributions.Normal(mu, 0.7).log_prob(drawn).sum(-1)
    torch.testing.assert_close(log_probability(drawn, mu, 0.7), expected)
    rewards = normalise([0.1, 0.5, 0.2, 0.4, 0.3])
    (gradient,) = torch.autograd.grad((rewards * expected).mean(), mu)
    torch.testing.assert_close(score_gradient(drawn, rewards, mu.detach(), 0.7), gradient)
    # AM-LFS's samples are far outside its rule here: what counts is still the draw.
    wide = Reinforce(AmLfs(intervals=2), samples=4, sigma=5.0)
    theta = wide.ask(wide.init())
    assert not torch.equal(AmLfs(intervals=2).settle(theta), theta)
    moved = wide.tell(wide.init(), [1.0, 2.0, 3.0, 5.0])
    start = torch.tensor(wide.start, dtype=torch.float64)
    gradient = score_gradient(theta, normalise([1.0, 2.0, 3.0, 5.0]), start, 5.0)
    torch.testing.assert_close(torch.tensor(moved.first, dtype=torch.float64), 0.1 * gradient)


def test_steps_are_adams() -> None:
    search = Reinforce(AmLfs(intervals=2), samples=6, lr=0.03)
    mu = torch.tensor(search.start, dtype=torch.float64).requires_grad_()
    adam = torch.optim.Adam([mu], lr=0.03, maximize=True)
    state = search.init()
    for epoch in range(5):
        rewards = [math.sin(7 * epoch + i) for i in range(6)]
        mu.grad = score_gradient(search.ask(state), normalise(rewards), mu.detach(), 0.2)
        adam.step()
        state = search.tell(state, rewards)
        assert list(state.mu) == pytest.approx(mu.tolist(), rel=1e-9)


def test_the_same_state_asks_the_same_and_survives_json() -> None:
    search = Reinforce(AmLfs(), samples=4, seed=9)
    state = search.tell(search.init(), [0.1, 0.4, 0.2, 0.3])
    back = ReinforceState.from_dict(json.loads(json.dumps(state.to_dict())))
    assert back == state
    assert torch.equal(search.ask(back), search.ask(state))
    assert not torch.equal(search.ask(state), search.ask(search.init()))
    assert not torch.equal(Reinforce(AmLfs(), samples=4, seed=8).ask(state), search.ask(state))


def test_rewards_have_mean_0_and_variance_1_and_failures_are_last() -> None:
    values = normalise([0.1, 0.9, 0.4, math.nan, 0.3])
    assert float(values.mean()) == pytest.approx(0, abs=1e-12)
    assert float(values.square().mean()) == pytest.approx(1)
    assert values[3] == values[0] == values.min()
    assert best_of([0.1, math.nan, 0.4, math.inf, 0.4]) == 2
    with pytest.raises(RunError, match="all 2 models diverged"):
        normalise([math.nan, -math.inf])


def test_equal_rewards_leave_mu_and_adam_alone() -> None:
    search = Reinforce(SearchSoftmax(), samples=4)
    state = search.tell(search.init(), [0.1, 0.2, 0.3, 0.4])
    after = search.tell(state, [0.7] * 4)
    assert after == ReinforceState(state.epoch + 1, state.mu, state.first, state.second, state.steps)


def test_mu_is_kept_within_the_bounds() -> None:
    state = _climb(Reinforce(SearchSoftmax(), samples=8, lr=0.5), lambda theta: theta[:, 0], 20)
    assert state.mu == (SearchSoftmax.bounds[0][1],)


def test_ablations() -> None:
    still = _climb(Reinforce(SearchSoftmax(), samples=4, update=False), lambda theta: theta[:, 0], 10)
    assert still.mu == SearchSoftmax.start
    assert still.epoch == 10
    space = RandomSoftmax()
    search = Reinforce(space, samples=1000, update=False, draw="uniform")
    drawn = search.ask(search.init())
    low, high = space.bounds[0]
    assert low <= float(drawn.min()) < low + 0.1
    assert high - 0.1 < float(drawn.max()) <= high
    assert search.tell(search.init(), [math.nan] * 999 + [1.0]).mu == space.start


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 1}, "samples: expected a whole number of at least 2, got 1: one reward has no variance"),
        ({"samples": 0, "update": False}, "samples"),
        ({"sigma": 0.0}, "sigma: expected a number above 0, got 0.0"),
        ({"sigma": -1.0}, "sigma"),
        ({"lr": math.nan}, "lr"),
        ({"draw": "uniform"}, "no μ to update"),
        ({"draw": "uniform", "update": False}, "am-lfs has no bounds"),
        ({"draw": "cauchy"}, "draw"),
        ({"start": [1.0]}, "start: expected 24 values, got 1"),
    ],
)
def test_impossible_settings(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Reinforce(AmLfs(), **options)  # type: ignore[arg-type]
