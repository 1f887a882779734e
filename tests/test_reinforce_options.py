"""What REINFORCE may be told beyond the papers, and the papers to the letter; on planted optima."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cse_autoloss.bench.session import Session
from cse_autoloss.discovery.stacks import name_of
from cse_autoloss.errors import ConfigError
from cse_autoloss.searches.parametric import space_of
from cse_autoloss.searches.reinforce.candidates import policy_of
from cse_autoloss.searches.reinforce.policy import log_probability, normalise, ranked, score_gradient
from cse_autoloss.searches.reinforce.reuse import CLIP, clipped_weights
from cse_autoloss.searches.reinforce.search import Reinforce, ReinforceState
from cse_autoloss.searches.reinforce.spread import LIMITS, spread_gradient
from cse_autoloss.settings.load import load_config
from cse_autoloss.settings.schema import SearchConfig
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.spaces.search_softmax import SearchSoftmax
from cse_autoloss.tasks.registry import section_of


def policy(options: dict[str, Any]) -> Reinforce:
    config = load_config("classification", options, section_of)
    return policy_of(config, space_of(config), 0, side_by_side=True)


def moved(search: Reinforce, best: torch.Tensor, epochs: int = 120, noise: float = 0.0) -> float:
    """How far μ ends from a planted optimum, as a part of how far it began."""
    state = search.init()
    start = torch.linalg.vector_norm(torch.tensor(state.mu) - best)
    for _ in range(epochs):
        drawn = search.ask(state)
        source = torch.Generator().manual_seed(state.epoch)
        rewards = -(drawn - best).square().sum(1) + noise * torch.randn(len(drawn), generator=source)
        state = search.tell(state, rewards.tolist())
    return float(torch.linalg.vector_norm(torch.tensor(state.mu) - best) / start)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decay": 0.995},
        {"antithetic": True},
        {"ranks": True},
        {"antithetic": True, "ranks": True, "decay": 0.995},
        {"baseline": "moving"},
        {"sigma_lr": 0.02},
        {"reuse": 4, "lr": 0.02},
    ],
)
def test_the_mean_moves_to_a_planted_optimum(options: dict[str, Any]) -> None:
    """Twelve numbers, the optimum two away, rewards as noisy as one draw's own spread makes them differ."""
    space = AmLfs(3, continuous=False)
    best = torch.tensor(space.start) + 2 / math.sqrt(12)
    assert moved(Reinforce(space, samples=16, **{"lr": 0.05, **options}), best, noise=0.3) < 0.35


def test_without_a_signal_it_goes_nowhere_but_at_random() -> None:
    space = AmLfs(3)
    best = torch.tensor(space.start) + 2 / math.sqrt(12)
    assert moved(Reinforce(space, samples=16, lr=0.05, seed=1), best, noise=1e6) > 0.6


def test_antithetic_draws_are_pairs_and_sigma_falls() -> None:
    search = Reinforce(SearchSoftmax(), samples=5, sigma=0.4, decay=0.5, antithetic=True)
    state = search.init()
    offsets = search.ask(state) - torch.tensor(state.mu)
    torch.testing.assert_close(offsets[:2], -offsets[2:4])
    later = search.tell(search.tell(state, [0.0] * 5), [0.0] * 5)
    plain = Reinforce(SearchSoftmax(), samples=5, sigma=0.1, antithetic=True)
    torch.testing.assert_close(search.ask(later), plain.ask(later))


