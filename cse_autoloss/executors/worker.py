"""What runs inside a worker process of the pool: read a job, run it, write its result, until the pipe closes.

Frames are a length (4 bytes, big-endian) and that many bytes of JSON.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import signal
import struct
import sys
import threading
from typing import IO, Any

from cse_autoloss.executors.base import encode, resolve, run_job, single_thread, tell_failed_start

_PR_SET_PDEATHSIG = 1


def read_frame(stream: IO[bytes]) -> dict[str, Any] | None:
    """The next message, or None when the other side is gone."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    (length,) = struct.unpack(">I", head)
    body = stream.read(length)
    if len(body) < length:
        return None
    message: dict[str, Any] = json.loads(body)
    return message


def write_frame(stream: IO[bytes], body: bytes) -> None:
    """Sends one message.

    Raises:
        OSError: the other side is gone.
    """
    stream.write(struct.pack(">I", len(body)) + body)
    stream.flush()


def main() -> None:
    """Entry of a worker process. Its argument: the parent's process id, or 0 for no signal when that dies."""
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    faulthandler.enable()
    _die_with(int(sys.argv[1]))
    _offer_to_oom_killer()

    orders, answers = _take_streams()
    messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders, messages), daemon=True).start()
    try:
        _serve(messages, answers)
    except BrokenPipeError:
        os._exit(0)


def _serve(messages: queue.SimpleQueue[dict[str, Any]], answers: IO[bytes]) -> None:
    order = messages.get()
    try:
        init, run = resolve(order["init"]), resolve(order["run"])
        single_thread()
        context = init(order["config"])
        single_thread()
    except (Exception, SystemExit) as error:
        write_frame(answers, encode(tell_failed_start(error)))
        os._exit(1)
    write_frame(answers, encode({"ready": os.getpid()}))
    while True:
        job = messages.get()
        write_frame(answers, encode({"key": job["key"], **run_job(run, context, job["payload"])}))


def _take_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Moves the pipes off the standard streams, so that neither `input` nor `print` in a job touches them."""
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return orders, answers


def _listen(stream: IO[bytes], messages: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Hands messages on, and ends the process with the parent, whatever the main thread is doing."""
    while (message := read_frame(stream)) is not None:
        messages.put(message)
    os._exit(0)


def _die_with(parent: int) -> None:
    """Asks Linux to kill this process when its parent dies: at once, and even inside an endless C loop."""
    if parent == 0 or sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the request
        os._exit(0)


def _offer_to_oom_killer() -> None:
    """When memory runs out, a candidate should go, not the run."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass
