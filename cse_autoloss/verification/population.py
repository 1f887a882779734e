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
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.curves import Look
from cse_autoloss.spaces.random_expressions import Forest
from cse_autoloss.verdict import Verdict
from cse_autoloss.verification.fingerprint import digest_of_slopes
from cse_autoloss.verification.grids import probe_grid, stages
from cse_autoloss.verification.judge import Fault, Findings, judge
from cse_autoloss.verification.node_table import NodeTable, make_table, table_of_graph
from cse_autoloss.verification.reasons import accepted, rejected, unread
from cse_autoloss.verification.table_evaluate import TableEvaluator, keep

BLOCK_NODES = 200_000
"""Nodes that are interned and evaluated together: 50 to 150 MB on the coarse grid, whatever the batch."""
FINE_ROOTS = 128
"""Candidates that are evaluated together on a fine grid."""


@dataclass
class PopulationReport:
    """What verification found, as arrays; verdicts in words are made when asked for.

    Attributes:
        signature: of the candidates.
        fault: (B,) `Fault`, 0 for the accepted.
        stage: (B,) index of the look that it was found on, -1 where the formula's variables were enough.
        coupled: (B,) 1 where the classes of a sample see each other.
        figure, curve, first, last: (B,) as in `Findings`; of inputs that are not read, `curve` is the need's number.
        marks: fingerprints of the accepted, by place in the batch.
        seconds: wall time of all.
        settings: that it was verified with.
    """

    signature: Signature
    fault: NDArray[np.int64]
    stage: NDArray[np.int64]
    coupled: NDArray[np.int64]
    figure: NDArray[np.float64]
    curve: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    marks: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0
    settings: VerifySettings = THRESHOLDS

    @classmethod
    def blank(cls, signature: Signature, count: int, settings: VerifySettings) -> PopulationReport:
        """A report of `count` accepted candidates."""
        integers = [np.zeros(count, dtype=np.int64) for _ in range(6)]
        fault, stage, coupled, curve, first, last = integers
        return cls(signature, fault, stage, coupled, np.zeros(count), curve, first, last, settings=settings)

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
            return accepted(self.signature, bool(self.coupled[row]), self.settings, seconds)
        if self.stage[row] < 0:
            return unread(self.signature, int(self.curve[row]), seconds)
        look, dtype = stages(self.signature, bool(self.coupled[row]), self.settings)[self.stage[row]]
        grid = probe_grid(self.signature, look, dtype)
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


def verify(graph: LossGraph, settings: VerifySettings = THRESHOLDS) -> Verdict:
    """Check one candidate.

    It is looked at on some 1,000 points, which `settings.seed` moves; between them it is not known.

    For classification, where w = 1: the loss falls as a logit moves towards the right answer, is flat for no
    kind of sample, and its gradient vanishes towards the right answer. Where 0.02 <= w < 1 a positive's loss
    may have one minimum instead, whose logit rises with w. Value and gradient are finite out to logits of
    ±100, in float64 and in float32. Losses that see all classes are looked at with 1, 10 and 80 of them too.

    For boxes with sides of `settings.pixels`: along motions onto the ground truth the loss never rises, falls
    while the two overlap, and is least where they coincide; its gradients by I, U and E are finite.

    For a user's signature: the same along its walks; see `spaces.walks`.

    Returns:
        A verdict whose `code` names the violated property, `where` the place, and `figure` the measured size.
    """
    started = time.perf_counter()
    names = tuple(graph.signature.variables)
    mask = sum(1 << names.index(name) for name in graph.variables)
    need = int(_unmet(graph.signature)[mask])
    if need >= 0:
        return unread(graph.signature, need, time.perf_counter() - started)
    report = PopulationReport.blank(graph.signature, 1, settings)
    _verify_table(table_of_graph(graph), report, np.zeros(1, dtype=np.int64), settings, marks=False)
    report.seconds = time.perf_counter() - started
    return report.verdict(0)