def test_the_gradient_of_log_sigma_is_unbiased() -> None:
    """E[|θ − m|²] = |μ − m|² + K·σ², so its derivative by log σ is 2·K·σ²."""
    mu, goal, sigma = torch.tensor([0.3, -0.2, 0.1]), torch.tensor([0.1, 0.4, 0.0]), 0.3
    noise = torch.randn(400_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = mu + sigma * noise
    found = spread_gradient(drawn, (drawn - goal).square().sum(-1), mu, sigma)
    assert float(found) == pytest.approx(2 * 3 * sigma**2, rel=0.03)


def test_sigma_falls_at_an_optimum_rises_far_from_it_and_keeps_within_its_limits() -> None:
    space = AmLfs(3)
    start = torch.tensor(space.start, dtype=torch.float64)

    def learnt(reward: Any, **options: Any) -> float:
        search = Reinforce(space, samples=64, **options)
        state = search.init()
        for _ in range(40):
            state = search.tell(state, reward(search.ask(state)).tolist())
        return search.sigma_at(state) / search.sigma

    def near(drawn: torch.Tensor) -> torch.Tensor:
        return -(drawn - start).square().sum(-1)

    assert learnt(near) == 1.0
    assert learnt(near, sigma_lr=0.02) < 0.7
    assert learnt(near, sigma_lr=1.0) == pytest.approx(LIMITS[0])
    assert learnt(lambda drawn: -near(drawn), sigma_lr=1.0, lr=1e-6) == pytest.approx(LIMITS[1])


def test_reuse_takes_the_gradient_of_the_clipped_objective() -> None:
    """Schulman's surrogate, differentiated by autograd, against the weights."""
    source = torch.Generator().manual_seed(1)
    old, new = torch.zeros(4, dtype=torch.float64), torch.full((4,), 0.06, dtype=torch.float64)
    drawn = 0.3 * torch.randn(200, 4, generator=source, dtype=torch.float64)
    advantages = torch.randn(200, generator=source, dtype=torch.float64)
    moving = new.clone().requires_grad_()
    ratio = (log_probability(drawn, moving, 0.25) - log_probability(drawn, old, 0.3)).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages).mean()
    (expected,) = torch.autograd.grad(surrogate, moving)
    weights = clipped_weights(drawn, advantages, (old, 0.3), (new, 0.25))
    torch.testing.assert_close(score_gradient(drawn, advantages * weights, new, 0.25), expected)
    assert 0 < int((weights == 0).sum()) < 200
    torch.testing.assert_close(
        clipped_weights(drawn, advantages, (old, 0.3), (old, 0.3)), torch.ones(200, dtype=torch.float64)
    )


def test_reuse_goes_further_and_no_further_than_the_clip() -> None:
    space = AmLfs(3)
    away = [
        math.dist(search.tell(search.init(), [float(i) for i in range(16)]).mu, space.start)
        for search in (Reinforce(space, samples=16, lr=0.01, reuse=reuse) for reuse in (0, 1, 100))
    ]
    assert away[0] < away[1] < away[2] < 101 * away[0] / 2


def test_the_baselines_of_a_reward() -> None:
    rewards = [1.0, 2.0, math.nan, 5.0]
    own = normalise(rewards)
    assert float(own.mean()) == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(
        normalise(rewards, 0.0) - own, (own[1] - own[0]) * torch.full((4,), 2.25).to(own)
    )
    # The mean of the others is the mean but for B/(B − 1), which Adam does not see.
    values = torch.tensor([0.1, 0.5, 0.4, 0.9], dtype=torch.float64)
    others = values - (values.sum() - values) / 3
    torch.testing.assert_close(others, (values - values.mean()) * 4 / 3)


def test_the_moving_baseline_is_that_of_earlier_epochs() -> None:
    search = Reinforce(AmLfs(3), samples=4, baseline="moving")
    first = search.tell(search.init(), [0.0, 1.0, 2.0, 3.0])
    assert first.baseline == 1.5
    assert first.mu == Reinforce(AmLfs(3), samples=4).tell(search.init(), [0.0, 1.0, 2.0, 3.0]).mu
    second = search.tell(first, [2.0, 3.0, 4.0, 5.0])
    assert second.baseline == pytest.approx(0.9 * 1.5 + 0.1 * 3.5)
    assert second.mu != Reinforce(AmLfs(3), samples=4).tell(first, [2.0, 3.0, 4.0, 5.0]).mu
    assert ReinforceState.from_dict(json.loads(json.dumps(second.to_dict()))) == second


def test_a_state_of_an_earlier_version_is_read() -> None:
    state = Reinforce(AmLfs(3)).init()
    kept = {name: value for name, value in state.to_dict().items() if name not in ("spread", "baseline")}
    assert ReinforceState.from_dict(kept) == state


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sigma_lr": -0.1}, "sigma_lr: expected a number of at least 0, got -0.1"),
        ({"reuse": -1}, "reuse: expected a whole number of at least 0, got -1"),
        ({"baseline": "median"}, "baseline: expected 'mean', 'moving' or 'none', got 'median'"),
    ],
)
def test_options_that_can_not_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        Reinforce(AmLfs(3), **options)


