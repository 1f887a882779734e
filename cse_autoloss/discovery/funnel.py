"""The funnel: verification, duplicates and simulation, each stage dearer than the one before."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.discovery.duplicates import KnownLosses
from cse_autoloss.discovery.reservoir import Reservoir
from cse_autoloss.discovery.simulating import CHUNK, simulating
from cse_autoloss.graph import Signature
from cse_autoloss.runs import Proposed
from cse_autoloss.searches.protocol import Proposal
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.random_expressions import Forest, RandomShape, random_forest
from cse_autoloss.verdict import Verdict
from cse_autoloss.verification import VerifySettings, verify_forest

KEPT_REJECTIONS = 100
"""Of the candidates of one source that verification stops in a generation, a uniform sample of so many is kept, with
their reasons, and with the number that it stands for. What the simulation stops is kept whole."""

SCOUT, RANDOM, BRED, SEED = "scout", "random", "bred", "seed"
"""Sources: drawn by the scouts; drawn among the bred ones; bred from parents; handcrafted or the user's own."""


@dataclass(frozen=True)
class Entrant:
    """A candidate on its way: the proposal, and the catalogue name if it is a handcrafted loss.

    Attributes:
        simulated: what the simulation gave it: the share of the default loss's score.
    """

    proposal: Proposal
    name: str = ""
    fingerprint: str = ""
    simulated: float = 0.0


Looked = tuple[Entrant, Verdict | None]
"""A candidate that verification has seen: with its fingerprint, or with the verdict that stopped it."""


@dataclass
class GenerationRecord:
    """What a generation's funnel decided, to be kept when the generation is done."""

    verdicts: list[tuple[Entrant, tuple[Verdict, ...]]] = field(default_factory=list)
    rejected: dict[str, Reservoir[tuple[Entrant, Verdict]]] = field(default_factory=dict)


