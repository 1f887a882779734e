"""How much the fast filter lets through that a proof refutes: random accepted losses, certified one by one.

    python benchmarks/certificates.py --count 300 --boxes 2000

Random expressions are drawn until so many are accepted by `verify`; each is certified with so many boxes a property.
Prints a table: by signature how many have a property refuted (by a witness), all proved, or something left open.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np

from cse_autoloss.certify import Certificate, certificate_of
from cse_autoloss.spaces.random_expressions import random_forest
from cse_autoloss.spaces.signatures import signature_of
from cse_autoloss.verification.population import verify_forest

BATCH = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=50, help="accepted losses of each signature")
    parser.add_argument("--boxes", type=int, default=2000, help="of a property")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each loss, of one core")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signatures", nargs="*", default=["cls-binary", "cls-multiclass", "reg"])
    asked = parser.parse_args()
    print(
        "| signature | drawn | accepted | refuted | proved but for what is open | all proved | seconds each |"
    )
    print("|---|---|---|---|---|---|---|")
    reasons: Counter[str] = Counter()
    for name in asked.signatures:
        drawn, found, spent = _certified(name, asked)
        refuted = [one for one in found if one.refuted]
        whole = sum(all(f.outcome == "proved" or not f.required for f in one.findings) for one in found)
        rest = len(found) - len(refuted) - whole
        print(
            f"| {name} | {drawn} | {len(found)} | {len(refuted)} ({len(refuted) / len(found):.1%}) | {rest} | {whole} "
            f"| {spent / len(found):.2f} |",
            flush=True,
        )
        reasons.update(f"{name}: {f.name}" for one in refuted for f in one.of("refuted") if f.required)
    print("\n| refuted property | losses |\n|---|---|")
    for reason, count in reasons.most_common():
        print(f"| {reason} | {count} |")


def _certified(name: str, asked: argparse.Namespace) -> tuple[int, list[Certificate], float]:
    """How many were drawn, the certificates of the accepted, and the seconds of one core that these took."""
    signature = signature_of(name)
    rng = np.random.default_rng(asked.seed)
    found: dict[str, Certificate] = {}
    drawn, spent = 0, 0.0
    while len(found) < asked.count:
        forest = random_forest(signature, BATCH, rng)
        accepted = np.flatnonzero(verify_forest(forest).fault == 0)
        for row in accepted.tolist():
            graph = forest.graph(row)
            if graph.digest in found:
                continue
            started = time.thread_time()
            found[graph.digest] = certificate_of(graph, asked.seconds, asked.boxes)
            spent += time.thread_time() - started
            if len(found) == asked.count:
                drawn += row + 1
                return drawn, list(found.values()), spent
        drawn += len(forest)
    return drawn, list(found.values()), spent


if __name__ == "__main__":
    main()