def test_settings_reach_the_policy() -> None:
    found = policy({"reinforce.reward_baseline": "none", "reinforce.sigma_lr": 0.03, "reinforce.reuse": 2})
    assert (found.baseline, found.sigma_lr, found.reuse) == ("none", 0.03, 2)


def test_ranks() -> None:
    found = ranked([3.0, math.nan, -1.0, 3.0, 100.0])
    assert found[0] == found[3] == 1.5
    assert (found[2], found[4]) == (0.0, 3.0)
    assert math.isnan(found[1])


def configured(name: str, **options: Any) -> SearchConfig:
    return load_config(name, {key.replace("__", "."): value for key, value in options.items()}, section_of)


def test_the_papers_to_the_letter() -> None:
    ours, papers = (
        policy({"reinforce.space": "search-softmax", "reinforce.paper": paper}) for paper in (False, True)
    )
    # Search-Softmax's a ~ N(mu, sigma^2), sigma = 0.2, from a = -1; AM-LFS's N(mu, sigma I).
    assert (ours.sigma, papers.sigma) == (0.2, 0.2)
    assert ours.start == SearchSoftmax().start
    assert (papers.space.parameters, papers.start) == (("a",), (-1.0,))
    drawn = torch.cat([papers.ask(replace(papers.init(), epoch=epoch)) for epoch in range(60)])
    assert float(drawn.std()) == pytest.approx(0.2, rel=0.05)
    assert isinstance(papers.space, SearchSoftmax)
    assert papers.space.margin(torch.tensor(papers.start)).item() == pytest.approx(math.log(2))
    letter = policy({"reinforce.paper": True})
    assert (letter.start, letter.sigma) == (AmLfs().start, math.sqrt(0.2))


def test_the_papers_search_of_a_moves_to_a_planted_optimum() -> None:
    space = SearchSoftmax(parameter="a")
    assert moved(Reinforce(space, samples=16), torch.tensor([-3.0]), noise=0.3) < 0.35


def test_paper_takes_the_place_of_what_a_packaged_configuration_says() -> None:
    found = configured("faces", reinforce__paper=True)
    assert (found.reinforce.samples, found.metric) == (32, None)
    assert Session(found).metric.name == "rank1"
    told = configured("faces", reinforce__paper=True, metric="tpr_at_far")
    assert Session(told).metric.name == "tpr_at_far"
    assert configured("faces").reinforce.samples == 8
    assert configured("faces").metric == "tpr_at_far"
    # The paper's B is not known to us.
    assert (
        configured("faces", reinforce__paper=True, reinforce__space="search-softmax").reinforce.samples == 8
    )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("samples", 8, "32, got 8"),
        ("continuous", True, "false, got true"),
        ("rank_rewards", True, "false, got true"),
        ("antithetic", True, "false, got true"),
        ("sigma_decay", 0.9, "1.0, got 0.9"),
        ("form", "unbounded", "'bounded', got 'unbounded'"),
        ("reward_baseline", "none", "'mean', got 'none'"),
        ("sigma_lr", 0.1, "0.0, got 0.1"),
        ("reuse", 2, "0, got 2"),
    ],
)
def test_paper_refuses_what_the_papers_have_otherwise(
    key: str, value: Any, words: str, tmp_path: Path
) -> None:
    wanted = f"reinforce.{key}: paper is the papers' letter: expected {words}"
    with pytest.raises(ConfigError, match=f"^options: {re.escape(wanted)}$"):
        configured("faces", reinforce__paper=True, **{f"reinforce__{key}": value})
    file = tmp_path / "mine.yaml"
    file.write_text(f"task: faces\nreinforce: {{paper: true, {key}: {json.dumps(value)}}}\n")
    with pytest.raises(ConfigError, match=f"^mine.yaml: {re.escape(wanted)}$"):
        load_config(file, {}, section_of)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("baselines", ["softmax", "focal", "softmax"], "'softmax'"),
        ("lr_factors", [1, 2.0, 1.0], "1.0"),
    ],
)
def test_what_stands_twice_is_refused_before_anything_is_trained(key: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=f"^options: reinforce.{key}: {words} stands there twice$"):
        configured("classification", **{f"reinforce__{key}": value})


def test_trainings_have_names_of_their_own() -> None:
    factors = configured("classification").reinforce.lr_factors
    assert [name_of(factor) for factor in factors] == ["0.1", "0.5", "2", "10"]
    assert name_of(1.0) != name_of(1.000000001)
