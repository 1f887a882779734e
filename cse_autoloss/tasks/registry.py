"""Tasks by name: see `cse_autoloss.plugins` for where they come from."""

from __future__ import annotations

from typing import Any

from cse_autoloss.plugins import Registry
from cse_autoloss.settings.fields import Section
from cse_autoloss.tasks.protocol import Task

_NEEDED = ("name", "Settings", "slots", "metrics", "baselines", "train")
_INHERITED = ("pauses", "quickens", "simulates", "stacks", "tunables", "notes", "check", "simulation")


def _fault(found: Any) -> str | None:
    absent = object()
    missing = [n for n in _NEEDED if not hasattr(found, n) or getattr(found, n) is getattr(Task, n, absent)]
    if not all(hasattr(found, name) for name in _INHERITED):
        missing.append("Task as its base")
    if isinstance(found, type) and not missing:
        return None
    what = "a class" if isinstance(found, type) else type(found).__name__
    lacking = f" without {', '.join(missing)}" if missing else ""
    return f"expected a class of tasks.protocol.Task with {', '.join(_NEEDED)}, got {what}{lacking}"


TASKS: Registry[type[Task]] = Registry(
    "task",
    "cse_autoloss.tasks",
    {
        "detection": "cse_autoloss.tasks.detection:DetectionTask",
        "classification": "cse_autoloss.tasks.classification:ClassificationTask",
        "faces": "cse_autoloss.tasks.faces:FacesTask",
        "reid": "cse_autoloss.tasks.reid:ReidTask",
        "regression": "cse_autoloss.tasks.regression:RegressionTask",
        "segmentation": "cse_autoloss.tasks.segmentation:SegmentationTask",
        "several": "cse_autoloss.tasks.several:SeveralTask",
    },
    _fault,
)
"""Classes, made with settings of their own and a device."""


def section_of(task: str) -> type[Section]:
    """The model of a task's section, for `settings.load.load_config`, wherever the task comes from."""
    return TASKS.get(task).Settings
