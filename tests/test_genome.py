"""Typed generation and variation: an ill-shaped candidate never comes up."""

import contextlib
import io
import random
import subprocess
import sys

import pytest
import torch

from cse_autoloss.graph import Kind, compile_graph
from cse_autoloss.losses import GraphLoss, list_losses
from cse_autoloss.searches.evolution.genome import (
    Limits,
    PrimitiveSet,
    crossover,
    mutate_constant,
    mutate_point,
    mutate_subtree,
    random_tree,
    seeded,
)
from cse_autoloss.spaces import SIGNATURES
from tests.test_graph import inputs_for

DETECTION = ("cls-binary", "cls-multiclass", "reg")


@pytest.mark.parametrize("branch", DETECTION)
def test_random_losses_have_the_right_shape(branch: str) -> None:
    signature = SIGNATURES[branch]
    primitives = PrimitiveSet.of(signature)
    inputs = inputs_for(branch, torch.float32, 6)
    full = {"reg": (6,), "cls-binary": (6, 4), "cls-multiclass": (6, 1)}[branch]
    seen = set()
    with seeded(0):
        for _ in range(2_500):
            graph = primitives.to_graph(random_tree(primitives))
            if graph.formula in seen:
                continue
            seen.add(graph.formula)
            value = compile_graph(graph)(inputs)
            if signature.result is Kind.PER_CLASS:
                assert graph.kinds[graph.root] is Kind.PER_CLASS
                assert value.shape == full
            else:
                assert value.broadcast_to(full).shape == full


@pytest.mark.parametrize("branch", DETECTION)
def test_variation_keeps_shapes(branch: str) -> None:
    primitives = PrimitiveSet.of(SIGNATURES[branch])
    losses = [entry.make() for entry in list_losses(branch)]
    trees = [primitives.to_tree(loss.graph) for loss in losses if isinstance(loss, GraphLoss)]
    with seeded(1):
        for _ in range(1500):
            one, two = random.choice(trees), random.choice(trees)
            for child in (
                *crossover(one, two),
                mutate_subtree(one, primitives),
                mutate_point(one, primitives),
                mutate_constant(one, primitives),
            ):
                graph = primitives.to_graph(child)
                assert graph.kinds[graph.root] is SIGNATURES[branch].result


@pytest.mark.parametrize("branch", DETECTION)
def test_tree_and_graph_are_inverse(branch: str) -> None:
    primitives = PrimitiveSet.of(SIGNATURES[branch])
    with seeded(2):
        for _ in range(300):
            graph = primitives.to_graph(random_tree(primitives))
            assert primitives.to_graph(primitives.to_tree(graph)).formula == graph.formula


def test_parents_are_left_alone() -> None:
    primitives = PrimitiveSet.of(SIGNATURES["reg"])
    with seeded(3):
        tree = random_tree(primitives, 3, 5)
        before = str(primitives.to_graph(tree))
        for _ in range(100):
            crossover(tree, tree)
            mutate_subtree(tree, primitives)
            mutate_point(tree, primitives)
            mutate_constant(tree, primitives)
        assert str(primitives.to_graph(tree)) == before


def test_limits() -> None:
    primitives = PrimitiveSet.of(SIGNATURES["reg"])
    with seeded(4):
        trees = [random_tree(primitives, 2, 6) for _ in range(200)]
    limits = Limits(max_depth=4, max_nodes=10)
    kept = [tree for tree in trees if limits.holds(tree)]
    assert 0 < len(kept) < len(trees)
    assert all(tree.height <= 4 and len(tree) <= 10 for tree in kept)


def test_same_children_in_every_process() -> None:
    """DEAP's own typed crossover picks a type from a set, whose order depends on addresses."""
    code = (
        "from cse_autoloss.searches.evolution.genome import *; from cse_autoloss.spaces import SIGNATURES\n"
        "p = PrimitiveSet.of(SIGNATURES['cls-multiclass'])\n"
        "with seeded(9):\n"
        "    t = [random_tree(p, 3, 5) for _ in range(20)]\n"
        "    print([str(p.to_graph(crossover(a, b)[0])) for a, b in zip(t, t[1:])])\n"
    )
    here = io.StringIO()
    with contextlib.redirect_stdout(here):
        exec(code, {})
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout == here.getvalue()
