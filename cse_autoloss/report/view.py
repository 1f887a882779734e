"""A run as its page sees it: read once from the store, whatever command made it, whether it goes on or has ended."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cse_autoloss.bench.statistics import Interval
from cse_autoloss.graph import Signature
from cse_autoloss.runs import Candidate, RunStore, Score
from cse_autoloss.searches.protocol import SearchState
from cse_autoloss.spaces.signatures import signature_from
from cse_autoloss.tasks.protocol import Metric


@dataclass(frozen=True)
class Standing:
    """One of the compared.

    Attributes:
        name: as it stands in tables.
        losses: by slot.
        found: whether the search found it.
        seeds: test figures, seed by seed.
        low, high: interval of their mean.
        val: figure on validation.
        settings: tuned.
        trainings: of its tuning.
        gain: interval of the best's gain over it, or of a comparison of its gain over the first; None of these.
        told_apart: whether that gain is beyond chance, corrected for the number of comparisons; None where nothing is
            claimed.
        corrected: whether the store tells gains; runs of earlier versions do not.
        inner: what the tuning chose inside formulas.
    """

    name: str
    losses: Mapping[str, str]
    found: bool
    seeds: tuple[float, ...]
    low: float | None
    high: float | None
    val: float | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    trainings: int = 0
    gain: Interval | None = None
    told_apart: bool | None = None
    corrected: bool = False
    inner: Mapping[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> float | None:
        """Over the seeds."""
        return sum(self.seeds) / len(self.seeds) if self.seeds else None


class RunView:
    """Reads a run.

    Attributes:
        store: open for reading at least.
        directory: of the run.
        about: what `keep_about` wrote.
        summary: as summary.json or comparison.json; empty while there is none.
        metric: that decides.
        slots: slot -> signature.
        searched: slots whose losses are looked for.
    """

    def __init__(self, store: RunStore, going_on: bool = False) -> None:
        """`going_on`: what an earlier end has left is not told."""
        self.store, self.directory, self._going_on = store, store.directory, going_on
        self.summary: dict[str, Any] = {} if going_on else store.meta("summary", {})
        self.about: dict[str, Any] = store.meta("about", {}) or self._earlier()
        told = self.about.get("metric", {"name": "score"})
        self.metric = Metric(**told)
        self.slots: dict[str, Signature] = {
            slot: signature_from(one) for slot, one in self.about.get("slots", {}).items()
        }
        self.searched: tuple[str, ...] = tuple(self.about.get("searched", self.slots))

    def _earlier(self) -> dict[str, Any]:
        """Of a run that did not keep what it is about, as far as its summary tells."""
        known = {key: self.summary[key] for key in ("task", "slots", "metric") if key in self.summary}
        return known | {"command": "compare" if "compare" in self.store.config else "evolve"}

    @property
    def command(self) -> str:
        """evolve, reinforce, compare or study."""
        return str(self.about.get("command", "evolve"))

    @property
    def title(self) -> str:
        """The run in a few words."""
        task = str(self.about.get("task", self.store.config.get("task", "")))
        return " · ".join(dict.fromkeys((self.command, task, self.directory.resolve().name)))

    @property
    def status(self) -> str:
        """running, interrupted or finished; a study, which never ends by itself, is open or audited."""
        if self.command == "study":
            return "audited" if self.summary else "open"
        return "running" if self._going_on else self.store.status

    @cached_property
    def config(self) -> dict[str, Any]:
        """Settings of the search, of a comparison too."""
        config = self.store.config
        return dict(config.get("compare", {}).get("search", config))

    @cached_property
    def state(self) -> SearchState:
        """Where the search stands; empty where it has not begun, or is of another kind."""
        kept = self.store.load_state()
        told = kept[1].get("state") if kept else (self.store.meta("study") or {}).get("state")
        return SearchState.from_json(told) if told and "populations" in told else SearchState()

    @cached_property
    def counts(self) -> dict[str, Any]:
        """Funnel and reasons of rejection."""
        if self.summary.get("funnel"):
            return {"funnel": self.summary["funnel"], "rejected": self.summary.get("rejected", {})}
        kept = self.store.load_state()
        found = kept[1].get("counts") if kept else (self.store.meta("study") or {}).get("counts")
        return found or {"funnel": {}, "rejected": {}}

    @cached_property
    def candidates(self) -> dict[tuple[str, str], Candidate]:
        """(slot, formula) -> the first candidate of it."""
        found: dict[tuple[str, str], Candidate] = {}
        for one in self.store.candidates():
            found.setdefault((one.slot, one.formula), one)
        return found

    @cached_property
    def by_digest(self) -> dict[tuple[str, str], Candidate]:
        """(slot, digest) -> the first candidate of it."""
        found: dict[tuple[str, str], Candidate] = {}
        for one in self.candidates.values():
            found.setdefault((one.slot, one.digest), one)
        return found

    @cached_property
    def scored(self) -> dict[tuple[str, str], list[Score]]:
        """(slot, formula) -> what its search trainings came to, each beside the slot's own partners."""
        plain, partners = self.about.get("plain", {}), self.state.partners
        beside = {slot: {**plain, **partners.get(slot, {})} for slot in self.searched}
        found: dict[tuple[str, str], list[Score]] = {}
        for score in self.store.scores("proxy", status="ok"):
            for slot in self.searched:
                others = {name: text for name, text in score.losses.items() if name != slot}
                if all(beside[slot].get(name, text) == text for name, text in others.items()):
                    found.setdefault((slot, score.losses.get(slot, "")), []).append(score)
        return found

    def figure(self, slot: str, formula: str) -> float | None:
        """Mean validation figure of a candidate's search trainings; None where it has none."""
        scores = [one.metrics[self.metric.name] for one in self.scored.get((slot, formula), ())]
        return sum(scores) / len(scores) if scores else None

    @cached_property
    def best(self) -> dict[str, str]:
        """Slot -> the found loss: the audit's, or of a run that goes on the best so far."""
        best = self.summary.get("best")
        if best and self.command != "study":
            searched = self.searched or best["losses"]
            return {slot: text for slot, text in best["losses"].items() if slot in searched}
        found = {}
        for slot in self.searched:
            known = {
                key: value
                for key in self.scored
                if key[0] == slot and (value := self.figure(*key)) is not None
            }
            if known:
                pick = max(known, key=lambda key: self.metric.figure(known[key]))
                found[slot] = pick[1]
        return found

    @cached_property
    def standings(self) -> Sequence[Standing]:
        """Everyone who was compared on test, best first."""
        name, rows = self.metric.name, []
        if "losses" in self.summary:
            rows = [
                _standing({**one, "test": one[name], "best_gain": one.get("difference", {}).get(name)}, False)
                for one in self.summary["losses"]
                if name in one
            ]
        for key, found in (("winners", True), ("baselines", False)):
            rows += [_standing(one, found) for one in self.summary.get(key, ()) if one.get("test")]
        toward = self.metric.figure(1.0)
        whole = [(toward * one.mean, one) for one in rows if one.mean is not None]
        return [one for _, one in sorted(whole, key=lambda pair: -pair[0])]

    @property
    def reference(self) -> Standing | None:
        """Whom the gains are of: the best of the found, or the first of a comparison."""
        named = (self.summary.get("best") or {}).get("losses")
        for one in self.standings:
            if one.found and dict(one.losses) == named:
                return one
        if self.summary.get("losses"):
            first = self.summary["losses"][0]["name"]
            return next((one for one in self.standings if one.name == first), None)
        return next((one for one in self.standings if one.found), None)

    def audited(self, one: Standing) -> list[Score]:
        """Its final trainings; of models trained side by side, two may have the same loss and settings."""
        names = {row["training"] for row in self.summary.get("by_seed", {}).get(one.name, ())}
        if names:
            return [score for score in self._finals if score.extra.get("training") in names]
        return [
            score
            for score in self._finals
            if dict(score.losses) == dict(one.losses) and dict(score.settings) == dict(one.settings)
        ]

    @cached_property
    def _finals(self) -> Sequence[Score]:
        return self.store.scores("audit", status="ok")

    @property
    def draws(self) -> int:
        """Of the data, among the seeds of the final trainings; 0 where all have the data of the settings."""
        told = self.summary.get("draws") or 0
        return int(told) if isinstance(told, int) else len({draw for draw in told if draw})

    @property
    def started(self) -> float:
        """Seconds since the epoch."""
        return float(self.store.meta("created", time.time()))

    @property
    def notes(self) -> list[str]:
        """What was shrunk, and what else the reader should know."""
        if "notes" in self.summary:
            return list(self.summary["notes"])
        return [str(event.detail.get("note", "")) for event in self.store.events("fitted")]

    def path(self, *names: str) -> Path:
        """Of a file in the run directory."""
        return self.directory.joinpath(*names)


def _standing(one: Mapping[str, Any], found: bool) -> Standing:
    test = one["test"]
    return Standing(
        one["name"], one["losses"], found, tuple(test["seeds"]), test["low"], test["high"], one.get("val"),
        one.get("settings", {}), one.get("trainings", 0), _interval(one.get("best_gain")),
        one.get("told_apart"), "told_apart" in one, one.get("inner", {}),
    )  # fmt: skip


def _interval(told: Mapping[str, float | None] | None) -> Interval | None:
    """From a summary, where bounds that are not known are null."""
    if not told or told["mean"] is None:
        return None
    low, high = told["low"], told["high"]
    return Interval(told["mean"], -math.inf if low is None else low, math.inf if high is None else high)
