"""Losses that benchmarks try things on: the catalogue's, and distinct descendants of them that pass verification."""

from __future__ import annotations

import random

from cse_autoloss.errors import AutoLossError
from cse_autoloss.losses.box_entries import BOX_ENTRIES
from cse_autoloss.losses.cls_entries import BINARY_ENTRIES
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
from cse_autoloss.spaces import SIGNATURES, parse
from cse_autoloss.verification import fingerprint, verify

PARENTS = 60
"""So many trees are bred from: the catalogue's and the latest descendants, of which a random one leaves."""


def founders(branch: str) -> dict[str, str]:
    """The catalogue's expressions, formula by fingerprint."""
    entries = BINARY_ENTRIES if branch == "cls-binary" else BOX_ENTRIES
    graphs = [parse(e.formula, branch) for e in entries if e.formula is not None]
    return {fingerprint(graph): graph.formula for graph in graphs}


def descendants(
    branch: str,
    count: int,
    seed: int,
    *,
    random_share: float = 0.0,
    mutated: float = 0.6,
    shuffled: bool = False,
) -> dict[str, str]:
    """Formula by fingerprint, of `count` that are new.

    Args:
        branch: cls-binary or reg.
        count: how many.
        seed: of the draws.
        random_share: chance that a draft is drawn anew, with no parent.
        mutated: chance that it is one parent, changed once to three times; the rest have two parents.
        shuffled: in random order, not in that of their births.
    """
    primitives, limits = PrimitiveSet.of(SIGNATURES[branch]), Limits()
    known = founders(branch)
    trees = [primitives.to_tree(parse(formula, branch)) for formula in known.values()]
    fixed = len(trees)
    found: dict[str, str] = {}
    with seeded(seed):
        while len(found) < count:
            draw = random.random()
            try:
                if draw < random_share:
                    tree = random_tree(primitives)
                elif draw < random_share + mutated:
                    tree = random.choice(trees)
                    for _ in range(random.choice((1, 1, 2, 3))):
                        vary = random.choice((mutate_subtree, mutate_point, mutate_constant))
                        tree = vary(tree, primitives)
                else:
                    tree, _ = crossover(random.choice(trees), random.choice(trees))
                if not limits.holds(tree):
                    continue
                graph = primitives.to_graph(tree)
            except (AutoLossError, IndexError):
                continue
            if not verify(graph):
                continue
            mark = fingerprint(graph)
            if mark not in found and mark not in known:
                found[mark] = graph.formula
                trees.append(tree)
                if len(trees) > PARENTS:
                    trees.pop(random.randrange(fixed, len(trees)))
        marks = list(found)
        if shuffled:
            random.shuffle(marks)
    return {mark: found[mark] for mark in marks}
