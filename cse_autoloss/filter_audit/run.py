"""Trains a random sample of what a run's filters threw away, and counts how many would have been good.

Data, schedule, seed, partner loss and settings are the run's own. Scores go to the run's store under the purpose
"filter-audit", so that an audit can be killed and begun again: what was trained is not trained twice.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from cse_autoloss.bench.budget import Cost, RunSize
from cse_autoloss.bench.jobs import Training
from cse_autoloss.bench.progress import Clock, Observer, RunStatus, Silent
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import SEEDS_OF_SEARCH, Session
from cse_autoloss.bench.stored import stored_config
from cse_autoloss.errors import ConfigError, RunError, WorkersLost
from cse_autoloss.filter_audit.estimate import Draw, rate
from cse_autoloss.filter_audit.result import FilterAudit, Hit, Row
from cse_autoloss.filter_audit.sample import Group, Pick, draw_groups, survivors, trained_formula
from cse_autoloss.graph import parse_formula
from cse_autoloss.runs import Candidate, RunStore, Score, write_whole
from cse_autoloss.searches.protocol import SearchState
from cse_autoloss.settings.load import SearchConfig
from cse_autoloss.verification import fingerprint

STAGES = ("verify", "simulate")
SURVIVORS = 40
"""Survivors that the median is taken of; a search may have stopped some early, and those are trained here."""
FILE = "filter_audit.json"
PURPOSE: Final = "filter-audit"


@dataclass(frozen=True)
class FilterAuditOptions:
    """What is audited, and how thoroughly.

    Attributes:
        stages: filters to audit.
        count: candidates drawn of verification's rejections of either source, bred and random, and five times as many
            as of the simulation's. 300 without a hit show a share below 1 % with 95 % confidence.
        seed: of the draws.
        workers: trainings side by side; None for the run's setting.
        confirm: further seeds that hits are trained with.
        confidence: of intervals.
    """

    stages: tuple[str, ...] = STAGES
    count: int = 300
    seed: int = 0
    workers: int | None = None
    confirm: int = 0
    confidence: float = 0.95


def audit_filters(
    directory: Path,
    options: FilterAuditOptions = FilterAuditOptions(),
    observer: Observer | None = None,
    code: Collection[str] = (),
) -> FilterAudit:
    """Audit the filters of the run in `directory`, and write the result into it.

    Args:
        directory: of the run.
        options: what is audited, and how thoroughly.
        observer: who watches.
        code: each FILE.py:NAME that the run was made with and that you let it run again.

    Raises:
        RunError: there is no run, another process has it open, or it has nothing to audit.
        ConfigError: an option is out of its range.
    """
    if options.count < 1 or options.confirm < 0:
        raise ConfigError(f"audit: expected --count of 1 at least, got {options.count}")
    with RunStore.open(directory) as store:
        config = stored_config(store, code)
        if store.load_state() is None:
            raise RunError(
                f"{directory}: no generation of a search is done in it, so there is nothing to audit"
            )
        rejected, funnel = store.rejected(), store.funnel()
        if not rejected and funnel["generated"] - funnel["duplicates"] <= funnel["verified"]:
            raise RunError(f"{directory}: its filters rejected nothing, so there is nothing to audit")
        if "verify" in options.stages and not any(one.candidates for one in rejected):
            raise RunError(
                f"{directory}: the run kept no sample of what verification rejected: it is from an older version"
            )
        result = _Audit(store, config, options, observer or Silent()).complete()
        text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n"
        write_whole(directory / FILE, text)
    return result


class _Bench(Workbench):
    """A workbench that leaves the run's clock alone: an audit's time is not the search's."""

    def keep_clock(self) -> None:
        """Does nothing."""


