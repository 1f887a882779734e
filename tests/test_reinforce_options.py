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
from cse_autoloss.searches.reinforce.policy import ranked
from cse_autoloss.searches.reinforce.search import Reinforce
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
    ],
)
def test_the_mean_moves_to_a_planted_optimum(options: dict[str, Any]) -> None:
    """Twelve numbers, the optimum two away, rewards as noisy as one draw's own spread makes them differ."""
    space = AmLfs(3, continuous=False)
    best = torch.tensor(space.start) + 2 / math.sqrt(12)
    assert moved(Reinforce(space, samples=16, lr=0.05, **options), best, noise=0.3) < 0.35


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
