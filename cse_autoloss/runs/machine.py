"""Where a run was made: versions and processors, told from the outside, so that nothing heavy is imported."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from cse_autoloss._version import __version__

_TOLD = ("torch", "numpy", "deap", "sympy", "torchvision")


def machine() -> dict[str, str]:
    """What a reader of a run's figures may want to know of the machine, by name; nothing that names its owner."""
    found = {
        "cse-autoloss": __version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "cores": str(os.cpu_count() or 1),
    }
    for name in _TOLD:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
