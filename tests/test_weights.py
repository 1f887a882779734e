"""Weights on an expression's edges: where they go, what they are, and that CMA-ES finds them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from cse_autoloss.graph import LossGraph, compile_graph
from cse_autoloss.losses import list_losses
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.searches.evolution.weights import RATIOS, Edges, WeightSearch, nearest_ratio
from cse_autoloss.spaces import parse

GIOU = parse("Add(Sub(1,Div(I,U)),Div(Sub(E,U),E))", "reg")
INPUTS = {
    name: torch.tensor(values) for name, values in {"I": [3.0, 1], "U": [5.0, 6], "E": [8.0, 9]}.items()
}


def value(graph: LossGraph) -> torch.Tensor:
    return compile_graph(graph)(INPUTS)


def test_sums_of_what_varies_bear_weights_and_so_does_the_whole() -> None:
    edges = Edges(GIOU)
    symbols = [GIOU.nodes[index].symbol for index, _ in edges.places]
    # the slack E − U and the two terms, but not 1 − I/U; the terms' weights tell the scale too
    assert symbols == ["Sub", "Sub", "Add", "Add"]
    assert len(Edges(GIOU, scale=False).places) == 3
    focal = parse("Neg(Mul(Sub(1,Sig(X)),Mul(PY,Log(Sig(X)))))")
    assert Edges(focal).places == ((len(focal), 0),)
    assert Edges(focal, scale=False).places == ()


def test_weights_do_what_they_say() -> None:
    iou, slack = INPUTS["I"] / INPUTS["U"], (2 * INPUTS["E"] - INPUTS["U"] / 3) / INPUTS["E"]
    weighted = Edges(GIOU).weighted([2.0, 1 / 3, 0.5, 8.0])
    torch.testing.assert_close(value(weighted), 0.5 * (1 - iou) + 8 * slack)
    assert Edges(GIOU).weighted([1.0] * 4) == GIOU
    iou_loss = parse("Mul(1,Sub(1,Div(I,U)))", "reg")
    torch.testing.assert_close(value(Edges(iou_loss).weighted([2 / 3])), 2 / 3 * (1 - iou))


@pytest.mark.parametrize("branch", ["cls-binary", "cls-multiclass", "reg"])
def test_every_loss_of_the_catalogue_takes_them(branch: str) -> None:
    graphs = [loss.graph for entry in list_losses(branch) if isinstance(loss := entry.make(), GraphLoss)]
    assert graphs
    for graph in graphs:
        edges = Edges(graph)
        assert edges.weighted([1.0] * len(edges.places)) == graph
        assert edges.weighted([2.0] * len(edges.places)) != graph
        # what comes out is a formula like any other
        heavier = edges.weighted([0.7] * len(edges.places))
        assert parse(heavier.formula, branch) == heavier


def test_ratios_lie_close_to_each_other() -> None:
    middle = [ratio for ratio in RATIOS if 0.25 <= ratio <= 4]
    assert max(b / a for a, b in pairwise(middle)) < 1.34
    assert nearest_ratio(0.7) == 2 / 3
    assert nearest_ratio(100.0) == 9
    assert {nearest_ratio(ratio) for ratio in RATIOS} == set(RATIOS)


def test_the_search_finds_the_weights_in_spite_of_noise() -> None:
    aim, rng = np.array([1.0, -0.7, 0.0]), np.random.default_rng(0)
    search = WeightSearch(3, 10, 0.5, seed=1)
    for _ in range(25):
        asked = search.ask(lambda weights: weights[2] > 0.5)
        assert len(asked) == 10
        search.tell([-float(((np.log(w) - aim) ** 2).sum()) + 0.05 * rng.normal() for w in asked])
    assert np.log(search.mean) == pytest.approx(aim, abs=0.25)


def test_the_same_seed_asks_the_same() -> None:
    def asked(seed: int) -> list[tuple[float, ...]]:
        search = WeightSearch(2, 6, 0.4, seed)
        first = search.ask(lambda _: True)
        search.tell([w[0] for w in first])
        return first + search.ask(lambda _: True)

    assert asked(5) == asked(5)
    assert asked(6) != asked(5)


def test_where_nothing_is_admitted_nothing_is_learnt() -> None:
    search = WeightSearch(2, 6, 0.4, seed=0)
    assert search.ask(lambda _: False) == []
    search.tell([])
    assert search.mean == (1.0, 1.0)
    assert all(math.isfinite(w) for w in search.ask(lambda _: True)[0])
