"""How fast a population is thrown away: the batched funnel against DEAP and autograd, candidate by candidate.

    python benchmarks/verify_speed.py [--write docs/benchmarks/verify_speed.md]

Both draw random typed expressions by the same rule and look at them on the same 64 grid points, on one core.
Ours draws, screens, hash-conses, evaluates, judges in full and takes fingerprints; the baseline draws with
DEAP, compiles with `gp.compile`, runs, backpropagates, and tests the signs of the gradients, no more. Times
are processor times, so that a busy machine does not decide.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from deap import gp

from cse_autoloss.operators import OPERATORS
from cse_autoloss.searches.evolution.genome import _TYPE, PrimitiveSet
from cse_autoloss.spaces import SIGNATURES
from cse_autoloss.spaces.curves import Look
from cse_autoloss.spaces.random_expressions import SYMBOLS, Forest, RandomShape, random_forest
from cse_autoloss.verification import node_table, population
from cse_autoloss.verification.grids import probe_grid
from cse_autoloss.verification.table_evaluate import TableEvaluator

SHAPE = RandomShape()
CHEAP = {"Add", "Sub", "Mul", "Div", "Neg", "Abs", "Relu", "Sqrt", "Salf", "Dot"}
"""Operators without a transcendental call; the others make about two, one for the value and one for the
slope."""
clock = time.process_time


class Stopwatch:
    """Adds up the processor time spent in some functions of a module."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.node_points = 0
        self.transcendental = 0
        self._undo: list[tuple[Any, str, Any]] = []

    def watch(self, owner: Any, name: str, label: str | Callable[..., str]) -> None:
        plain = getattr(owner, name)
        self._undo.append((owner, name, plain))

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = clock()
            result = plain(*args, **kwargs)
            key = label if isinstance(label, str) else label(*args)
            self.seconds[key] = self.seconds.get(key, 0.0) + clock() - started
            return result

        setattr(owner, name, timed)

    def stop(self) -> None:
        for owner, name, plain in reversed(self._undo):
            setattr(owner, name, plain)


def ours(branch: str, count: int, seed: int) -> tuple[float, dict[str, float], dict[str, float]]:
    """Seconds, seconds by step, and facts about the batch."""
    facts = {"node_points": 0.0, "transcendental": 0.0, "distinct": 0.0}

    def stage(evaluator: TableEvaluator, table: node_table.NodeTable) -> str:
        if evaluator.points == 1:
            return "fingerprint, evaluate"
        if evaluator.curves * evaluator.points > 64:
            return "evaluate, fine grids"
        lanes = evaluator.curves * evaluator.points
        moving = table.moves
        lanes_of = lanes * np.where(table.per_class, evaluator.classes, 1)
        facts["distinct"] += len(table)
        facts["node_points"] += float(lanes_of[moving].sum())
        dear = np.array([SYMBOLS[code] in OPERATORS and SYMBOLS[code] not in CHEAP for code in table.symbol])
        facts["transcendental"] += 2 * float(lanes_of[moving & dear].sum())
        return "evaluate, coarse grid"

    watch = Stopwatch()
    watch.watch(sys.modules[__name__], "random_forest", "generate")
    watch.watch(Forest, "reads", "screen variables")
    watch.watch(Forest, "take", "screen variables")
    watch.watch(population, "make_table", "stabilise, hash-cons, deduplicate")
    watch.watch(population, "keep", "stabilise, hash-cons, deduplicate")
    watch.watch(TableEvaluator, "run", stage)
    watch.watch(population, "judge", "judge")
    watch.watch(population, "_marks", "fingerprint")
    try:
        started = clock()
        forest = random_forest(SIGNATURES[branch], count, np.random.default_rng(seed), SHAPE)
        report = population.verify_forest(forest, marks=True)
        seconds = clock() - started
    finally:
        watch.stop()
    steps = dict(watch.seconds)
    steps["everything else"] = seconds - sum(steps.values())
    facts["nodes"] = len(forest.symbol) / count
    facts["past_screen"] = float((report.stage >= 0).mean())
    facts["accepted"] = float(report.accepted.mean())
    facts["losses"] = float(len(set(report.marks.values())))
    return seconds, steps, facts


