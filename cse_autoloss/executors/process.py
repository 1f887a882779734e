"""One worker process of the pool, seen from the parent: start it, talk with it, end it, tell how it died."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from cse_autoloss.errors import WorkersLost
from cse_autoloss.executors.base import THREAD_VARIABLES, Work, encode
from cse_autoloss.executors.worker import read_frame, write_frame

_START: Final = "from cse_autoloss.executors.worker import main; main()"
_MOST_PRINTED: Final = 1 << 20
# What others send to a process: the system when memory runs out, a scheduler, a person. A job's own faults are others.
_SENT: Final = tuple(
    -getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGPWR") if hasattr(signal, name)
)


class Message(NamedTuple):
    """What a worker said: `body`, or None when its pipe closed."""

    worker: WorkerProcess
    body: dict[str, Any] | None


class WorkerProcess:
    """A started worker. Its messages arrive in `inbox`, the last with body None.

    It is a fresh interpreter with one thread for each numeric library, in a session of its own: Ctrl-C in the
    terminal doesn't reach it, and what it starts can be killed with it. It ends when its parent does.
    """

    def __init__(
        self, work: Work, inbox: queue.SimpleQueue[Message], environment: Mapping[str, str] | None = None
    ) -> None:
        # Linux ends the worker with the *thread* that started it: rely on that for the main thread alone.
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        errors = None
        try:
            self._errors = errors = tempfile.TemporaryFile("a+b")  # noqa: SIM115 (closed in `end`)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(parent)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**_environment(), **(environment or {})},
                start_new_session=True,
            )
        except OSError as error:
            if errors is not None:
                errors.close()
            raise WorkersLost(f"no worker can be started: {error}") from None
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._listen, args=(inbox,), daemon=True)
        self._reader.start()
        self.send(encode({"init": work.init, "run": work.run, "config": dict(work.config)}))

    def send(self, body: bytes) -> None:
        """Sends a message; to a dead worker that does nothing, since its end is announced in `inbox`."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            write_frame(self._process.stdin, body)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def was_killed(self) -> bool:
        """Whether it ended by a signal that tells nothing of its job; for one that died by itself."""
        return self._process.poll() in _SENT

    def end(self, *, died: bool = False) -> str:
        """Kills the worker with all that it started. For one that `died`, tells on one line how.

        May be called again, should Ctrl-C have cut it off.
        """
        if died:  # its pipe closes a moment before it is gone: let it go by itself, to learn how
            try:
                self._process.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                died = False
        _kill(self._process)
        code = self._process.wait()
        self._reader.join(timeout=5.0)
        how = _obituary(code, self._last_words()) if died else "the worker closed its pipe"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):  # part of a frame that nobody will read
                stream.close()
        return how

    def trim(self) -> None:
        """Keeps what the worker prints from filling the disk."""
        if os.fstat(self._errors.fileno()).st_size > _MOST_PRINTED:
            os.ftruncate(self._errors.fileno(), 0)

    def _listen(self, inbox: queue.SimpleQueue[Message]) -> None:
        assert self._process.stdout is not None
        try:
            while (body := read_frame(self._process.stdout)) is not None:
                inbox.put(Message(self, body))
        except (OSError, ValueError):
            pass
        inbox.put(Message(self, None))

    def _last_words(self) -> str:
        if self._errors.closed:
            return ""
        size = os.fstat(self._errors.fileno()).st_size
        self._errors.seek(max(size - 4000, 0))
        lines = [line.strip() for line in self._errors.read().decode("utf-8", "replace").splitlines()]
        fatal = [line for line in lines if line.startswith("Fatal Python error") or "Error" in line]
        return (fatal or [line for line in lines if line] or [""])[-1][:300]


def _environment() -> dict[str, str]:
    """The parent's, with its import path, and one thread for each numeric library."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if isinstance(entry, str))
    threads = dict.fromkeys(THREAD_VARIABLES, "1")
    return {**os.environ, **threads, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone; macOS says so of a zombie
        os.killpg(process.pid, signal.SIGKILL)


def _obituary(code: int, last: str) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        text = f"the worker was killed by {name}"
        if name == "SIGKILL":
            text += " (out of memory?)"
    else:
        text = f"the worker exited with code {code}"
    return f"{text}: {last}" if last else text
