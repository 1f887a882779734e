"""What the built-in tasks can be told: one file a task, named as it; its `SECTION` is the model of its settings.

Nothing here imports torch: a configuration is checked before anything heavy is.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from cse_autoloss.errors import ConfigError
from cse_autoloss.settings.fields import Section
from cse_autoloss.settings.mistakes import one_of


def task_names() -> list[str]:
    """Names of the built-in tasks."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def section_of(task: str) -> type[Section]:
    """The settings of a built-in task; ConfigError offers the nearest name where there is none of that name."""
    if task not in task_names():
        raise ConfigError(one_of(task_names(), task))
    section: type[Section] = import_module(f"{__name__}.{task}").SECTION
    return section
