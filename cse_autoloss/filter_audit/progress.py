"""How far an audit of the filters is: a line that changes in place, or one now and then where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from cse_autoloss.bench.progress import Observer, RunStatus, Silent


class Progress:
    """Writes trainings done and the time left."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._every = 0.5 if self._terminal else 30.0
        self._begun: tuple[float, int] | None = None
        self._written = 0.0

    def update(self, status: RunStatus) -> None:
        """Called often; writes seldom."""
        now = time.monotonic()
        if self._begun is None:
            self._begun = now, status.done
        if now - self._written < self._every or not status.total:
            return
        self._written = now
        begun, before = self._begun
        left = ""
        if status.done > before:
            seconds = (now - begun) / (status.done - before) * (status.total - status.done)
            left = (
                f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"
            )
        end = "\r" if self._terminal else "\n"
        self._stream.write(f"audit: {status.done} of {status.total} trainings{left}   {end}")
        self._stream.flush()


@contextmanager
def watch(stream: TextIO, *, quiet: bool) -> Iterator[Observer]:
    """The observer; the line is taken away at the end."""
    if quiet:
        yield Silent()
        return
    progress = Progress(stream)
    try:
        yield progress
    finally:
        if stream.isatty():
            stream.write(f"{' ' * 70}\r")