class Funnel:
    """Sends candidates through the filters and counts what becomes of them."""

    def __init__(
        self,
        bench: Workbench,
        slots: Mapping[str, Signature],
        settings: VerifySettings,
        simulate_limit: float | None,
        alpha: float | None,
        operators: Sequence[str] | None = None,
    ) -> None:
        """
        Args:
            bench: whose workers simulate.
            slots: that are searched.
            settings: of the verification.
            simulate_limit: wall seconds after which a simulation is killed and the candidate rejected; None where the
                task has no simulation.
            alpha: α weighting of candidates of binary classification.
            operators: what scouts are drawn from, None for the paper's.
        """
        self._bench = bench
        self._slots = slots
        self._settings = settings
        self._limit = simulate_limit
        self._alpha = alpha
        self._operators = operators
        self._known = KnownLosses(bench.store)

    def scout(
        self, slot: str, count: int, rng: np.random.Generator, record: GenerationRecord
    ) -> list[Entrant]:
        """Draw random losses, a great many at a time, and keep those that have the properties and are new.

        About one in three thousand classification losses does, and one in two hundred box losses.
        """
        status, signature = self._bench.status, self._slots[slot]
        with self._bench.clock.stage("verify"):
            forest = random_forest(signature, count, rng, RandomShape(operators=self._operators))
            self._bench.look()
            report = verify_forest(forest, self._settings, marks=True)
            status.funnel["generated"] += count
            kinds = np.stack((report.fault, report.stage, report.coupled, report.curve))[:, report.fault > 0]
            rows = np.flatnonzero(report.fault > 0)
            _, first, numbers = np.unique(kinds, axis=1, return_index=True, return_counts=True)
            for row, number in zip(rows[first], numbers, strict=True):
                verdict = report.verdict(int(row))
                status.reject("verify", verdict.code, int(number))

            def rejected(place: int) -> tuple[Entrant, Verdict]:
                row = int(rows[place])
                return Entrant(Proposal.of(forest.graph(row), "random")), report.verdict(row)

            self._offer(record, SCOUT, len(rows), rejected)
            fresh: list[Entrant] = []
            seen: set[str] = set()
            for row, mark in sorted(report.marks.items()):
                if mark in seen or (slot, mark) in self._known:
                    status.funnel["duplicates"] += 1
                    continue
                seen.add(mark)
                status.funnel["verified"] += 1
                fresh.append(Entrant(Proposal.of(forest.graph(row), "random"), "", mark))
        return fresh

    def verify(self, entrants: Sequence[Entrant], slot: str, record: GenerationRecord) -> list[Entrant]:
        """Those that have the properties and are no duplicate of a loss that went further before.

        A parametric loss has them by the making of its space.
        """
        return self.admit(self.look(entrants), slot, record)

    def look(self, entrants: Sequence[Entrant]) -> list[Looked]:
        """What verification says of each."""
        graphs = [e.proposal.graph for e in entrants if e.proposal.graph is not None]
        if not graphs:
            return [(replace(entrant, fingerprint=entrant.proposal.digest), None) for entrant in entrants]
        with self._bench.clock.stage("verify"):
            report = verify_forest(Forest.of(graphs), self._settings, marks=True)
            return [
                (replace(entrant, fingerprint=report.marks[row]), None)
                if row in report.marks
                else (entrant, report.verdict(row))
                for row, entrant in enumerate(entrants)
            ]

    def admit(self, looked: Sequence[Looked], slot: str, record: GenerationRecord) -> list[Entrant]:
        """Of verified candidates those that passed and are new; all are counted."""
        status = self._bench.status
        status.funnel["generated"] += len(looked)
        fresh: list[Entrant] = []
        seen: set[str] = set()
        rejected: dict[str, list[tuple[Entrant, Verdict]]] = {}
        for entrant, verdict in looked:
            mark = entrant.fingerprint
            if verdict is not None:
                status.reject("verify", verdict.code)
                rejected.setdefault(_source(entrant), []).append((entrant, verdict))
            elif entrant.proposal.graph is not None and (mark in seen or (slot, mark) in self._known):
                status.funnel["duplicates"] += 1
            else:
                seen.add(mark)
                status.funnel["verified"] += 1
                fresh.append(entrant)
        for source, pairs in rejected.items():
            self._offer(record, source, len(pairs), pairs.__getitem__)
        return fresh

    def simulate(
        self, entrants: Sequence[Entrant], slot: str, wanted: int, record: GenerationRecord
    ) -> list[Entrant]:
        """The first `wanted` that the simulation accepts, in the order given, whatever order the workers end in.

        Without a simulation, and of parametric losses, these are the first `wanted`.
        """
        bench, limit = self._bench, self._limit
        if limit is None or any(entrant.proposal.graph is None for entrant in entrants):
            for entrant in entrants[: max(0, wanted)]:
                record.verdicts.append((entrant, (_VERIFIED,)))
                self._known.add(slot, entrant.fingerprint)
            return list(entrants[: max(0, wanted)])
        alpha = self._alpha if form_of(self._slots[slot]).weighted else None
        rest = list(entrants)
        accepted: list[Entrant] = []
        with bench.clock.stage("simulate"):
            while rest and len(accepted) < wanted and not bench.out_of_time:
                size = max(2 * (wanted - len(accepted)), CHUNK)
                group, rest = rest[:size], rest[size:]
                graphs = [e.proposal.graph for e in group if e.proposal.graph is not None]
                verdicts = bench.finish(bench.start(simulating(slot, graphs, alpha, limit)))
                for entrant, verdict in zip(group, verdicts, strict=True):
                    if verdict is None or len(accepted) >= wanted:
                        break
                    record.verdicts.append((entrant, (_VERIFIED, verdict)))
                    self._known.add(slot, entrant.fingerprint)
                    if verdict.accepted:
                        bench.status.funnel["simulated"] += 1
                        accepted.append(replace(entrant, simulated=verdict.figure or 0.0))
                    else:
                        bench.status.reject("simulate", verdict.code or verdict.reason)
                bench.show()
        return accepted

    def keep(self, record: GenerationRecord, slot: str, generation: int) -> dict[str, int]:
        """Write the generation's decisions to the store; candidates' ids by digest."""
        store = self._bench.store
        numbers: dict[str, int] = {}
        owners: dict[tuple[str, str], int] = {}
        sample: dict[str, list[int]] = {source: [] for source in record.rejected}
        entries = [(e, verdicts, "") for e, verdicts in record.verdicts]
        for source, reservoir in record.rejected.items():
            entries += [(e, (verdict,), source) for e, verdict in reservoir.items]
        proposals = [entrant.proposal for entrant, _, _ in entries]
        ids = store.add_generation(
            slot, generation, [Proposed(p.formula, p.digest, p.origin, p.parents) for p in proposals]
        )
        store.add_verdicts(
            (number, verdict) for number, (_, verdicts, _) in zip(ids, entries) for verdict in verdicts
        )
        for number, (entrant, _, source) in zip(ids, entries):
            if source:
                sample[source].append(number)
            if entrant.fingerprint:
                owners.setdefault((slot, entrant.fingerprint), number)
            numbers[entrant.proposal.digest] = number
        for source, reservoir in record.rejected.items():
            store.add_rejected(slot, generation, "verify", source, reservoir.population, sample[source])
        self._known.keep(owners)
        return numbers

    def _offer(
        self,
        record: GenerationRecord,
        source: str,
        count: int,
        make: Callable[[int], tuple[Entrant, Verdict]],
    ) -> None:
        """Offer `count` candidates that verification stopped to the generation's sample of that source."""
        if source not in record.rejected:
            status, seed = self._bench.status, self._bench.store.config.get("seed", 0)
            number = zlib.crc32(
                f"{seed}:{self._slots[status.slot].name}:{status.generation}:{source}".encode()
            )
            record.rejected[source] = Reservoir(KEPT_REJECTIONS, number)
        record.rejected[source].offer(count, make)


def _source(entrant: Entrant) -> str:
    origin = entrant.proposal.origin
    return origin if origin in (RANDOM, SEED) else BRED


_VERIFIED = Verdict("verify", True, "has every property")