def verify_population(graphs: Sequence[LossGraph], settings: VerifySettings = THRESHOLDS) -> list[Verdict]:
    """A verdict for each candidate, in order: the same, to the letter, as `verify` gives."""
    verdicts: list[Verdict | None] = [None] * len(graphs)
    groups: dict[Signature, list[int]] = {}
    for place, graph in enumerate(graphs):
        groups.setdefault(graph.signature, []).append(place)
    for places in groups.values():
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
    report = PopulationReport.blank(forest.signature, len(forest), settings)
    unmet = _unmet(forest.signature)[forest.reads()]
    report.fault[:] = np.where(unmet >= 0, int(Fault.UNREAD), 0)
    report.curve[:] = np.maximum(unmet, 0)
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
    coupled = table.coupled[table.root[first]].astype(np.int64)
    for code in np.unique(coupled):
        left = first[coupled == code]
        report.coupled[rows[left]] = code
        for stage, (look, dtype) in enumerate(stages(table.signature, bool(code), settings)):
            evaluator = _evaluator(table.signature, look, dtype, device)
            survivors: list[NDArray[np.int64]] = []
            size = FINE_ROOTS if look.fine else max(len(left), 1)
            for begin in range(0, len(left), size):
                block = left[begin : begin + size]
                value, slope = evaluator.run(keep(table, table.root[block]))
                fair = report.put(rows[block], stage, judge(value, slope, evaluator.grid, settings))
                survivors.append(block[fair])
            left = np.concatenate(survivors) if survivors else left[:0]
        for begin in range(0, len(left) if marks else 0, FINE_ROOTS):
            block = left[begin : begin + FINE_ROOTS]
            found = _marks(keep(table, table.root[block]), bool(code))
            report.marks.update(zip(rows[block].tolist(), found, strict=True))
    if len(first) < len(rows):
        source = first[twin.reshape(-1)]
        for name in ("fault", "stage", "coupled", "figure", "curve", "first", "last"):
            array = getattr(report, name)
            array[rows] = array[rows[source]]
        for row, of in zip(rows.tolist(), rows[source].tolist(), strict=True) if report.marks else ():
            if of in report.marks:
                report.marks[row] = report.marks[of]


@lru_cache(maxsize=64)
def _evaluator(signature: Signature, look: Look, dtype: torch.dtype, device: str) -> TableEvaluator:
    return TableEvaluator(probe_grid(signature, look, dtype, device))


@lru_cache(maxsize=64)
def _marker(signature: Signature, coupled: bool) -> TableEvaluator:
    return TableEvaluator(form_of(signature).marks(coupled))


def _marks(table: NodeTable, coupled: bool) -> list[str]:
    """Fingerprints of a table's roots."""
    marker = _marker(table.signature, coupled)
    return [digest_of_slopes(row, marker.grid.name) for row in marker.run(table)[1]]


@lru_cache(maxsize=64)
def _unmet(signature: Signature) -> NDArray[np.int64]:
    """For each bit mask of inputs that are read, the number of the first need that they do not meet, or -1."""
    names = tuple(signature.variables)
    out = np.full(1 << len(names), -1, dtype=np.int64)
    for mask in range(len(out)):
        read = {name for place, name in enumerate(names) if mask >> place & 1}
        missed = (number for number, need in enumerate(form_of(signature).needs) if not need.names & read)
        out[mask] = next(missed, -1)
    return out


def fingerprint(graph: LossGraph) -> str:
    """Digest of the loss's rounded slopes at points that no filter looks at, 32 hex digits.

    Losses that differ by a constant or by the order of operands have the same; a loss and a multiple of it do
    not.
    """
    table = table_of_graph(graph)
    if not table.moves[table.root[0]]:
        return digest_of_slopes(torch.zeros(1, dtype=torch.float64), "constant")
    return _marks(table, bool(table.coupled[table.root[0]]))[0]