class _Audit:
    """The parts of an audit share its store, sample and settings."""

    def __init__(
        self, store: RunStore, config: SearchConfig, options: FilterAuditOptions, observer: Observer
    ) -> None:
        self.store, self.options, self.observer = store, options, observer
        self.session = Session(config)
        self.slots = self.session.task.slots
        size = store.typed_meta("size", RunSize)
        if size is None:
            raise RunError(f"{store.directory}: run.sqlite is damaged: it does not tell the run's size")
        self.size = size
        kept = store.load_state()
        assert kept is not None
        with store.understood("the search's state"):
            self.state = SearchState.from_json(kept[1]["state"])
        self.groups = draw_groups(store, options.stages, options.count, options.seed)
        self.searched = tuple(self.state.populations)
        self.survivors = {slot: survivors(store, slot, SURVIVORS, options.seed) for slot in self.searched}

    def complete(self) -> FilterAudit:
        picks = [pick for group in self.groups for pick in group.picks]
        passed = [candidate for found in self.survivors.values() for candidate in found]
        first = [self._training(candidate) for candidate in passed]
        # In random order, so that an interruption leaves a random sample too.
        order = np.random.default_rng([self.options.seed, len(picks)]).permutation(len(picks))
        first += [self._training(picks[place].candidate) for place in order]
        complete, again = True, dict[str, Score]()
        with self.session.executor(workers=self.options.workers) as executor:
            status = RunStatus(phase="filter audit", metric=self.session.metric)
            bench = _Bench(executor, self.store, Clock(None), status, self.observer)
            try:
                scores = bench.train(first, self._limit())
                medians = self._medians(scores)
                hits = [pick for pick in picks if self._is_hit(pick, scores, medians)]
                again = bench.train(self._further(hits), self._limit())
            except (KeyboardInterrupt, WorkersLost):
                executor.cancel()
                complete = False
        found = {t.key: score for t in first if (score := self.store.score(t.key)) is not None}
        return self._result(found, again, complete)

    # -- trainings ------------------------------------------------------------------------------------

    def _training(self, candidate: Candidate, further: int = 0) -> Training:
        """As the search would have trained the candidate, with the first seed or a further one."""
        slot, session = candidate.slot, self.session
        formula = trained_formula(candidate.formula, self.slots[slot])
        losses = session.beside(slot, formula, self.state.partners.get(slot))
        seed = session.first_seed(SEEDS_OF_SEARCH) + further
        limit = session.train_limit(self.size, self.store)
        return Training(PURPOSE, losses, seed, self.size.epochs, "val", limit, session.digest)

    def _further(self, hits: Sequence[Pick]) -> list[Training]:
        return [self._training(p.candidate, 1 + i) for p in hits for i in range(self.options.confirm)]

    def _limit(self) -> float:
        kept = self.store.typed_meta("cost", Cost)
        usual = kept.training(self.size.epochs, self.size.share) if kept else 10.0
        return max(60.0, self.session.config.proxy.limit_factor * usual)

    # -- figures --------------------------------------------------------------------------------------

    def _medians(self, scores: Mapping[str, Score]) -> dict[str, float]:
        """Worths of the survivors; one whose training failed counts as the worst, for it had passed both filters."""
        found = {}
        for slot, candidates in self.survivors.items():
            own = [s for c in candidates if (s := scores.get(self._training(c).key)) is not None]
            if own:
                found[slot] = median(self._worth(score) for score in own)
        return found

    def _is_hit(self, pick: Pick, scores: Mapping[str, Score], medians: Mapping[str, float]) -> bool:
        score = scores.get(self._training(pick.candidate).key)
        middle = medians.get(pick.candidate.slot)
        return bool(
            score is not None and score.metrics and middle is not None and self._worth(score) > middle
        )

    def _worth(self, score: Score) -> float:
        return self.session.metric.worth(score.metrics)

    def _result(self, scores: Mapping[str, Score], again: Mapping[str, Score], complete: bool) -> FilterAudit:
        medians = self._medians(scores)
        rows: list[Row] = []
        hits: list[Hit] = []
        for stage in self.options.stages:
            of_stage = [group for group in self.groups if group.stage == stage]
            tried = {
                group: [p for p in group.picks if self._training(p.candidate).key in scores]
                for group in of_stage
            }
            found = {
                group: [p for p in picks if self._is_hit(p, scores, medians)]
                for group, picks in tried.items()
            }
            for group in of_stage:
                rows.append(self._row(stage, group.source, [group], tried, found, scores))
                hits += [self._hit(p, scores, again, medians) for p in found[group]]
            rows.append(self._row(stage, "all", of_stage, tried, found, scores))
        counts = {
            slot: sum(self._training(c).key in scores for c in candidates)
            for slot, candidates in self.survivors.items()
        }
        return FilterAudit(
            tuple(rows), medians, counts, tuple(sorted(hits, key=lambda h: -h.worth)), self.options.confidence,
            self._schedule(), self.session.metric, complete, self._notes(complete, medians),
        )  # fmt: skip

    def _row(
        self,
        stage: str,
        source: str,
        groups: Sequence[Group],
        tried: Mapping[Group, Sequence[Pick]],
        found: Mapping[Group, Sequence[Pick]],
        scores: Mapping[str, Score],
    ) -> Row:
        draws = []
        for group in groups:
            # Each group's draws stand for all that it rejected, however few of them an interruption left.
            drawn = sum(pick.weight for pick in tried[group])
            hits = {id(pick) for pick in found[group]}
            draws += [Draw(p.weight * group.rejected / drawn, id(p) in hits) for p in tried[group]]
        keys = [self._training(pick.candidate).key for group in groups for pick in tried[group]]
        failed = sum(scores[key].status != "ok" for key in keys)
        rejected = sum(group.rejected for group in groups)
        return Row(stage, source, rejected, len(set(keys)), failed, rate(draws, self.options.confidence))

    def _hit(
        self,
        pick: Pick,
        scores: Mapping[str, Score],
        again: Mapping[str, Score],
        medians: Mapping[str, float],
    ) -> Hit:
        candidate = pick.candidate
        verdict = self.store.verdicts(candidate.id)[pick.stage]
        worth, middle = self._worth(scores[self._training(candidate).key]), medians[candidate.slot]
        further = [again.get(t.key) for t in self._further([pick])]
        worths = tuple(self._worth(score) for score in further if score is not None)
        hit = Hit(
            candidate.slot, candidate.formula, pick.stage, pick.source, verdict.code, verdict.reason, worth, middle,
            pick.weight, self._same_as(candidate), worths,
        )  # fmt: skip
        return replace(hit, confirmed=sum(worths) / len(worths) > middle) if worths else hit

    def _same_as(self, candidate: Candidate) -> str:
        """Formula of the candidate with the same gradients that went to the simulation, other than itself."""
        mark = fingerprint(parse_formula(candidate.formula, self.slots[candidate.slot]))
        owner = self.store.fingerprint_owner(candidate.slot, mark)
        return "" if owner in (None, candidate.id) else self.store.candidate(owner).formula

    def _schedule(self) -> str:
        share = self.size.share
        part = "" if share >= 1 else f" on {share:.0%} of the data"
        settings = "".join(f", {n.replace('_', ' ')} {v:g}" for n, v in self.session.defaults.items())
        return (
            f"Trained as in the search: {self.size.epochs:g} epochs{part}{settings}, "
            "the same first seed, scored on validation."
        )

    def _notes(self, complete: bool, medians: Mapping[str, float]) -> tuple[str, ...]:
        notes = (
            []
            if complete
            else ["interrupted: only what was trained by then is counted; run it again to go on"]
        )
        notes += [
            f"no survivor of {s}, so nothing can beat their median" for s in self.searched if s not in medians
        ]
        return tuple(notes)
