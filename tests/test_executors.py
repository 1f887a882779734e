"""The executors: the conformance suite on each, and what only a pool of processes must bear."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cse_autoloss.errors import RunError, UnknownNameError
from cse_autoloss.executors import Executor, Job, JobResult, Work, make_executor
from cse_autoloss.executors.inprocess import InProcessExecutor
from cse_autoloss.executors.pauses import Pauses, is_stopped
from cse_autoloss.executors.pool import PoolExecutor
from cse_autoloss.testing.executors import ExecutorConformance, one, one_of

WORK = Work("cse_autoloss.testing.executors:start", "cse_autoloss.testing.executors:act")


class TestInProcess(ExecutorConformance):
    isolates = False

    def make(self, work: Work, workers: int) -> Executor:
        return InProcessExecutor(work)

    def test_the_alarm_is_put_back(self) -> None:
        before = signal.getsignal(signal.SIGALRM)
        with self.started() as executor:
            one(executor, Job("stuck", {"do": "hang"}, limit=0.05))
        assert signal.getsignal(signal.SIGALRM) == before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    def test_torch_has_one_thread_in_a_job_and_its_own_number_after(self) -> None:
        torch = pytest.importorskip("torch")
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            with self.make(
                Work("cse_autoloss.testing.executors:start", "cse_autoloss.testing.executors:count_threads"),
                1,
            ) as executor:
                assert one(executor, Job("a", {})).value == {"threads": 1}
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)


class TestPool(ExecutorConformance):
    def make(self, work: Work, workers: int) -> Executor:
        return PoolExecutor(work, workers)

    def test_how_a_worker_died_is_told(self) -> None:
        with self.started() as executor:
            segfault = one(executor, Job("a", {"do": "segfault"}))
            assert segfault.detail.startswith("the worker was killed by SIGSEGV: Fatal Python error")
            killed = one(executor, Job("b", {"do": "kill"}))
            assert killed.detail == "the worker was killed by SIGKILL (out of memory?)"
            assert (
                one(executor, Job("c", {"do": "exit", "code": 5})).detail == "the worker exited with code 5"
            )

    def test_a_worker_is_a_process_with_one_thread_that_keeps_off_the_terminal(self) -> None:
        with self.started() as executor:
            told = one(executor, Job("a", {"do": "process"}))
            assert told.value == {"pid": told.worker, "parent": os.getpid(), "threads": "1"}
            assert os.getsid(told.worker) != os.getsid(0)
            assert one(executor, Job("b", {"do": "interrupt"})).value == {"survived": True}
            assert one(executor, Job("c", {"do": "process"})).worker == told.worker

    def test_print_and_input_in_a_job_touch_no_frame(self) -> None:
        with self.started() as executor:
            for i in range(3):
                result = one(executor, Job(str(i), {"do": "print", "size": 2_000_000}))
                assert (result.status, result.value) == ("ok", {"input_is_empty": True})

    def test_what_a_job_started_ends_with_it(self, tmp_path: Path) -> None:
        file = tmp_path / "pid"
        with self.started() as executor:
            result = one(executor, Job("a", {"do": "start a process", "file": str(file)}, limit=1.0))
            assert result.status == "timeout"
            _wait_until_gone(int(file.read_text()))

    def test_a_worker_killed_between_jobs_is_replaced(self) -> None:
        with self.started() as executor:
            first = one(executor, Job("a", {"do": "echo"}))
            os.kill(first.worker, signal.SIGKILL)
            _wait_until_gone(first.worker)
            statuses = {one(executor, Job(str(i), {"do": "echo"})).status for i in range(2)}
            # The death may be seen only after a job was handed over: that one is lost, no other.
            assert statuses == {"ok"}
            assert one(executor, Job("last", {"do": "echo"})).status == "ok"

    def test_a_killed_worker_is_no_fault_of_its_job(self, tmp_path: Path) -> None:
        with self.started() as executor:
            told = one(executor, Job("once", {"do": "kill", "but once": str(tmp_path / "killed")}))
            assert (told.status, told.tries) == ("ok", 2)
            told = one(executor, Job("always", {"do": "kill"}))
            assert (told.status, told.tries) == ("crashed", 3)
            assert one(executor, Job("last", {"do": "echo"})).tries == 1

    @pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell")
    def test_a_stopped_worker_is_no_fault_of_its_job(self) -> None:
        with self.started() as executor:
            worker = one(executor, Job("first", {"do": "echo"})).worker
            executor.submit(Job("a", {"do": "sleep", "seconds": 0.2}, limit=1.5))
            os.kill(worker, signal.SIGSTOP)
            told = one_of(executor)
            assert (told.status, told.tries) == ("ok", 2)
            told = one(executor, Job("always", {"do": "stop"}, limit=0.2))
            assert (told.status, told.tries) == ("crashed", 3)
            assert told.detail == "stopped by SIGSTOP at its limit of 0.2 s"
            assert one(executor, Job("last", {"do": "echo"})).tries == 1

    def test_workers_that_die_at_the_start_end_in_an_error(self) -> None:
        with self.started(workers=2, fail="exit") as executor:
            executor.submit(Job("a", {"do": "echo"}))
            with pytest.raises(RunError, match="no worker can be started: the worker exited with code 7"):
                executor.next_result()

    def test_workers_that_never_begin_end_in_an_error(self) -> None:
        with PoolExecutor(Work(WORK.init, WORK.run, {"fail": "hang"}), 1, start_limit=0.2) as executor:
            executor.submit(Job("a", {"do": "echo"}))
            with pytest.raises(RunError, match=r"no worker can be started: not ready within 0\.2 s"):
                executor.next_result()

    def test_a_pool_may_outlive_the_thread_that_made_it(self) -> None:
        made: list[Executor] = []
        thread = threading.Thread(target=lambda: made.append(self.started()))
        thread.start()
        thread.join()
        with made[0] as executor:
            worker = one(executor, Job("a", {"do": "echo"})).worker
            time.sleep(0.1)
            again = one(executor, Job("b", {"do": "echo"}))
            assert (again.status, again.worker) == ("ok", worker)

    def test_workers_and_their_number_are_checked(self) -> None:
        with pytest.raises(ValueError, match="workers >= 1 must hold, but got 0"):
            self.started(workers=0)

    @pytest.mark.parametrize("do", ["echo", "hang"])
    def test_workers_die_with_a_killed_parent(self, do: str) -> None:
        script = f"""
            from cse_autoloss.executors.pool import PoolExecutor
            from cse_autoloss.executors import Job, Work
            pool = PoolExecutor(Work({WORK.init!r}, {WORK.run!r}), 2)
            for i in range(2):
                pool.submit(Job(str(i), dict(do="sleep", seconds=0.1)))
            print(*{{result.worker for result in pool.as_completed()}}, flush=True)
            for i in range(2):
                pool.submit(Job(str(i), dict(do={do!r})))
            pool.next_result(timeout=600) if {do!r} == "hang" else input()
        """
        with _python(script) as parent:
            assert parent.stdout is not None
            workers = [int(word) for word in parent.stdout.readline().split()]
            assert workers
            time.sleep(0.1)
            parent.send_signal(signal.SIGKILL)
        for worker in workers:
            _wait_until_gone(worker)

    def test_ctrl_c_reaches_the_parent_alone_and_leaves_nothing(self) -> None:
        # At the top of a script, with no `if __name__ == "__main__"`: as people write it.
        script = f"""
            import signal
            signal.signal(signal.SIGINT, signal.default_int_handler)
            from cse_autoloss.executors.pool import PoolExecutor
            from cse_autoloss.executors import Job, Work
            with PoolExecutor(Work({WORK.init!r}, {WORK.run!r}), 2) as pool:
                pool.submit(Job("first", dict(do="process")))
                print(pool.next_result().worker, flush=True)
                pool.submit(Job("stuck", dict(do="hang")))
                try:
                    pool.next_result()
                except KeyboardInterrupt:
                    print(pool.cancel(), flush=True)
                pool.submit(Job("after", dict(do="echo")))
                print(pool.next_result().status, flush=True)
        """
        with _python(script) as parent:
            assert parent.stdout is not None
            worker = int(parent.stdout.readline())
            time.sleep(0.3)
            os.killpg(parent.pid, signal.SIGINT)
            assert parent.stdout.readline() == "['stuck']\n"
            assert parent.stdout.readline() == "ok\n"
            assert parent.wait(60) == 0
        _wait_until_gone(worker)


def test_executors_by_name() -> None:
    with make_executor("inprocess", WORK) as executor:
        assert isinstance(executor, InProcessExecutor)
    with make_executor("pool", WORK, 1) as executor:
        assert isinstance(executor, PoolExecutor)
    with pytest.raises(UnknownNameError, match="unknown executor 'pol'; did you mean 'pool'"):
        make_executor("pol", WORK)


class TestTheConformanceSuiteBites:
    """The suite must fail on executors that are wrong."""

    def suite(self, broken: type[InProcessExecutor]) -> ExecutorConformance:
        class Suite(ExecutorConformance):
            isolates = False

            def make(self, work: Work, workers: int) -> Executor:
                return broken(work)

        return Suite()

    def test_on_one_that_loses_results(self) -> None:
        class Loses(InProcessExecutor):
            def next_result(self, timeout: float | None = None) -> JobResult | None:
                super().next_result(timeout)
                return super().next_result(timeout)

        with pytest.raises(AssertionError):
            self.suite(Loses).test_every_job_of_many_gets_one_result()

    def test_on_one_that_takes_a_key_twice(self) -> None:
        class TakesTwice(InProcessExecutor):
            def submit(self, job: Job) -> None:
                self._waiting.append(job)

        with pytest.raises(AssertionError, match="raised nothing"):
            self.suite(TakesTwice).test_only_json_goes_in_and_a_key_names_one_job()

    def test_on_one_that_forgets_limits(self) -> None:
        class Forgets(InProcessExecutor):
            def submit(self, job: Job) -> None:
                super().submit(Job(job.key, {"do": "echo"}))

        with pytest.raises(AssertionError):
            self.suite(Forgets).test_a_hanging_job_ends_at_its_limit()


def _python(script: str) -> subprocess.Popen[str]:
    lines = [line[12:] for line in script.splitlines()]
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _wait_until_gone(pid: int) -> None:
    """Until there is no such process; one that nobody has buried yet is gone as well."""
    end = time.monotonic() + 30.0
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} is still there")


def test_pauses_count_whole_and_once() -> None:
    now = [0.0]
    pauses = Pauses(beat=1.0, slack=3.0, clock=lambda: now[0], worked=lambda: 0.0)
    for second, total in ((1.0, 0.0), (3.9, 0.0), (6.0, 5.0), (6.5, 5.0), (20.0, 18.0)):
        now[0] = second
        assert pauses.total == total, second
    for second in (21.0, 22.5, 26.0):  # a beat that is late, but not by much
        now[0] = second
        pauses._look(beats=True)
        assert pauses.total == 18.0
    assert not is_stopped(os.getpid())
    assert not is_stopped(2**30)


def test_a_long_call_that_lets_no_thread_beat_is_no_pause() -> None:
    now, work = [0.0], [0.0]
    pauses = Pauses(beat=1.0, slack=3.0, clock=lambda: now[0], worked=lambda: work[0])
    now[0], work[0] = 20.0, 19.0
    assert pauses.total == 0.0
    now[0] = 21.0
    pauses._look(beats=True)
    now[0], work[0] = 41.0, 20.0
    assert pauses.total == 19.0


def test_one_of_tells_that_nothing_came() -> None:
    with InProcessExecutor(WORK) as executor, pytest.raises(AssertionError, match="no result came"):
        one_of(executor)


def test_a_worker_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(RunError, match=r"no worker can be started: .*No such file"):
        PoolExecutor(WORK, 2)
