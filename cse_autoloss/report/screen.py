"""Who watches a run: a screen that is redrawn in place on a terminal, else a line now and then, or nobody."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TextIO, TypeVar

from rich.console import Console, RenderableType
from rich.live import Live

Status = TypeVar("Status")
Seen = TypeVar("Seen", contravariant=True)


class Watcher(Protocol[Seen]):
    """Is shown a run's status often, from the run's own thread."""

    def update(self, status: Seen) -> None:
        """Look at it."""
        ...


class Nobody(Generic[Status]):
    """Looks at nothing."""

    def update(self, status: Status) -> None:
        """Nothing."""


class Screen(Generic[Status]):
    """Draws the status in place, a few times a second."""

    def __init__(self, live: Live, render: Callable[[Status], RenderableType]) -> None:
        self._live, self._render = live, render
        self._drawn = float("-inf")

    def update(self, status: Status) -> None:
        """Redraw, at most four times a second."""
        now = time.monotonic()
        if now - self._drawn >= 0.25:
            self._drawn = now
            self._live.update(self._render(status), refresh=True)


class Lines(Generic[Status]):
    """Prints a line whenever the run has come to another place, and every so many seconds."""

    def __init__(
        self,
        stream: TextIO,
        line: Callable[[Status], str],
        place: Callable[[Status], Hashable],
        every: float = 10.0,
    ) -> None:
        """
        Args:
            stream: to print to.
            line: the status in words.
            place: what must change for a line to be printed at once.
            every: seconds between lines at one place.
        """
        self._stream, self._line, self._place, self._every = stream, line, place, every
        self._printed = float("-inf")
        self._at: Hashable = None

    def update(self, status: Status) -> None:
        """Print when it is time."""
        now, at = time.monotonic(), self._place(status)
        if at == self._at and now - self._printed < self._every:
            return
        self._printed, self._at = now, at
        print(self._line(status), file=self._stream, flush=True)


@contextmanager
def watching(
    render: Callable[[Status], RenderableType],
    line: Callable[[Status], str],
    place: Callable[[Status], Hashable],
    *,
    every: float = 10.0,
    quiet: bool = False,
    stream: TextIO | None = None,
) -> Iterator[Watcher[Status]]:
    """A watcher for the standard error: a live screen on a terminal, lines elsewhere, nobody when quiet.

    Args:
        render: the status as a whole screen.
        line, place, every: as of `Lines`.
        quiet: show nothing.
        stream: in place of the standard error.
    """
    stream = stream or sys.stderr
    if quiet:
        yield Nobody()
    elif stream.isatty():
        with Live(console=Console(file=stream), auto_refresh=False, transient=True) as live:
            yield Screen(live, render)
    else:
        yield Lines(stream, line, place, every)
