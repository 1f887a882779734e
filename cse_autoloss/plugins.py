"""Plug-ins by name: the package's own, those of installed packages, and those in a file of the user's.

An installed package offers one by an entry point in its pyproject.toml::

    [project.entry-points."cse_autoloss.detectors"]
    my-detector = "my_package.my_module:MyDetector"
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from cse_autoloss.errors import ConfigError, UnknownNameError, nearest, shorten

Plugin = TypeVar("Plugin")


class Registry(Generic[Plugin]):
    """Everything of one kind that a user can name.

    Attributes:
        kind: in words, for messages: "detector", "task", "search".
        group: the entry point group in which installed packages offer theirs.
        built_in: name -> "module:attribute" of the package's own, imported at their first use.
    """

    def __init__(
        self, kind: str, group: str, built_in: Mapping[str, str], fault: Callable[[Any], str | None]
    ) -> None:
        """`fault` says in words what is wrong with something that was found ("expected …, got …"), or None."""
        self.kind, self.group, self.built_in = kind, group, dict(built_in)
        self._fault = fault

    def names(self) -> tuple[str, ...]:
        """Names that `get` takes, besides files."""
        return (*self.built_in, *sorted(self._offered()))

    def get(self, name: str) -> Plugin:
        """The plug-in of that name.

        Args:
            name: one of the package's own, the name of an installed entry point, or "my_file.py:NAME", a class or
                function in a file. Such a file is run, like any script that its user starts.

        Raises:
            UnknownNameError: nothing is called so, here or in the file; the nearest name is offered.
            ConfigError: the file or the entry point can't be loaded, or what it holds is of another kind.
        """
        if name in self.built_in:
            module, _, attribute = self.built_in[name].partition(":")
            return cast(Plugin, getattr(importlib.import_module(module), attribute))
        path = file_named(name)
        if path is not None:
            return self._checked(name, self._from_file(name, path, name.rpartition(":")[2]))
        offered = self._offered()
        if name not in offered:
            raise self._unknown(name, (*self.built_in, *offered))
        try:
            found = offered[name].load()
        except Exception as error:
            raise ConfigError(f"{self.kind} {name!r}: {offered[name].value}: {_one_line(error)}") from error
        return self._checked(name, found)

    def _unknown(self, name: str, known: tuple[str, ...]) -> UnknownNameError:
        """The nearest name, or all and how a file is named; a file that is named otherwise is told how."""
        hints = {
            ".py": "a file is named with what in it: FILE.py:NAME",
            ".yaml": "a configuration is given as config",
        }
        hint = hints.get(Path(name).suffix)
        if hint is None and nearest(name, known):
            return UnknownNameError.of(self.kind, name, known)
        expected = f"expected one of: {', '.join(sorted(known))}, or my_file.py:NAME"
        return UnknownNameError(f"unknown {self.kind} {shorten(name)!r}; {hint or expected}")

    def _offered(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    def _from_file(self, name: str, path: Path, attribute: str) -> Any:
        if not path.is_file():
            raise ConfigError(f"{self.kind} {shorten(name)!r}: no such file: {path}")
        try:
            module = run_file(path.resolve())
        except (Exception, SystemExit) as error:
            raise ConfigError(f"{self.kind} {shorten(name)!r}: {path}: {_one_line(error)}") from error
        if not attribute or not hasattr(module, attribute):
            # Names that the file imported are no offer.
            own = [
                key
                for key, value in vars(module).items()
                if getattr(value, "__module__", "") == module.__name__
            ]
            raise UnknownNameError.of(f"name in {path}", attribute, own)
        return getattr(module, attribute)

    def _checked(self, name: str, found: Any) -> Plugin:
        fault = self._fault(found)
        if fault is not None:
            raise ConfigError(f"{self.kind} {shorten(name)!r}: {fault}")
        return cast(Plugin, found)


def file_named(name: str) -> Path | None:
    """The file of "my_file.py:NAME"; None for any other name."""
    path = name.rpartition(":")[0]
    return Path(path) if path.endswith(".py") else None


def run_file(path: Path) -> ModuleType:
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
    except BaseException:
        del sys.modules[title]
        raise
    return module


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
