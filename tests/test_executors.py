"""The executors: the conformance suite on each, and what only a pool of processes must bear."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("cse_autoloss.testing")

from cse_autoloss.executors import Executor, Work  # noqa: E402
from cse_autoloss.executors.inprocess import InProcessExecutor  # noqa: E402
from cse_autoloss.executors.pool import PoolExecutor  # noqa: E402
from cse_autoloss.testing import ExecutorConformance  # noqa: E402


class TestInProcess(ExecutorConformance):
    isolates = False

    def make(self, work: Work, workers: int) -> Executor:
        return InProcessExecutor(work)


class TestPool(ExecutorConformance):
    def make(self, work: Work, workers: int) -> Executor:
        return PoolExecutor(work, workers)
