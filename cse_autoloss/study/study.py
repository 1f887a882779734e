"""`Study`: the search for a loss around anything that can be trained and scored.

The same funnel, searches, store and audit as a run's, without a task: what a candidate is worth is told, by hand
(`ask`, `tell`) or by a function (`optimize`). Everything that it knows is in its run directory after each call, so
that it can be killed at any moment and gone on with by the same lines.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
import weakref
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cse_autoloss.bench.progress import Clock, RunStatus, Silent
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.discovery.funnel import Entrant, Funnel, GenerationRecord
from cse_autoloss.errors import ConfigError, RunError, shorten
from cse_autoloss.graph import Signature
from cse_autoloss.report.about import keep_about
from cse_autoloss.report.page import PageWriter, shown
from cse_autoloss.report.write import finite
from cse_autoloss.runs import Score, job_key
from cse_autoloss.searches.protocol import Member, slot_of
from cse_autoloss.searches.registry import make_search
from cse_autoloss.settings.durations import parse_duration
from cse_autoloss.settings.load import load_config
from cse_autoloss.settings.schema import SearchConfig
from cse_autoloss.study.audit import StudyAudit, audited
from cse_autoloss.study.candidate import Candidate, Found
from cse_autoloss.study.functions import (
    INSIDE,
    Apart,
    Caller,
    Function,
    Here,
    Outcome,
    Request,
    counted,
    failed,
    judged,
)
from cse_autoloss.study.opening import StudySettings, handcrafted, opened, understood
from cse_autoloss.study.standing import Standing
from cse_autoloss.tasks.protocol import Metric

ROUNDS = 50
"""Batches that are bred for a generation before it is given up that any has the properties."""


class Study:
    """Proposes verified losses, and learns from what they are worth.

    Attributes:
        directory: the run directory.
        slots: slot -> signature.
        metric: the value that is told, as reports print it.
    """

    def __init__(
        self,
        signature: Signature | str | Mapping[str, Signature | str],
        *,
        direction: Literal["maximize", "minimize"] = "maximize",
        directory: str | Path | None = None,
        seed: int = 0,
        search: str = "evolution",
        defaults: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Start a study, or go on with the one in `directory`.

        Args:
            signature: what the loss reads: "cls-binary", "cls-multiclass", "reg" or a `Signature` of your own; of
                several losses that are trained together, slot -> signature.
            direction: whether values that are told are better when they are higher or lower.
            directory: kept there; None is a temporary one.
            seed: the same seed and values give the same candidates.
            search: "evolution", "random", "reinforce", "cma", or "FILE.py:NAME".
            defaults: slot -> loss that stands there while another slot is searched; by default the signature's.
            settings: of the search, by dotted key, as `{"evolution.population": 20}`.

        Raises:
            ConfigError: a setting or signature that can't be.
            RunError: the directory holds another study, or another process has it open.
        """
        if os.environ.get(INSIDE):
            raise ConfigError(
                "a worker came upon a study while it ran the script to find the training function: "
                'put the lines that start the study below `if __name__ == "__main__":`'
            )
        self.slots = understood(signature, defaults, settings, directory)
        stated = {slot: one.to_dict() for slot, one in self.slots.items()}
        own = {"own.direction": direction, "own.slots": stated}
        self._config = load_config(
            None,
            {
                "task": "study",
                "seed": seed,
                "search": search,
                "generations": 1_000_000,
                **own,
                **(settings or {}),
            },
            lambda task: StudySettings,
        )
        self.metric = Metric("value", direction == "maximize", factor=1.0, digits=4, worst=_worst(direction))
        self.directory = Path(
            tempfile.mkdtemp(prefix="cse-autoloss-") if directory is None else str(directory)
        )
        # A study that is dropped without `close` takes its temporary directory along, without a word.
        self._temporary = weakref.finalize(self, _removed, self.directory) if directory is None else None
        try:
            self._store = opened(self.directory, self._config)
        except BaseException:
            if self._temporary is not None:
                self._temporary()
            raise
        self._pages = PageWriter(self._store, Silent())
        try:
            self._begin(defaults or {})
        except BaseException:
            self.close()
            raise

    def _begin(self, defaults: Mapping[str, str]) -> None:
        """Search, funnel and state, from the settings and from what the store has."""
        self._plain = {slot: defaults.get(slot, one.default) for slot, one in self.slots.items()}
        known = self._config.evolution.handcrafted_seeds
        self._starters = {slot: handcrafted(one, known) for slot, one in self.slots.items()}
        graphs = {
            slot: [e.proposal.graph for e in entrants if e.proposal.graph is not None]
            for slot, entrants in self._starters.items()
        }
        self._search = make_search(self._config, self.slots, graphs)
        watcher = Silent() if self._temporary else self._pages
        status = RunStatus(phase="search", metric=self.metric)
        self._bench = Workbench(None, self._store, Clock(None), status, watcher)  # type: ignore[arg-type]
        keep_about(self._store, "study", "study", self.slots, tuple(self.slots), self.metric, self._plain)
        self._funnel = Funnel(
            self._bench,
            self._search.slots,
            self._config.looking,
            None,
            None,
            self._config.evolution.operators,
        )
        self._at = Standing(self._search.init())
        self._again: list[Candidate] = []
        self._restore()

    # -- by hand --------------------------------------------------------------------------------------

    def ask(self, count: int = 1) -> list[Candidate]:
        """Candidates to train with: verified, and unlike all before them.

        Those that were asked for before an interruption, and were told nothing of, come again first.

        Raises:
            RunError: the search finds none that has the properties any more.
        """
        counted(count, "ask")
        found: list[Candidate] = []
        while len(found) < count:
            if self._again:
                found.append(self._again.pop(0))
                continue
            if not self._at.pool:
                self._breed()
            issued = self._issue(self._at.pool.pop(0))
            if issued is not None:
                found.append(issued)
        return found

    def tell(self, candidate: Candidate, value: float) -> None:
        """What training with the candidate came to; anything but a finite number is kept as a failure."""
        if not isinstance(candidate, Candidate):
            raise ConfigError(f"tell: expected a candidate that `ask` gave, got {shorten(repr(candidate))}")
        self._record(candidate, judged(value))

    def _record(self, candidate: Candidate, outcome: Outcome) -> None:
        if candidate.number not in self._at.open:
            raise ConfigError(f"candidate {candidate.number}: no value is awaited of it; it was told already")
        self._again = [one for one in self._again if one.number != candidate.number]
        sound = outcome.value is not None
        steps = dict(outcome.steps) or candidate.steps
        score = Score(
            key=job_key(study=candidate.number, losses=dict(candidate.texts)),
            purpose="proxy",
            losses=dict(candidate.texts),
            split="val",
            seed=candidate.number,
            epochs=0.0,
            status=outcome.status,
            metrics={"value": float(outcome.value)} if outcome.value is not None else {},
            detail=outcome.detail,
            seconds=outcome.seconds,
            candidate=candidate.number,
            extra={"steps": [[step, value] for step, value in steps.items() if math.isfinite(value)]},
        )
        row = self._store.candidate(candidate.number)
        del self._at.open[candidate.number]
        self._at.closed += 1
        if sound:
            worth = self.metric.worth(score.metrics)
            name = self._names.get((candidate.slot, row.digest), "")
            self._at.told.append(
                Member(candidate.formula, row.digest, candidate.origin, row.generation, (worth,), name)
            )
        with self._store.transaction():
            self._store.add_score(score)
            self._bench.status.funnel["trained"] += sound
            if self._at.closed >= (self._search.samples or self._config.evolution.offspring):
                self._at.next_generation(self._search.tell(self._at.state, tuple(self._at.told)))
                self._store.fold()
            self._keep()
        self._bench.show()

    def _failed(self, candidate: Candidate, why: object) -> None:
        self._record(candidate, failed(why))

    # -- driven by us ---------------------------------------------------------------------------------

    def optimize(
        self,
        fit: Function,
        *,
        budget: str | float | None = None,
        trials: int | None = None,
        workers: int = 0,
        limit: str | float | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Found | None:
        """Ask, call `fit`, tell, until the budget or the number of trials is used up, or Ctrl-C.

        Args:
            fit: called with a candidate's loss (of several slots: slot -> loss), gives the value. If it has a parameter
                `trial`, it may report values on the way and ask whether it should stop.
            budget: wall time, as "20m".
            trials: calls; None for as many as the budget holds.
            workers: processes that call it side by side, where a call that hangs or crashes harms nobody; 0 calls it in
                this process. The same candidates come, in the same order, whatever the number.
            limit: wall time of one call in a worker. By default ten times the longest that gave a value so far, and at
                least a minute (of a budget, a tenth at most); before any gave one, half of the budget.
            say: is told a line after each generation.

        Returns:
            The best so far.

        Raises:
            ConfigError: neither a budget nor a number of trials, or a function that workers can't load.
        """
        if budget is None and trials is None:
            raise ConfigError("optimize: give a budget, as budget='20m', or a number of trials")
        if trials is not None:
            counted(trials, "optimize: trials")
        counted(workers, "optimize: workers", 0)
        if not callable(fit):
            raise ConfigError(f"optimize: expected a training function, got {shorten(repr(fit))}")
        held = None if budget is None else parse_duration(budget)
        until = None if held is None else time.monotonic() + held
        seconds = None if limit is None else parse_duration(limit)
        longest = max((one.seconds for one in self._store.scores("proxy", status="ok")), default=0.0) or None
        caller: Caller = (
            Apart(fit, self.slots, workers=workers, limit=seconds, budget=held, longest=longest)
            if workers
            else Here(fit, self.slots)
        )
        done = 0
        try:
            while (trials is None or done < trials) and (until is None or time.monotonic() < until):
                size = self._search.samples or self._config.evolution.offspring
                left = (
                    size - self._at.closed if trials is None else min(size - self._at.closed, trials - done)
                )
                done += self._batch(caller, max(1, left), until)
                if say is not None and self._found() is not None:
                    say(f"generation {self._at.state.generation}: {len(self)} told, best {self.best.value:g}")
        except KeyboardInterrupt:
            if say is not None:
                say(f"interrupted; the same lines go on with it in {self.directory}")
        finally:
            if isinstance(caller, Apart):
                caller.close()
        return self._found()

    def _batch(self, caller: Caller, count: int, until: float | None) -> int:
        """A batch of candidates, told in the order in which they were asked for; how many were told."""
        candidates = {f"candidate {one.number}": one for one in self.ask(count)}
        others = self._steps()
        requests = [
            Request(key, one.texts, others=others, higher=self.metric.higher)
            for key, one in candidates.items()
        ]
        outcomes: dict[str, Outcome] = {}
        try:
            for key, outcome in caller.run(requests):
                outcomes[key] = outcome
                if until is not None and time.monotonic() > until:
                    break
        finally:
            for key, candidate in candidates.items():
                if key in outcomes:
                    self._record(candidate, outcomes[key])
                else:
                    self._again.append(candidate)
        return len(outcomes)

    def _steps(self) -> dict[int, list[float]]:
        """Step -> what candidates reported there."""
        found: dict[int, list[float]] = {}
        for score in self._store.scores("proxy"):
            for step, value in score.extra.get("steps", ()):
                found.setdefault(int(step), []).append(value)
        return found

    def audit(
        self,
        fit: Function,
        *,
        against: Sequence[str] = (),
        seeds: int = 10,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        tuning: int = 16,
        validate: Function | None = None,
        workers: int = 0,
    ) -> StudyAudit:
        """Is the best loss better than those people use, on data that the search never saw?

        Args:
            fit: called `fit(loss, seed=…, **settings)`, gives the value on test data.
            against: names or formulas; of several slots one of each with + between them. The signature's default takes
                part in any case.
            seeds: trainings of each, with the same seeds for all.
            ranges: settings that are tuned for all alike, least and greatest value, as {"lr": (0.01, 0.1)}, by
                `validate`; so are the inner parameters of catalogue losses. First comes the geometric mean.
            tuning: trainings of each that tune.
            validate: called as `fit`, gives the value on validation data.
            workers: as of `optimize`.

        Returns:
            Table, gain with its interval, and the verdict in words; print it.
        """
        found = audited(
            self,
            self._store,
            fit,
            against=against,
            seeds=seeds,
            ranges=ranges,
            tuning=tuning,
            validate=validate,
            workers=workers,
        )
        self._store.set_meta("summary", finite(found.result.to_dict()))
        self._write_page()
        return found

    # -- what is known --------------------------------------------------------------------------------

    @property
    def best(self) -> Found:
        """The best that was told; RunError while there is none."""
        found = self._found()
        if found is None:
            raise RunError(f"{self.directory}: nothing was told yet that has a value")
        return found

    def _found(self) -> Found | None:
        scores = self._store.scores("proxy", status="ok")
        if not scores:
            return None
        score = max(scores, key=lambda one: self.metric.worth(one.metrics))
        number = score.candidate if score.candidate is not None else -1
        return Found(number, score.metrics["value"], score.losses, self.slots)

    @property
    def scores(self) -> list[Score]:
        """Everything that was told, failures included, in order."""
        return self._store.scores("proxy")

    @property
    def config(self) -> SearchConfig:
        """Settings of the search."""
        return self._config

    @property
    def plain(self) -> Mapping[str, str]:
        """Slot -> the loss that stands for it."""
        return self._plain

    def _repr_html_(self) -> str:
        """The study's page, as a notebook shows it."""
        return shown(self._store)

    def __len__(self) -> int:
        """How many candidates were told."""
        return len(self._store.scores("proxy"))

    def close(self) -> None:
        """Write the page, let others open the directory; a temporary one goes."""
        self._write_page()
        self._store.close()
        if self._temporary is not None:
            self._temporary()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- inside ---------------------------------------------------------------------------------------

    def _write_page(self) -> None:
        if self._temporary is None and len(self):
            self._pages.finish()

    @property
    def _names(self) -> dict[tuple[str, str], str]:
        return {(s, e.proposal.digest): e.name for s, found in self._starters.items() for e in found}

    def _breed(self) -> None:
        """Fill the pool with candidates of the generation that have the properties and are new."""
        search, rates, state = self._search, self._config.evolution, self._at.state
        slot = slot_of(search.slots, state.generation)
        status = self._bench.status
        status.slot, status.generation = slot, state.generation
        number = zlib.crc32(f"{self._config.seed}:{self.slots[slot].name}:{state.generation}".encode())
        rng = np.random.default_rng([number, self._at.attempt])
        for _ in range(ROUNDS):
            record, entrants = GenerationRecord(), list[Entrant]()
            if self._at.attempt == 0 and search.expressions and not state.populations[slot]:
                entrants += self._starters[slot]
            if search.expressions and rates.scouts:
                places = max(1, round(rates.random_fraction * rates.offspring))
                self._at.pool += self._funnel.scout(slot, rates.scouts, rng, record)[:places]
            asked = search.ask(state, self._at.attempt, search.samples or rates.batch)
            entrants += [Entrant(proposal) for proposal in asked]
            self._at.attempt += 1
            self._at.pool = self._funnel.verify(entrants, slot, record) + self._at.pool
            if self._at.pool:
                return
            if not asked:
                break
        raise RunError(
            f"{self.directory}: no new loss with the properties of {self.slots[slot].name} was found in "
            f"{self._at.attempt} batches; other operators, walks or limits may admit some"
        )

    def _issue(self, entrant: Entrant) -> Candidate | None:
        """The entrant as a candidate; None where one with the same gradients was handed out before."""
        slot, proposal = self._bench.status.slot, entrant.proposal
        with self._store.transaction():
            if self._store.fingerprint_owner(slot, entrant.fingerprint) is not None:
                return None
            row = self._store.add_candidate(
                slot=slot,
                formula=proposal.formula,
                digest=proposal.digest,
                generation=self._at.state.generation,
                place=self._at.asked,
                origin=proposal.origin,
                parents=proposal.parents,
            )
            self._store.claim_fingerprint(slot, entrant.fingerprint, row.id)
            self._at.asked += 1
            made = self._candidate(row.id, slot, proposal.formula, proposal.origin)
            # In the same transaction: a process killed after it goes on with this candidate open.
            self._keep()
        return made

    def _candidate(self, number: int, slot: str, formula: str, origin: str) -> Candidate:
        texts = {**self._plain, **self._at.state.partners.get(slot, {}), slot: formula}
        made = Candidate(
            self._steps(), self.metric.higher, {}, number, slot, texts, self.slots, origin, self._failed
        )
        self._at.open[number] = made
        return made

    def _keep(self) -> None:
        """Write down where the study stands; inside the transaction of what led there."""
        status = self._bench.status
        self._store.set_meta("study", {**self._at.to_json(), "slot": status.slot, "counts": status.counts()})

    def _restore(self) -> None:
        """Go on from what the store has."""
        kept = self._store.meta("study")
        if kept is not None:
            with self._store.understood("the study's state"):
                self._bench.status.slot = kept["slot"]
                self._bench.status.restore(kept["counts"])
                read = self.slots[kept["slot"]] if self._search.expressions else None
                self._at = Standing.from_json(kept, read)
                for number, slot, origin, texts in kept["open"]:
                    candidate = self._candidate(number, slot, texts[slot], origin)
                    candidate.texts = texts
                    self._again.append(candidate)


def _removed(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _worst(direction: str) -> float:
    """What a failed training counts as in an audit: worse than anything."""
    return -1e9 if direction == "maximize" else 1e9
