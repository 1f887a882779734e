"""`Study`: the search for a loss around anything that can be trained and scored.

The same funnel, searches, store and audit as a run's, without a task: what a candidate is worth is told, by hand
(`ask`, `tell`) or by a function (`optimize`). Everything that it knows is in its run directory after each call, so
that it can be killed at any moment and gone on with by the same lines. This class is the face of it: `asking`,
`telling`, `driving` and `audit` do the work, on the `Parts` that they share.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cse_autoloss.bench.progress import Silent
from cse_autoloss.errors import ConfigError, shorten
from cse_autoloss.graph import Signature
from cse_autoloss.report.page import PageWriter, shown
from cse_autoloss.report.write import finite
from cse_autoloss.runs import Score
from cse_autoloss.settings.load import load_config
from cse_autoloss.settings.schema import SearchConfig
from cse_autoloss.study.asking import asked, go_on
from cse_autoloss.study.audit import StudyAudit, audited
from cse_autoloss.study.candidate import Candidate, Found
from cse_autoloss.study.driving import optimized
from cse_autoloss.study.functions import INSIDE, Function, counted, judged
from cse_autoloss.study.opening import StudySettings, opened, understood
from cse_autoloss.study.parts import Parts
from cse_autoloss.study.telling import record
from cse_autoloss.tasks.protocol import Metric


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
        config = load_config(
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
            self._store = opened(self.directory, config)
        except BaseException:
            if self._temporary is not None:
                self._temporary()
            raise
        self._pages = PageWriter(self._store, Silent())
        watcher = Silent() if self._temporary else self._pages
        try:
            self._parts = Parts.of(
                self.directory, config, self.slots, self.metric, self._store, watcher, defaults or {}
            )
            go_on(self._parts)
        except BaseException:
            self.close()
            raise

    # -- by hand --------------------------------------------------------------------------------------

    def ask(self, count: int = 1) -> list[Candidate]:
        """Candidates to train with: verified, and unlike all before them.

        Those that were asked for before an interruption, and were told nothing of, come again first.

        Raises:
            RunError: the search finds none that has the properties any more.
        """
        counted(count, "ask")
        return asked(self._parts, count)

    def tell(self, candidate: Candidate, value: float) -> None:
        """What training with the candidate came to; anything but a finite number is kept as a failure."""
        if not isinstance(candidate, Candidate):
            raise ConfigError(f"tell: expected a candidate that `ask` gave, got {shorten(repr(candidate))}")
        record(self._parts, candidate, judged(value))

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
        return optimized(
            self._parts, fit, budget=budget, trials=trials, workers=workers, limit=limit, say=say
        )

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
        negative_weight: bool = False,
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
            negative_weight: whether what the loss of a negative is multiplied by is tuned for all, too, by `validate`;
                of per-class sigmoids, whose losses have none of their own.

        Returns:
            Table, gain with its interval, and the verdict in words; print it.
        """
        found = audited(
            self._parts,
            fit,
            against=against,
            seeds=seeds,
            ranges=ranges,
            tuning=tuning,
            validate=validate,
            workers=workers,
            negative_weight=negative_weight,
        )
        self._store.set_meta("summary", finite(found.result.to_dict()))
        self._write_page()
        return found

    # -- what is known --------------------------------------------------------------------------------

    @property
    def best(self) -> Found:
        """The best that was told; RunError while there is none."""
        return self._parts.best

    @property
    def scores(self) -> list[Score]:
        """Everything that was told, failures included, in order."""
        return self._store.scores("proxy")

    @property
    def config(self) -> SearchConfig:
        """Settings of the search."""
        return self._parts.config

    @property
    def plain(self) -> Mapping[str, str]:
        """Slot -> the loss that stands for it."""
        return self._parts.plain

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

    def _write_page(self) -> None:
        if self._temporary is None and len(self):
            self._pages.finish()


def _removed(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _worst(direction: str) -> float:
    """What a failed training counts as in an audit: worse than anything."""
    return -1e9 if direction == "maximize" else 1e9
