"""Detectors by name: the package's own, those of installed packages, and those in a file of the user's.

An installed package offers one by an entry point in its pyproject.toml::

    [project.entry-points."cse_autoloss.detectors"]
    my-detector = "my_package.my_module:MyDetector"
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, cast

from cse_autoloss.detectors.one_stage import OneStageDetector, OneStagePyramid
from cse_autoloss.detectors.protocol import DetectorBuilder
from cse_autoloss.detectors.two_stage import TwoStageDetector, TwoStagePyramid
from cse_autoloss.errors import ConfigError, UnknownNameError, shorten

GROUP = "cse_autoloss.detectors"
"""The entry point group in which installed packages offer detectors."""

DETECTOR_BRANCHES = ("cls-binary", "cls-multiclass")
"""Branches of the classification loss that a detector may declare."""


BUILT_IN: Mapping[str, DetectorBuilder] = MappingProxyType(
    {
        "one-stage": cast(DetectorBuilder, OneStageDetector),
        "two-stage": cast(DetectorBuilder, TwoStageDetector),
        "one-stage-pyramid": cast(DetectorBuilder, OneStagePyramid),
        "two-stage-pyramid": cast(DetectorBuilder, TwoStagePyramid),
    }
)
"""The package's own proxies."""


def detector_names() -> tuple[str, ...]:
    """Names that `detector_builder` takes, besides files."""
    return (*BUILT_IN, *sorted(_plugins()))


def detector_builder(name: str) -> DetectorBuilder:
    """What makes the detector of that name; called `(channels, num_classes)`, with an attribute `branch`.

    Args:
        name: "one-stage", "two-stage", the name of an installed entry point, or "my_file.py:Build", a class
            or function in a file. Such a file is run, like any script that its user starts.

    Raises:
        UnknownNameError: no such detector, or no such name in the file; the nearest one is offered.
        ConfigError: the file or the entry point can't be loaded, or what it holds is no detector's builder.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    path, _, attribute = name.rpartition(":")
    if path.endswith(".py"):
        return _checked(name, _from_file(name, Path(path), attribute))
    plugins = _plugins()
    if name not in plugins:
        raise UnknownNameError.of("detector", name, (*BUILT_IN, *plugins, "my_file.py:Build"))
    try:
        found = plugins[name].load()
    except Exception as error:
        raise ConfigError(f"detector {name!r}: {plugins[name].value}: {_one_line(error)}") from error
    return _checked(name, found)


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _from_file(name: str, path: Path, attribute: str) -> Any:
    if not path.is_file():
        raise ConfigError(f"detector {shorten(name)!r}: no such file: {path}")
    module = _run_file(name, path.resolve())
    if not attribute or not hasattr(module, attribute):
        # Names that the file imported are no offer.
        own = [
            key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
        ]
        raise UnknownNameError.of(f"name in {path}", attribute, own)
    return getattr(module, attribute)


def _run_file(name: str, path: Path) -> ModuleType:
    """The file as a module; a second call gives the same one, so that its classes stay themselves."""
    title = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if title in sys.modules:
        return sys.modules[title]
    spec = importlib.util.spec_from_file_location(title, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[title] = module  # dataclasses look their module up while it runs
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[title]
        raise ConfigError(f"detector {shorten(name)!r}: {path}: {_one_line(error)}") from error
    return module


def _checked(name: str, found: Any) -> DetectorBuilder:
    branch = getattr(found, "branch", None)
    if not callable(found) or branch not in DETECTOR_BRANCHES:
        expected = " or ".join(repr(option) for option in DETECTOR_BRANCHES)
        raise ConfigError(
            f"detector {shorten(name)!r}: expected a class or function with branch = {expected}, "
            f"got {type(found).__name__} with branch = {branch!r}"
        )
    return cast(DetectorBuilder, found)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
