"""What all tests share."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

# The conformance suites' plain asserts should tell as much as those in tests do.
for suite in ("testing", "testing_detectors", "testing_spaces"):
    pytest.register_assert_rewrite(f"cse_autoloss.{suite}")

os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests start many processes: each of them compiles the package anew where none may keep what it compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Files that take longest, so that no worker is left with one of them at the end.
LONGEST = (
    "test_evolve", "test_golden", "test_reinforce_run", "test_examples", "test_reinforce_kill", "test_operator_entry",
    "test_population", "test_tasks", "test_filter_audit", "test_study", "test_genome", "test_export_write",
    "test_detector_registry", "test_cli", "test_detection_task", "test_export_torch_source",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        return  # it deals tests out to workers, and runs none
    import torch
    from hypothesis import settings

    # Tests run side by side, each in its own process: more threads than cores would only fight.
    torch.set_num_threads(1)
    settings.register_profile("project", deadline=None, derandomize=True, print_blob=False)
    settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay together: a run that they share is made by one worker alone."""
    if config.option.dist != "load":  # somebody asked for another way
        return None
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)
