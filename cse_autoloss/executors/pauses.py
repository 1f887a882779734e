"""How long this process stood still with its workers: a container that is paused, a machine that is frozen, a lid that
is shut. No job is to blame for that time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

BEAT: Final = 1.0
"""Seconds between two beats."""

SLACK: Final = 3.0
"""Seconds that a beat may be late before that counts as a pause: a loaded machine makes it late, too."""


class Pauses:
    """A heart that beats in a thread of its own. Whoever finds a beat late has found a pause, unless the process was at
    work all the while: a long call of C lets no other thread beat, and is no pause.

    Args:
        beat: seconds between two beats.
        slack: seconds that a beat may be late.
        clock: that never goes back.
        worked: seconds of processor time that this process has had.
    """

    def __init__(
        self,
        beat: float = BEAT,
        slack: float = SLACK,
        clock: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.process_time,
    ) -> None:
        self._beat, self._slack, self._clock, self._worked = beat, slack, clock, worked
        self._guard, self._ended = threading.Lock(), threading.Event()
        self._last, self._work, self._total = clock(), worked(), 0.0

    def start(self) -> None:
        """Begins to beat, until `end` or the end of the process."""
        threading.Thread(target=self._run, name="pauses", daemon=True).start()

    def _run(self) -> None:
        while not self._ended.wait(self._beat):
            self._look(beats=True)

    def _look(self, *, beats: bool = False) -> float:
        with self._guard:
            now, work = self._clock(), self._worked()
            late = now - self._last - self._beat
            if late > self._slack and work - self._work < late / 2:
                self._total += late
            if beats or late > self._slack:
                self._last, self._work = now, work
            return self._total

    @property
    def total(self) -> float:
        """Seconds of all pauses so far; one that has just ended counts, whichever thread woke first."""
        return self._look()

    def end(self) -> None:
        """Beats no more."""
        self._ended.set()


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped the process (SIGSTOP); False where the system doesn't tell."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[:1] == ["T"]
