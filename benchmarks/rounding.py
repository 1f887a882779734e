"""Would more digits decide what certificates leave open? The same losses with rounding ever coarser, and with none.

    python benchmarks/rounding.py cls-binary --count 200 --boxes 2000

Random losses that the filter accepts are certified again and again, with ends of intervals moved outward by another
share of themselves: the package's, a thousand and a hundred thousand times it, and nothing. Where the outcomes stay
the same, it is not rounding that leaves a property open, and arithmetic with more digits would leave it open too.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from cse_autoloss.certify import certificate_of
from cse_autoloss.graph import LossGraph
from cse_autoloss.operators import intervals
from cse_autoloss.spaces.random_expressions import random_forest
from cse_autoloss.spaces.signatures import signature_of
from cse_autoloss.verification.population import verify_forest

FACTORS = (1.0, 1e3, 1e5, 0.0)
BATCH = 20_000


def accepted(name: str, count: int, seed: int) -> list[LossGraph]:
    """Distinct random losses that the filter accepts."""
    signature, rng = signature_of(name), np.random.default_rng(seed)
    found: dict[str, LossGraph] = {}
    while len(found) < count:
        forest = random_forest(signature, BATCH, rng)
        for row in np.flatnonzero(verify_forest(forest).fault == 0).tolist():
            graph = forest.graph(row)
            found.setdefault(graph.digest, graph)
    return list(found.values())[:count]


def outcomes(graphs: list[LossGraph], boxes: int) -> list[str]:
    """What comes of each property of each loss."""
    return [one.outcome for graph in graphs for one in certificate_of(graph, 60.0, boxes).findings]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("signature", choices=("cls-binary", "cls-multiclass", "reg"))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--boxes", type=int, default=2000, help="of a property")
    parser.add_argument("--seed", type=int, default=77)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    graphs, own = accepted(asked.signature, asked.count, asked.seed), intervals._DIGITS
    first: list[str] = []
    print("| margin | properties | proved | refuted | open | other than with the package's |")
    print("|---|---:|---:|---:|---:|---:|")
    for factor in FACTORS:
        intervals._DIGITS = own * factor
        found = outcomes(graphs, asked.boxes)
        first = first or found
        changed = sum(a != b for a, b in zip(first, found, strict=True))
        counts = [found.count(word) for word in ("proved", "refuted", "open")]
        cells = " | ".join(map(str, (len(found), *counts, changed)))
        print(f"| {own * factor:.0e} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
