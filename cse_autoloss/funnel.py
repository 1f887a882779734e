"""The funnel: verification, duplicates and simulation, each stage dearer than the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cse_autoloss.convergence import VerifySettings, fingerprint, verify_forest, verify_population
from cse_autoloss.evolution import Proposal
from cse_autoloss.executors import Job, JobResult
from cse_autoloss.graph import Signature
from cse_autoloss.jobs import simulation_payload
from cse_autoloss.spaces.random_expressions import random_forest
from cse_autoloss.verdict import Verdict
from cse_autoloss.workbench import Workbench

KEPT_REJECTIONS = 40
"""Of each generation, so many candidates that verification stopped are kept with their reason. All are counted."""


@dataclass(frozen=True)
class Entrant:
    """A candidate on its way: the proposal, and the catalogue name if it is a handcrafted loss."""

    proposal: Proposal
    name: str = ""
    fingerprint: str = ""


@dataclass
class GenerationRecord:
    """What a generation's funnel decided, to be kept when the generation is done."""

    verdicts: list[tuple[Entrant, tuple[Verdict, ...]]] = field(default_factory=list)
    rejected_sample: list[tuple[Entrant, Verdict]] = field(default_factory=list)


class Funnel:
    """Sends candidates through the filters and counts what becomes of them."""

    def __init__(
        self, bench: Workbench, settings: VerifySettings, simulate_limit: float, alpha: float | None
    ) -> None:
        """
        Args:
            bench: whose workers simulate.
            settings: of the verification.
            simulate_limit: wall seconds after which a simulation is killed and the candidate rejected.
            alpha: α weighting of candidates of the binary branch.
        """
        self._bench = bench
        self._settings = settings
        self._limit = simulate_limit
        self._alpha = alpha
        self._known: set[tuple[str, str]] = set()

    def scout(
        self, signature: Signature, count: int, rng: np.random.Generator, record: GenerationRecord
    ) -> list[Entrant]:
        """Draw random losses, a great many at a time, and keep those that have the properties and are new.

        About one in three thousand classification losses does, and one in two hundred box losses.
        """
        status, branch = self._bench.status, signature.name
        with self._bench.clock.stage("verify"):
            forest = random_forest(signature, count, rng)
            report = verify_forest(forest, self._settings, marks=True)
            status.funnel["generated"] += count
            kinds = np.stack((report.fault, report.stage, report.kind, report.curve))[:, report.fault > 0]
            rows = np.flatnonzero(report.fault > 0)
            _, first, numbers = np.unique(kinds, axis=1, return_index=True, return_counts=True)
            for row, number in zip(rows[first], numbers, strict=True):
                verdict = report.verdict(int(row))
                status.reject("verify", verdict.code, int(number))
                if len(record.rejected_sample) < KEPT_REJECTIONS // 2:
                    record.rejected_sample.append(
                        (Entrant(Proposal(forest.graph(int(row)), "random")), verdict)
                    )
            fresh: list[Entrant] = []
            seen: set[str] = set()
            for row, mark in sorted(report.marks.items()):
                if mark in seen or self._is_known(branch, mark):
                    status.funnel["duplicates"] += 1
                    continue
                seen.add(mark)
                status.funnel["verified"] += 1
                fresh.append(Entrant(Proposal(forest.graph(row), "random"), "", mark))
        return fresh

    def verify(self, entrants: Sequence[Entrant], branch: str, record: GenerationRecord) -> list[Entrant]:
        """Those that have the properties and are no duplicate of a loss that went further before."""
        status = self._bench.status
        with self._bench.clock.stage("verify"):
            verdicts = verify_population([e.proposal.graph for e in entrants], self._settings)
            status.funnel["generated"] += len(entrants)
            fresh: list[Entrant] = []
            marks: set[str] = set()
            for entrant, verdict in zip(entrants, verdicts, strict=True):
                if not verdict.accepted:
                    status.reject("verify", verdict.code)
                    if len(record.rejected_sample) < KEPT_REJECTIONS:
                        record.rejected_sample.append((entrant, verdict))
                    continue
                mark = fingerprint(entrant.proposal.graph)
                if mark in marks or self._is_known(branch, mark):
                    status.funnel["duplicates"] += 1
                    continue
                marks.add(mark)
                status.funnel["verified"] += 1
                fresh.append(Entrant(entrant.proposal, entrant.name, mark))
        return fresh

    def simulate(
        self, entrants: Sequence[Entrant], branch: str, wanted: int, record: GenerationRecord
    ) -> list[Entrant]:
        """The first `wanted` that the simulation accepts, in the order given, whatever order the workers end in."""
        bench = self._bench
        rest = list(entrants)
        accepted: list[Entrant] = []
        with bench.clock.stage("simulate"):
            while rest and len(accepted) < wanted and not bench.out_of_time:
                size = max(2 * (wanted - len(accepted)), 8)
                group, rest = rest[:size], rest[size:]
                for entrant, verdict in zip(group, self._simulate_group(group, branch), strict=True):
                    if verdict is None or len(accepted) >= wanted:
                        break
                    record.verdicts.append((entrant, (_VERIFIED, verdict)))
                    self._known.add((branch, entrant.fingerprint))
                    if verdict.accepted:
                        bench.status.funnel["simulated"] += 1
                        accepted.append(entrant)
                    else:
                        bench.status.reject("simulate", verdict.code or verdict.reason)
                bench.show()
        return accepted

    def keep(self, record: GenerationRecord, branch: str, generation: int) -> dict[str, int]:
        """Write the generation's decisions to the store; candidates' ids by digest."""
        store = self._bench.store
        numbers: dict[str, int] = {}
        entries = [(e, verdicts) for e, verdicts in record.verdicts]
        entries += [(e, (verdict,)) for e, verdict in record.rejected_sample]
        for slot, (entrant, verdicts) in enumerate(entries):
            graph = entrant.proposal.graph
            candidate = store.add_candidate(
                branch=branch,
                formula=graph.formula,
                digest=graph.digest,
                generation=generation,
                slot=slot,
                origin=entrant.proposal.origin,
                parents=entrant.proposal.parents,
            )
            for verdict in verdicts:
                store.add_verdict(candidate.id, verdict)
            if entrant.fingerprint:
                store.claim_fingerprint(branch, entrant.fingerprint, candidate.id)
            numbers[graph.digest] = candidate.id
        return numbers

    def _is_known(self, branch: str, mark: str) -> bool:
        return (branch, mark) in self._known or self._bench.store.fingerprint_owner(branch, mark) is not None

    def _simulate_group(self, group: Sequence[Entrant], branch: str) -> list[Verdict | None]:
        alpha = self._alpha if branch == "cls-binary" else None
        jobs = [
            Job(
                f"simulate:{e.proposal.graph.digest}",
                simulation_payload(branch, e.proposal.graph.formula, alpha),
                self._limit,
            )
            for e in group
        ]
        results = self._bench.run(jobs)
        return [_verdict_of(results.get(job.key)) for job in jobs]


_VERIFIED = Verdict("verify", True, "has every property")


def _verdict_of(result: JobResult | None) -> Verdict | None:
    """The worker's verdict; a job that failed is a rejection, one that was cut off by the deadline is none."""
    if result is None:
        return None
    if result.status == "ok":
        return Verdict(**result.value)
    return Verdict("simulate", False, result.detail, seconds=result.seconds, code=result.status)
