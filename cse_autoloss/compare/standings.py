"""Who stands where while trainings come in, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Sequence

from cse_autoloss.bench.audit import Contestant
from cse_autoloss.bench.jobs import Training
from cse_autoloss.bench.progress import Observer, RunStatus
from cse_autoloss.runs import RunStore


class Standings:
    """An observer before another one: fills in the status what the scores so far say.

    `status.best` is, by contestant, how many trainings it has in words and the figure to show: its best setting's while
    tuning, the mean afterwards. `status.budget` is when the comparison will be over, in seconds from its start.
    """

    def __init__(
        self,
        watcher: Observer,
        store: RunStore,
        contestants: Sequence[Contestant],
        trainings: Sequence[Training],
        later: float,
        workers: int,
        tuning: bool,
    ) -> None:
        """
        Args:
            watcher: sees the status next.
            store: holds the scores.
            contestants: all.
            trainings: of this phase, of all contestants.
            later: seconds of the phases to come.
            workers: trainings side by side.
            tuning: whether a contestant's trainings differ in settings and inner parameters.
        """
        self._watcher, self._store, self._later, self._workers = watcher, store, later, workers
        self._trainings = {
            one.name: [t for t in trainings if (one.owns(t.losses) if tuning else t.losses == one.losses)]
            for one in contestants
        }
        self._shown = -1

    def update(self, status: RunStatus) -> None:
        """Read the scores again when there is a new one."""
        if status.done != self._shown:
            self._shown = status.done
            self._read(status)
        self._watcher.update(status)

    def _read(self, status: RunStatus) -> None:
        status.best = {}
        seconds = []
        for name, trainings in self._trainings.items():
            kept = [score for t in trainings if (score := self._store.score(t.key)) is not None]
            assert status.metric is not None
            worths = [status.metric.worth(score.metrics) for score in kept]
            seconds += [score.seconds for score in kept]
            if worths:
                shown = max(worths) if status.phase == "tune" else sum(worths) / len(worths)
                status.best[name] = (f"{len(worths)} of {len(trainings)}", status.metric.figure(shown))
        if seconds:
            mean = sum(seconds[-50:]) / len(seconds[-50:])
            status.budget = status.elapsed + (status.total - status.done) * mean / self._workers + self._later
