"""Verification of a whole population at once: cheap tests first, each distinct subexpression evaluated once.

A candidate alone is verified as a population of one, by the same code on the same numbers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from cse_autoloss.graph import LossGraph, Signature
from cse_autoloss.settings.filters import THRESHOLDS, VerifySettings
from cse_autoloss.spaces.random_expressions import Forest
from cse_autoloss.verdict import Verdict
from cse_autoloss.verification.fingerprint import digest_of_slopes
from cse_autoloss.verification.grids import GridKind, probe_grid
from cse_autoloss.verification.judge import Fault, Findings, judge
from cse_autoloss.verification.node_table import NodeTable, make_table, table_of_graph
from cse_autoloss.verification.reasons import accepted, rejected, structural
from cse_autoloss.verification.table_evaluate import TableEvaluator, keep

BLOCK_NODES = 200_000
"""Nodes that are interned and evaluated together: 50 to 150 MB on the coarse grid, whatever the batch."""
FINE_ROOTS = 128
"""Candidates that are evaluated together on a fine grid."""

_STAGES: tuple[tuple[bool, torch.dtype], ...] = (
    (False, torch.float32),
    (True, torch.float64),
    (True, torch.float32),
)
"""The grids that a candidate passes, in order: (fine, dtype)."""


@dataclass
class PopulationReport:
    """What verification found, as arrays; verdicts in words are made when asked for.

    Attributes:
        branch: of the candidates.
        fault: (B,) `Fault`, 0 for the accepted.
        stage: (B,) index of the grid that it was found on, -1 where the formula's variables were enough.
        kind: (B,) index of the kind of grid.
        figure, curve, first, last: (B,) as in `Findings`.
        marks: fingerprints of the accepted, by place in the batch.
        seconds: wall time of all.
    """

    branch: str
    fault: NDArray[np.int64]
    stage: NDArray[np.int64]
    kind: NDArray[np.int64]
    figure: NDArray[np.float64]
    curve: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    marks: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def blank(cls, branch: str, count: int) -> PopulationReport:
        """A report of `count` accepted candidates."""
        integers = [np.zeros(count, dtype=np.int64) for _ in range(6)]
        fault, stage, kind, curve, first, last = integers
        return cls(branch, fault, stage, kind, np.zeros(count), curve, first, last)

    def __len__(self) -> int:
        return len(self.fault)

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """(B,) which candidates go on."""
        return self.fault == 0

    def verdict(self, row: int) -> Verdict:
        """The verdict on one candidate."""
        seconds = self.seconds / max(len(self), 1)
        fault = Fault(int(self.fault[row]))
        if fault is Fault.NONE:
            return accepted(self.branch, seconds)
        if self.stage[row] < 0:
            return structural(fault, self.branch, seconds)
        fine, dtype = _STAGES[self.stage[row]]
        grid = probe_grid(_KINDS[self.kind[row]], fine, dtype)
        return rejected(
            fault, float(self.figure[row]), int(self.curve[row]), int(self.first[row]), int(self.last[row]),
            grid, seconds,
        )  # fmt: skip

    def verdicts(self) -> list[Verdict]:
        """All verdicts, in order."""
        return [self.verdict(row) for row in range(len(self))]

    def put(self, rows: NDArray[np.int64], stage: int, findings: Findings) -> NDArray[np.bool_]:
        """Enter findings on candidates `rows`; which of them are without fault."""
        fault = findings.fault.cpu().numpy()
        guilty = fault > 0
        there = rows[guilty]
        self.fault[there] = fault[guilty]
        self.stage[there] = stage
        for name in ("figure", "curve", "first", "last"):
            getattr(self, name)[there] = getattr(findings, name).cpu().numpy()[guilty]
        return ~guilty


_KINDS: tuple[GridKind, ...] = ("binary", "binary-coupled", "multiclass", "reg")


def verify(graph: LossGraph, settings: VerifySettings = THRESHOLDS) -> Verdict:
    """Check one candidate.

    For classification, where w = 1: the loss falls as a logit moves towards the right answer, everywhere, is
    flat for no kind of sample, and its gradient vanishes towards the right answer. Where w < 1 a positive's
    loss may have one minimum instead, whose logit rises with w. Value and gradient are finite out to logits
    of ±100, in float64 and in float32.

    For boxes with sides of 8 to 64 pixels: along motions onto the ground truth the loss never rises, falls
    while the two overlap, and is least where they coincide; its gradients by I, U and E are finite.

    Returns:
        A verdict whose `code` names the violated property, `where` the place, and `figure` the measured size.
    """
    started = time.perf_counter()
    names = tuple(graph.signature.variables)
    mask = sum(1 << names.index(name) for name in graph.variables)
    fault = Fault(int(_faults_of_variables(graph.signature)[mask]))
    if fault is not Fault.NONE:
        return structural(fault, graph.branch, time.perf_counter() - started)
    report = PopulationReport.blank(graph.branch, 1)
    _verify_table(table_of_graph(graph), report, np.zeros(1, dtype=np.int64), settings, marks=False)
    report.seconds = time.perf_counter() - started
    return report.verdict(0)


def verify_population(graphs: Sequence[LossGraph], settings: VerifySettings = THRESHOLDS) -> list[Verdict]:
    """A verdict for each candidate, in order: the same, to the letter, as `verify` gives."""
    verdicts: list[Verdict | None] = [None] * len(graphs)
    by_branch: dict[str, list[int]] = {}
    for place, graph in enumerate(graphs):
        by_branch.setdefault(graph.branch, []).append(place)
    for places in by_branch.values():
        report = verify_forest(Forest.of([graphs[place] for place in places]), settings)
        for place, verdict in zip(places, report.verdicts(), strict=True):
            verdicts[place] = verdict
    return [verdict for verdict in verdicts if verdict is not None]


def _cuts(nodes: NDArray[np.int64]) -> list[int]:
    """Where to cut a row of candidates with so many nodes into blocks of at most BLOCK_NODES, or one
    candidate."""
    cuts: list[int] = []
    ends = np.cumsum(nodes)
    done = 0
    while len(ends) and ends[-1] - done > BLOCK_NODES:
        cut = max(int(np.searchsorted(ends, done + BLOCK_NODES, side="right")), (cuts[-1] if cuts else 0) + 1)
        cuts.append(cut)
        done = int(ends[cut - 1])
    return cuts


def verify_forest(
    forest: Forest, settings: VerifySettings = THRESHOLDS, *, marks: bool = False, device: str = "cpu"
) -> PopulationReport:
    """Verify a batch of expressions that are no `LossGraph`s yet.

    Args:
        forest: any number of expressions; they are evaluated in blocks of bounded memory.
        settings: the thresholds.
        marks: also take the fingerprints of the accepted candidates.
        device: where to evaluate.
    """
    started = time.perf_counter()
    report = PopulationReport.blank(forest.signature.name, len(forest))
    report.fault[:] = _faults_of_variables(forest.signature)[forest.reads()]
    report.stage[:] = np.where(report.fault > 0, -1, 0)
    rows = np.flatnonzero(report.fault == 0)
    nodes = np.bincount(forest.owner, minlength=len(forest))[rows]
    for block in np.split(rows, _cuts(nodes)):
        if len(block):
            _verify_table(make_table(forest.take(block)), report, block, settings, marks=marks, device=device)
    report.seconds = time.perf_counter() - started
    return report


def _verify_table(
    table: NodeTable,
    report: PopulationReport,
    rows: NDArray[np.int64],
    settings: VerifySettings,
    *,
    marks: bool,
    device: str = "cpu",
) -> None:
    """Put candidates `rows` of the report, roots of `table` in that order, through all stages."""
    # One of several candidates with the same root stands for all.
    _, first, twin = np.unique(table.root, return_index=True, return_inverse=True)
    kinds = _kinds(table, first)
    for code in np.unique(kinds):
        left = first[kinds == code]
        report.kind[rows[left]] = code
        for stage, (fine, dtype) in enumerate(_STAGES):
            evaluator = _evaluator(_KINDS[code], fine, dtype, device)
            survivors: list[NDArray[np.int64]] = []
            size = FINE_ROOTS if fine else max(len(left), 1)
            for begin in range(0, len(left), size):
                block = left[begin : begin + size]
                part = keep(table, table.root[block])
                value, slope = evaluator.run(part)
                fair = report.put(rows[block], stage, judge(value, slope, evaluator.grid, settings))
                survivors.append(block[fair])
                if marks and fine and dtype is torch.float64:
                    for place, row in zip(
                        rows[block[fair]], slope[torch.from_numpy(fair)].cpu(), strict=True
                    ):
                        report.marks[int(place)] = digest_of_slopes(row, _KINDS[code])
            left = np.concatenate(survivors) if survivors else left[:0]
    if len(first) < len(rows):
        source = first[twin.reshape(-1)]
        for name in ("fault", "stage", "kind", "figure", "curve", "first", "last"):
            array = getattr(report, name)
            array[rows] = array[rows[source]]
        for row, of in zip(rows.tolist(), rows[source].tolist(), strict=True) if report.marks else ():
            if of in report.marks:
                report.marks[row] = report.marks[of]
    if marks:
        report.marks = {row: mark for row, mark in report.marks.items() if report.fault[row] == 0}


def _kinds(table: NodeTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    if table.signature.name == "cls-binary":
        return table.coupled[table.root[rows]].astype(np.int64)
    return np.full(len(rows), 2 if table.signature.name == "cls-multiclass" else 3, dtype=np.int64)


@lru_cache(maxsize=64)
def _evaluator(kind: GridKind, fine: bool, dtype: torch.dtype, device: str) -> TableEvaluator:
    return TableEvaluator(probe_grid(kind, fine, dtype, device))


def _faults_of_variables(signature: Signature) -> NDArray[np.int64]:
    """The fault that is proved by which variables are read, for each bit mask of variables."""
    return _fault_table(signature.name, tuple(signature.variables))


@lru_cache(maxsize=16)
def _fault_table(branch: str, names: tuple[str, ...]) -> NDArray[np.int64]:
    out = np.zeros(1 << len(names), dtype=np.int64)
    for mask in range(len(out)):
        read = {name for place, name in enumerate(names) if mask >> place & 1}
        if branch == "reg":
            if "I" not in read or not read & {"U", "E"}:
                out[mask] = Fault.IGNORES_INTERSECTION
        elif "X" not in read:
            out[mask] = Fault.IGNORES_LOGIT
        elif not read & {"PY", "NY", "Q", "Y"}:
            out[mask] = Fault.IGNORES_TARGET
    return out


def fingerprint(graph: LossGraph) -> str:
    """Digest of the loss's rounded gradients on its branch's probe grid, 32 hex digits.

    Losses that differ by a constant or by the order of operands have the same; a loss and a multiple of it do
    not.
    """
    table = table_of_graph(graph)
    kind = _KINDS[_kinds(table, np.zeros(1, dtype=np.int64))[0]]
    if not table.moves[table.root[0]]:
        return digest_of_slopes(torch.zeros(1, dtype=torch.float64), "constant")
    _, slope = _evaluator(kind, True, torch.float64, "cpu").run(table)
    return digest_of_slopes(slope[0], kind)
