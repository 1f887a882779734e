"""Tests that come with the package: a new plug-in gets its own by three lines in a pytest file.

class TestMine(ExecutorConformance):
    def make(self, work, workers):
        return MyExecutor(work, workers)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any, ClassVar

from cse_autoloss.errors import DataError, RunError
from cse_autoloss.executors.base import Executor, Job, JobResult, Work
from cse_autoloss.executors.pauses import BEAT, SLACK

# Far above what a healthy executor needs: what runs into it hangs.
_PATIENCE = 120.0
# Seconds of a job before all stand still, and how long: longer than a beat may be late, and than the job's limit.
_BEFORE, _STILL = 0.5, BEAT + SLACK + 1.0


def start(config: dict[str, Any]) -> dict[str, Any]:
    """Makes the context of the test jobs, or fails as ``config["fail"]`` says."""
    if config.get("fail") == "raise":
        raise ValueError("no context\nto be had")
    if config.get("fail") == "data":
        raise DataError("train.json: not there")
    if config.get("fail") == "exit":
        os._exit(7)
    while config.get("fail") == "hang":
        time.sleep(0.01)
    return {"config": config, "jobs": 0}


def act(context: dict[str, Any], payload: dict[str, Any]) -> Any:
    """A test job: does what ``payload["do"]`` names, for better or worse."""
    context["jobs"] += 1
    match payload["do"]:
        case "echo":
            return {"payload": payload, "config": context["config"], "jobs": context["jobs"]}
        case "raise":
            raise ArithmeticError("first line\nsecond line")
        case "hang":
            while True:
                time.sleep(0.01)
        case "fill the memory":
            with open(payload["log"], "a") as log:
                log.write("begun\n")
            if os.path.getsize(payload["log"]) <= payload["until"] * len("begun\n"):
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        case "environment":
            return {"value": os.environ.get(payload["name"])}
        case "sleep":
            time.sleep(payload["seconds"])
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(10.0)
        case "exit":
            os._exit(payload["code"])
        case "quit":
            sys.exit(3)
        case "print":
            print("x" * payload["size"])
            input_is_empty = sys.stdin.read() == ""
            return {"input_is_empty": input_is_empty}
        case "big":
            return {"text": "x" * payload["size"]}
        case "object":
            return {"value": object()}
        case "list":
            return [1, 2]
        case "process":
            return {"pid": os.getpid(), "parent": os.getppid(), "threads": os.environ.get("OMP_NUM_THREADS")}
        case "kill":
            once = payload.get("but once")
            if once and os.path.exists(once):
                return {}
            if once:
                open(once, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "start a process":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            with open(payload["file"], "w") as file:
                file.write(str(child.pid))
            child.wait()
        case "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            return {"survived": True}
    return {}


def count_threads(context: dict[str, Any], payload: dict[str, Any]) -> dict[str, int]:
    """A test job: how many threads torch has."""
    import torch

    return {"threads": torch.get_num_threads()}


class ExecutorConformance:
    """What every executor must do; a subclass says how to make one.

    Attributes:
        isolates: whether a job may hang or crash without harm to the caller.
    """

    isolates: ClassVar[bool] = True

    def make(self, work: Work, workers: int) -> Executor:
        """An executor for `work`."""
        raise NotImplementedError

    def started(self, workers: int = 1, **config: Any) -> Executor:
        """An executor for the test jobs."""
        return self.make(Work(f"{__name__}:start", f"{__name__}:act", config), workers)

    def test_payload_and_config_arrive_and_the_context_is_made_once(self) -> None:
        with self.started(a=1, b=["x", None, 1.5]) as executor:
            results = [one(executor, Job(f"job {i}", {"do": "echo", "i": i})) for i in range(3)]
        for i, result in enumerate(results):
            assert (result.key, result.status, result.detail) == (f"job {i}", "ok", "")
            assert result.value == {
                "payload": {"do": "echo", "i": i},
                "config": {"a": 1, "b": ["x", None, 1.5]},
                "jobs": i + 1,
            }
            assert result.worker > 0
            assert result.seconds >= 0.0

    def test_every_job_of_many_gets_one_result(self) -> None:
        with self.started(workers=2) as executor:
            for i in range(40):
                executor.submit(Job(str(i), {"do": "echo"}))
            assert executor.pending == 40
            assert executor.idle == 0
            keys = [result.key for result in executor.as_completed()]
            assert sorted(keys) == sorted(str(i) for i in range(40))
            assert executor.pending == 0
            assert executor.idle == executor.workers
            assert executor.next_result() is None

    def test_jobs_may_be_submitted_while_results_come(self) -> None:
        with self.started(workers=2) as executor:
            executor.submit(Job("0", {"do": "echo"}))
            seen = []
            for result in executor.as_completed():
                seen.append(result.key)
                if len(seen) < 5:
                    executor.submit(Job(str(len(seen)), {"do": "echo"}))
        assert seen == ["0", "1", "2", "3", "4"]

    def test_an_error_is_a_result_on_one_line(self) -> None:
        with self.started() as executor:
            result = one(executor, Job("bad", {"do": "raise"}))
            assert (result.status, result.value) == ("error", {})
            assert result.detail == "ArithmeticError: first line second line"
            assert one(executor, Job("next", {"do": "echo"})).value["jobs"] == 2

    def test_only_json_comes_back(self) -> None:
        with self.started() as executor:
            for do in ("object", "list"):
                result = one(executor, Job(do, {"do": do}))
                assert result.status == "error", do
                assert result.value == {}
            assert (
                one(executor, Job("big", {"do": "big", "size": 3_000_000})).value["text"] == "x" * 3_000_000
            )

    def test_only_json_goes_in_and_a_key_names_one_job(self) -> None:
        with self.started() as executor:
            assert _raises(ValueError, executor.submit, Job("bad", {"do": {1, 2}}))
            executor.submit(Job("same", {"do": "echo"}))
            assert _raises(ValueError, executor.submit, Job("same", {"do": "echo"}))
            assert one_of(executor).status == "ok"
            assert one(executor, Job("same", {"do": "echo"})).status == "ok"

    def test_only_functions_of_this_package_run(self) -> None:
        for path in (
            "os:system",
            "cse_autoloss.testing.executors:_raises",
            "cse_autoloss.testing.executors",
            "cse_autoloss:evolve",
        ):
            assert _raises(ValueError, self.make, Work(path, f"{__name__}:act"), 1), path
            assert _raises(ValueError, self.make, Work(f"{__name__}:start", path), 1), path

    def test_a_hanging_job_ends_at_its_limit(self) -> None:
        with self.started() as executor:
            result = one(executor, Job("stuck", {"do": "hang"}, limit=0.3))
            assert (result.status, result.value) == ("timeout", {})
            assert "0.3 s" in result.detail
            assert result.seconds >= 0.3
            assert one(executor, Job("next", {"do": "echo"}, limit=60.0)).status == "ok"

    def test_cancel_drops_what_has_no_result(self) -> None:
        with self.started() as executor:
            for key in ("a", "b"):
                executor.submit(Job(key, {"do": "hang"} if self.isolates else {"do": "echo"}))
            assert executor.cancel() == ["a", "b"]
            assert executor.pending == 0
            assert one(executor, Job("a", {"do": "echo"})).status == "ok"

    def test_utilisation_counts(self) -> None:
        with self.started() as executor:
            for i in range(3):
                one(executor, Job(str(i), {"do": "sleep", "seconds": 0.05}))
            used = executor.utilisation()
        assert used.jobs == 3
        assert len(used.busy) == 1
        assert 0.15 <= sum(used.busy) <= used.wall
        assert 0.0 < used.share <= 1.0

    def test_after_shutdown_nothing_is_taken(self) -> None:
        executor = self.started()
        executor.shutdown()
        executor.shutdown()
        assert _raises(RuntimeError, executor.submit, Job("late", {"do": "echo"}))
        assert executor.next_result() is None

    def test_a_context_that_cannot_be_made_is_told(self) -> None:
        with self.started(fail="raise") as executor:
            executor.submit(Job("job", {"do": "echo"}))
            error = _raises(RunError, executor.next_result)
            assert str(error) == "no worker can be started: ValueError: no context to be had"
        with self.started(fail="data") as executor:
            executor.submit(Job("job", {"do": "echo"}))
            assert str(_raises(DataError, executor.next_result)) == "train.json: not there"

    def test_time_in_which_all_stood_still_counts_for_no_job(self) -> None:
        if not hasattr(signal, "SIGSTOP"):
            return
        kind = type(self)
        script = (
            "import functools, importlib\n"
            f"module, names = importlib.import_module({kind.__module__!r}), {kind.__qualname__.split('.')}\n"
            "functools.reduce(getattr, names, module)().stand_still()\n"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=environment,
        ) as caller:
            assert caller.stdout is not None
            told = iter(caller.stdout.readline, "")
            worker = next((line for line in told if line.startswith("worker ")), "worker 0")
            all_of_it = {caller.pid, int(worker.removeprefix("worker ")) or caller.pid}
            time.sleep(_BEFORE)
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for process in all_of_it:
                    os.kill(process, number)
                time.sleep(_STILL if number == signal.SIGSTOP else 0.0)
            assert [line for line in told if line.startswith("then ")] == ["then ok\n", "then timeout\n"]

    def stand_still(self) -> None:
        """What is stopped for a while by the test above: a job that ends in time, but for that, and one that never
        does."""
        with self.started() as executor:
            first = one(executor, Job("first", {"do": "echo"}))
            executor.submit(Job("long", {"do": "sleep", "seconds": _BEFORE + 1.0}, limit=_STILL - 1.0))
            print("worker", first.worker, flush=True)
            print("then", one_of(executor).status, flush=True)
            print("then", one(executor, Job("stuck", {"do": "hang"}, limit=0.3)).status, flush=True)

    # -- for executors that isolate ------------------------------------------------------------------------

    def test_a_crash_is_a_result_and_the_others_go_on(self) -> None:
        if not self.isolates:
            return
        with self.started(workers=2) as executor:
            bad: dict[str, dict[str, Any]] = {
                "segfault": {"do": "segfault"},
                "exit": {"do": "exit", "code": 5},
                "zero": {"do": "exit", "code": 0},
            }
            for i in range(4):
                executor.submit(Job(f"good {i}", {"do": "echo"}))
            for key, payload in bad.items():
                executor.submit(Job(key, payload))
            executor.submit(Job("quit", {"do": "quit"}))
            executor.submit(Job("last", {"do": "echo"}))
            results = {result.key: result for result in executor.as_completed()}
            assert results.pop("quit").status == "error"  # it ends no worker
            assert {key for key, result in results.items() if result.status == "crashed"} == set(bad)
            assert all(result.detail for key, result in results.items() if key in bad)
            assert all(result.status == "ok" for key, result in results.items() if key not in bad)
            assert executor.utilisation().restarts >= len(bad)

    def test_next_result_keeps_to_its_timeout(self) -> None:
        if not self.isolates:
            return
        with self.started() as executor:
            executor.submit(Job("stuck", {"do": "hang"}))
            assert executor.next_result(timeout=0.2) is None
            assert executor.next_result(timeout=0.0) is None
            assert executor.pending == 1


def one_of(executor: Executor) -> JobResult:
    """The next result."""
    result = executor.next_result(timeout=_PATIENCE)
    assert result is not None, "no result came"
    return result


def one(executor: Executor, job: Job) -> JobResult:
    """Runs one job."""
    executor.submit(job)
    return one_of(executor)


def _raises(kind: type[Exception] | tuple[type[Exception], ...], function: Any, *values: Any) -> Exception:
    """The error of this kind that the call raises."""
    try:
        function(*values)
    except kind as error:
        return error
    raise AssertionError(f"{function} raised nothing")
