"""What a study is made of, as asking, telling and driving share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cse_autoloss.bench.progress import Clock, Observer, RunStatus
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.discovery.funnel import Entrant, Funnel
from cse_autoloss.errors import RunError
from cse_autoloss.graph import Signature
from cse_autoloss.report.about import keep_about
from cse_autoloss.runs import RunStore
from cse_autoloss.searches.protocol import Search
from cse_autoloss.searches.registry import make_search
from cse_autoloss.settings.schema import SearchConfig
from cse_autoloss.study.candidate import Found
from cse_autoloss.study.opening import handcrafted
from cse_autoloss.study.standing import Standing
from cse_autoloss.tasks.protocol import Metric


@dataclass
class Parts:
    """Everything that belongs to a study and to no single call.

    Attributes:
        directory: the run directory.
        config: settings of the search.
        slots: slot -> signature.
        metric: the value that is told.
        store: everything that is known.
        plain: slot -> loss that stands there while another slot is searched.
        starters: slot -> losses by hand that the first generation begins with.
        search: proposes losses.
        bench: store, status and who watches them.
        funnel: throws out what has not the properties.
        at: where the search stands.
    """

    directory: Path
    config: SearchConfig
    slots: Mapping[str, Signature]
    metric: Metric
    store: RunStore
    plain: Mapping[str, str]
    starters: Mapping[str, Sequence[Entrant]]
    search: Search
    bench: Workbench
    funnel: Funnel
    at: Standing

    @classmethod
    def of(
        cls,
        directory: Path,
        config: SearchConfig,
        slots: Mapping[str, Signature],
        metric: Metric,
        store: RunStore,
        watcher: Observer,
        defaults: Mapping[str, str],
    ) -> Parts:
        """Search and funnel from the settings, at the beginning; `asking.go_on` brings them to where the store is."""
        plain = {slot: defaults.get(slot, one.default) for slot, one in slots.items()}
        starters = {slot: handcrafted(one, config.evolution.handcrafted_seeds) for slot, one in slots.items()}
        graphs = {
            slot: [e.proposal.graph for e in entrants if e.proposal.graph is not None]
            for slot, entrants in starters.items()
        }
        search = make_search(config, slots, graphs)
        status = RunStatus(phase="search", metric=metric)
        bench = Workbench(None, store, Clock(None), status, watcher)  # type: ignore[arg-type]
        keep_about(store, "study", "study", slots, tuple(slots), metric, plain)
        funnel = Funnel(bench, search.slots, config.looking, None, None, config.evolution.operators)
        at = Standing(search.init())
        return cls(directory, config, slots, metric, store, plain, starters, search, bench, funnel, at)

    @property
    def size(self) -> int:
        """Candidates of a generation."""
        return self.search.samples or self.config.evolution.offspring

    @property
    def best(self) -> Found:
        """The best that was told; RunError while there is none."""
        found = self.found()
        if found is None:
            raise RunError(f"{self.directory}: nothing was told yet that has a value")
        return found

    def found(self) -> Found | None:
        """The best that was told; None while there is none."""
        scores = self.store.scores("proxy", status="ok")
        if not scores:
            return None
        score = max(scores, key=lambda one: self.metric.worth(one.metrics))
        number = score.candidate if score.candidate is not None else -1
        return Found(number, score.metrics["value"], score.losses, self.slots)

    def steps(self) -> dict[int, list[float]]:
        """Step -> what candidates reported there."""
        found: dict[int, list[float]] = {}
        for score in self.store.scores("proxy"):
            for step, value in score.extra.get("steps", ()):
                found.setdefault(int(step), []).append(value)
        return found

    def keep(self) -> None:
        """Write down where the study stands; inside the transaction of what led there."""
        status = self.bench.status
        self.store.set_meta("study", {**self.at.to_json(), "slot": status.slot, "counts": status.counts()})