def _lenient(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """DEAP's generated code passes constants as Python numbers."""

    def call(*args: Any) -> torch.Tensor:
        return function(*(a if isinstance(a, torch.Tensor) else torch.tensor(float(a)) for a in args))

    return call


class Baseline:
    """DEAP draws and compiles, autograd differentiates, one candidate at a time."""

    def __init__(self, branch: str) -> None:
        self.signature = SIGNATURES[branch]
        self.primitives = PrimitiveSet.of(self.signature)
        pset = self.primitives.pset
        pset.arguments = list(self.signature.variables)
        pset.context = {"__builtins__": None}
        pset.context.update({name: _lenient(OPERATORS[name].function) for name in self.signature.operators})
        self.pset = pset
        self.grid = probe_grid(SIGNATURES[branch], Look(False), torch.float32)
        self.moving = [name for name in self.signature.variables if name in self.grid.tangents]
        self.inputs = {name: value.clone() for name, value in self.grid.inputs.items()}
        for name in self.moving:
            self.inputs[name].requires_grad_()

    def draw(self) -> gp.PrimitiveTree:
        def ends(height: int, depth: int) -> bool:
            return depth == height or (depth > 0 and random.random() < SHAPE.terminal_share)

        while True:
            try:
                kind = _TYPE[self.signature.result]
                return gp.PrimitiveTree(gp.generate(self.pset, SHAPE.max_depth, SHAPE.max_depth, ends, kind))
            except IndexError:
                continue

    def verify(self, tree: gp.PrimitiveTree) -> bool:
        function = gp.compile(tree, self.pset)
        loss = function(*(self.inputs[name] for name in self.signature.variables))
        if not loss.requires_grad:
            return False
        gradients = torch.autograd.grad(loss.sum(), [self.inputs[n] for n in self.moving], allow_unused=True)
        slope = sum(
            g * self.grid.tangents[n] for n, g in zip(self.moving, gradients, strict=True) if g is not None
        )
        assert isinstance(slope, torch.Tensor)
        return bool((torch.isfinite(loss).all() & (slope <= 1e-4 * slope.abs().max()).all()).item())


def baseline(branch: str, count: int, repeats: int) -> tuple[float, float, float]:
    """Seconds a candidate in the fastest run, and nodes a tree.

    The first counts all that DEAP draws, drawing included; the second those that read the variables they
    must, already drawn.
    """
    path = Baseline(branch)
    random.seed(7)
    for _ in range(50):
        path.verify(path.draw())
    runs = [_run_baseline(path, branch, count) for _ in range(repeats)]
    return min(r[0] for r in runs), min(r[1] for r in runs), sum(r[2] for r in runs) / repeats


def _run_baseline(path: Baseline, branch: str, count: int) -> tuple[float, float, float]:
    started = clock()
    trees = [path.draw() for _ in range(count)]
    drawing = clock() - started
    started = clock()
    for tree in trees:
        path.verify(tree)
    everything = drawing + clock() - started
    serious = [tree for tree in trees if _reads_enough(branch, {node.name for node in tree})]
    started = clock()
    for tree in serious:
        path.verify(tree)
    hard = clock() - started
    nodes = sum(len(tree) for tree in trees) / count
    return everything / count, hard / max(len(serious), 1), nodes


def _reads_enough(branch: str, names: set[str]) -> bool:
    if branch == "reg":
        return "I" in names and bool({"U", "E"} & names)
    return "X" in names and bool({"PY", "NY", "Q", "Y"} & names)


def machine_limits() -> tuple[float, float]:
    """Bytes a second of a large copy, and transcendental calls a second (exp, float32, in cache)."""
    big = torch.empty(1 << 24, dtype=torch.float32)
    target = torch.empty_like(big)
    small = torch.randn(1 << 14)
    target.copy_(big)
    started = clock()
    for _ in range(10):
        target.copy_(big)
    copied = 10 * 2 * big.numel() * 4 / (clock() - started)
    out = torch.empty_like(small)
    started = clock()
    for _ in range(2000):
        torch.exp(small, out=out)
    return copied, 2000 * small.numel() / (clock() - started)


def report(branch: str, count: int, baseline_count: int, repeats: int) -> list[str]:
    """Lines of a table for one branch."""
    ours(branch, min(count, 5000), 99)
    runs = [ours(branch, count, seed) for seed in range(repeats)]
    seconds, steps, facts = min(runs, key=lambda run: run[0])
    slow, slow_hard, slow_nodes = baseline(branch, baseline_count, repeats)
    rate, slow_rate = count / seconds, 1 / slow
    screened = steps["generate"] + steps.get("screen variables", 0.0)
    hard = (seconds - screened) / (count * facts["past_screen"])
    copy_rate, call_rate = machine_limits()
    # Of each node and point: two arguments are read and the result written, value and slope.
    needed_bytes = facts["node_points"] * 4 * 2 * 3
    limit = needed_bytes / copy_rate + facts["transcendental"] / call_rate
    lines = [
        f"### {branch}",
        "",
        f"{count:,} candidates of {facts['nodes']:.1f} nodes; {facts['past_screen']:.1%} read what a loss must read, "
        f"{facts['accepted']:.2%} accepted ({facts['losses']:.0f} distinct losses). "
        f"Baseline: {baseline_count:,} candidates a run, of {slow_nodes:.1f} nodes.",
        "",
        "| | candidates/s | µs a candidate |",
        "|---|---|---|",
        f"| this package, all steps | **{rate:,.0f}** | {1e6 / rate:.2f} |",
        f"| DEAP + autograd | {slow_rate:,.0f} | {1e6 / slow_rate:.0f} |",
        f"| **ratio** | **{rate / slow_rate:.0f}x** | |",
        f"| this package, past the screen of variables | {1 / hard:,.0f} | {1e6 * hard:.2f} |",
        f"| DEAP + autograd, the same, already drawn | {1 / slow_hard:,.0f} | {1e6 * slow_hard:.0f} |",
        f"| ratio | {slow_hard / hard:.0f}x | |",
        "",
        "| step | share | µs a candidate |",
        "|---|---|---|",
    ]
    for name, value in sorted(steps.items(), key=lambda item: -item[1]):
        lines.append(f"| {name} | {value / seconds:.0%} | {1e6 * value / count:.2f} |")
    took = steps["evaluate, coarse grid"]
    lines += [
        "",
        f"Limit of the coarse evaluation: {facts['distinct']:,.0f} distinct nodes, {needed_bytes / 1e6:,.0f} MB at "
        f"{copy_rate / 1e9:.1f} GB/s and {facts['transcendental'] / 1e6:.1f} million transcendental calls at "
        f"{call_rate / 1e9:.2f} G/s take {1e3 * limit:.0f} ms; it took {1e3 * took:.0f} ms, "
        f"{took / limit:.1f} times that.",
        "",
    ]  # fmt: skip
    return lines


def main() -> None:
    """Run all branches and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--baseline-count", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "# Speed of verification",
        "",
        f"`python benchmarks/{Path(__file__).name}`: one thread of {_processor()}, torch {torch.__version__}, "
        f"{os.cpu_count()} cores, processor time; the fastest of {arguments.repeats} runs each.",
        "",
    ]
    for branch in SIGNATURES:
        lines += report(branch, arguments.count, arguments.baseline_count, arguments.repeats)
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        arguments.write.write_text(text.rstrip() + "\n", encoding="utf-8")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"an {line.split(':', 1)[1].strip()}"
    return platform.machine()


if __name__ == "__main__":
    main()
