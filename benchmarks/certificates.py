"""How much the fast filter lets through that a proof refutes: random accepted losses, certified one by one.

    python benchmarks/certificates.py --count 300 --boxes 2000

Random expressions are drawn until so many are accepted by `verify`; each is certified with so many boxes a property:
whole, or, by `--signs`, only in what a right loss can't be without, the signs of its slopes.
Prints a table: by signature how many have a property refuted (by a witness), all proved, or something left open; and
of each refuted property how many losses, and the smallest with its witness. A count that ends in time is told as it is.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from cse_autoloss.certify import Certificate, Finding, certificate_of
from cse_autoloss.spaces.random_expressions import random_forest
from cse_autoloss.spaces.signatures import signature_of
from cse_autoloss.verification.population import verify_forest

BATCH = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=50, help="accepted losses of each signature")
    parser.add_argument("--boxes", type=int, default=2000, help="of a property")
    parser.add_argument("--minutes", type=float, default=60.0, help="of each signature; then the row is told")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each loss, of one core")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signatures", nargs="*", default=["cls-binary", "cls-multiclass", "reg"])
    parser.add_argument("--signs", action="store_true", help="only the signs of slopes")
    parser.add_argument("--out", type=Path, help="all refuted losses and their witnesses, .json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| signature | drawn | accepted | refuted | proved but for what is open | all proved | seconds each |"
    )
    print("|---|---|---|---|---|---|---|")
    refuted_by: dict[tuple[str, str], list[tuple[str, Finding]]] = {}
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
        for one in refuted:
            for f in one.of("refuted"):
                if f.required:
                    refuted_by.setdefault((name, f.name), []).append((one.formula, f))
    print("\n| signature | refuted property | losses | the shortest of them | where |\n|---|---|---|---|---|")
    for (name, reason), losses in sorted(refuted_by.items(), key=lambda item: -len(item[1])):
        formula, f = min(losses, key=lambda loss: len(loss[0]))
        where = ", ".join(f"{k} {_shown(v)}" for k, v in (f.witness or {}).items())
        print(f"| {name} | {reason} | {len(losses)} | `{formula}` | {f.detail}: {where} |")
    if asked.out is not None:
        plain = {f"{name}: {reason}": [{"formula": formula, **f.to_dict()} for formula, f in losses]
                 for (name, reason), losses in refuted_by.items()}  # fmt: skip
        asked.out.write_text(json.dumps(plain, indent=1, ensure_ascii=False), encoding="utf-8")


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _certified(name: str, asked: argparse.Namespace) -> tuple[int, list[Certificate], float]:
    """How many were drawn, the certificates of the accepted, and the seconds of one core that these took."""
    signature = signature_of(name)
    rng = np.random.default_rng(asked.seed)
    found: dict[str, Certificate] = {}
    drawn, spent = 0, 0.0
    until = time.monotonic() + 60 * asked.minutes
    while True:
        forest = random_forest(signature, BATCH, rng)
        accepted = np.flatnonzero(verify_forest(forest).fault == 0)
        for row in accepted.tolist():
            graph = forest.graph(row)
            if graph.digest in found:
                continue
            started = time.thread_time()
            found[graph.digest] = certificate_of(graph, asked.seconds, asked.boxes, signs=asked.signs)
            spent += time.thread_time() - started
            if len(found) == asked.count or time.monotonic() > until:
                return drawn + row + 1, list(found.values()), spent
        drawn += len(forest)


if __name__ == "__main__":
    main()
