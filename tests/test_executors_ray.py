"""The Ray executor: without Ray a line to type, with it the conformance suite."""

from __future__ import annotations

import importlib.util

import pytest

from cse_autoloss.errors import MissingExtraError
from cse_autoloss.executors import Executor, Work, make_executor
from cse_autoloss.testing.executors import ExecutorConformance

HAS_RAY = importlib.util.find_spec("ray") is not None
WORK = Work("cse_autoloss.testing.executors:start", "cse_autoloss.testing.executors:act")


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_line_to_type_is_told() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'cse-autoloss\[ray\]'"):
        make_executor("ray", WORK, 1)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed")
@pytest.mark.filterwarnings("ignore")  # Ray's own
class TestRay(ExecutorConformance):
    def make(self, work: Work, workers: int) -> Executor:
        return make_executor("ray", work, workers)
