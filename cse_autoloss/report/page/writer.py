"""Writes a run's page: at its end, and while it goes on, seldom enough to cost next to nothing."""

from __future__ import annotations

import time
from pathlib import Path

from cse_autoloss.bench.progress import Observer, RunStatus
from cse_autoloss.pages import document, framed
from cse_autoloss.report.page.family import family
from cse_autoloss.report.page.front import front
from cse_autoloss.report.page.funnel import funnel
from cse_autoloss.report.page.losses import found
from cse_autoloss.report.page.pictures import pictures
from cse_autoloss.report.page.progress import progress
from cse_autoloss.report.page.settings import settings
from cse_autoloss.report.page.verdict import gains, head, shrunk
from cse_autoloss.report.view import RunView
from cse_autoloss.runs import RunStore, write_whole

FILE = "report.html"
EVERY = 10.0
"""Seconds between two pages of a run that goes on, at least."""
MOST_SHARE = 0.02
"""Of the run's time that pages may take, while it goes on."""


def page(view: RunView, live: RunStatus | None = None) -> str:
    """The page as text: a function of the store."""
    parts = [
        head(view, live),
        gains(view),
        shrunk(view),
        found(view),
        pictures(view),
        front(view),
        family(view),
    ]
    parts += [progress(view), funnel(view), settings(view)]
    return document(view.title, parts, script=True)


def write_page(store: RunStore, live: RunStatus | None = None) -> Path:
    """Write report.html into the run directory; a reader sees the old page or the new one.

    Args:
        store: open for reading at least.
        live: of a run that goes on.
    """
    view = RunView(store, going_on=live is not None)
    file = store.directory / FILE
    write_whole(file, page(view, live))
    return file


def shown(store: RunStore) -> str:
    """The page as a notebook shows it."""
    with store.understood("what it holds"):
        return framed(page(RunView(store)), height=900)


class PageWriter:
    """An observer that writes the page now and then, and hands on what it sees.

    A page is an extra: when one can't be made, the run goes on without, and its events tell why.
    """

    def __init__(self, store: RunStore, watcher: Observer, every: float = EVERY) -> None:
        self._store, self._watcher, self._every = store, watcher, every
        self._due = time.monotonic() + every / 2

    def update(self, status: RunStatus) -> None:
        """Show it; write a page where it is time."""
        self._watcher.update(status)
        begun = time.monotonic()
        if begun >= self._due:
            self._due = float("inf")
            if self._write(status):
                ended = time.monotonic()
                self._due = ended + max(self._every, (ended - begun) / MOST_SHARE)

    def finish(self) -> None:
        """Write the last page, when everything else is kept."""
        self._write(None)

    def _write(self, live: RunStatus | None) -> bool:
        try:
            write_page(self._store, live)
        except Exception as error:
            self._store.add_event("no page", why=f"{type(error).__name__}: {error}")
            return False
        return True
