"""How fast a run's store takes candidates in, and how long it takes to answer when it holds a million.

    python benchmarks/store.py [--candidates 1000000] [--batch 1000] [--write docs/benchmarks/store.md]

Formulas, digests, verdicts and fingerprints are made up, of the lengths that searches have; one in fifty is a
duplicate, one in a hundred passes. A batch is a generation: candidates, verdicts, fingerprints of those that passed and
a search state, in one transaction. The first tenth's speed is told beside the last's.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cse_autoloss.runs import Proposed, RunStore
from cse_autoloss.verdict import Verdict

REASONS = ("loss rises with the logit", "gradient does not vanish", "not finite", "a needle", "constant")


def generations(count: int, batch: int) -> Iterator[list[tuple[Proposed, Verdict]]]:
    """Batches of made-up candidates with what verification says of each."""
    for first in range(0, count, batch):
        made = []
        for number in range(first, min(first + batch, count)):
            same = number - 50 if number % 50 == 49 and number > 50 else number
            digest = hashlib.sha256(str(same).encode()).hexdigest()[:32]
            formula = f"Add(Mul(Log(Sigmoid({digest[:16]})),Neg(x)),Exp(Mul({digest[16:]},Square(t))))"
            passes = number % 100 == 0
            reason = "has every property" if passes else f"{REASONS[number % 5]} between x = -0.31 and 0.43"
            code = "" if passes else REASONS[number % 5]
            proposed = Proposed(formula, digest, "mutation", (digest[::-1],))
            made.append((proposed, Verdict("verify", passes, reason, code=code)))
        yield made


def fill(directory: Path, count: int, batch: int) -> tuple[list[float], list[float]]:
    """Seconds of each batch's transaction, by the clock and of the processor."""
    took, worked = [], []
    with RunStore.create(directory, {"seed": 0}) as store:
        for number, made in enumerate(generations(count, batch)):
            begun, busy = time.perf_counter(), time.process_time()
            with store.transaction():
                ids = store.add_generation("cls", number, [one for one, _ in made])
                store.add_verdicts((i, verdict) for i, (_, verdict) in zip(ids, made, strict=True))
                passed = {one.digest: i for i, (one, v) in zip(ids, made, strict=True) if v.accepted}
                store.claim_fingerprints("cls", passed)
                store.save_state(number, {"best": list(passed)})
            took.append(time.perf_counter() - begun)
            worked.append(time.process_time() - busy)
    return took, worked


def timed(what: Callable[[], Any]) -> tuple[str, Any]:
    """Seconds by the clock and of the processor, and what came out."""
    begun, busy = time.perf_counter(), time.process_time()
    value = what()
    wall, worked = time.perf_counter() - begun, time.process_time() - busy
    return f"{wall:.2f} s, processor {worked:.2f} s", value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        took, worked = fill(directory, options.candidates, options.batch)
        size = sum(os.path.getsize(path) for path in directory.iterdir()) / 1e6
        opening, store = timed(lambda: RunStore.open(directory))
        with store:
            funnel, counts = timed(store.funnel)
            report, _ = timed(
                lambda: (store.rejections(), store.scores(), store.events(), store.load_state())
            )
        assert counts["generated"] == options.candidates
    tenth = max(1, len(took) // 10)
    rows = [
        ("insert, whole run", f"{options.candidates / sum(took):,.0f}/s"),
        ("insert, by processor time", f"{options.candidates / sum(worked):,.0f}/s"),
        ("first tenth, by processor time", f"{tenth * options.batch / sum(worked[:tenth]):,.0f}/s"),
        ("last tenth, by processor time", f"{tenth * options.batch / sum(worked[-tenth:]):,.0f}/s"),
        ("reopen", opening),
        ("funnel", funnel),
        ("rejections, scores, events, state", report),
        ("on disk", f"{size:,.0f} MB"),
    ]
    lines = [f"{options.candidates:,} candidates in batches of {options.batch:,}, one writer", ""]
    lines += ["| what | figure |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows)]
    print("\n".join(lines))
    if options.write:
        command = f"`python benchmarks/store.py --candidates {options.candidates} --batch {options.batch}`"
        options.write.write_text("\n".join(["# The store", "", command, "", *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
