"""Errors of cse-autoloss.

Everything that a user can get wrong is raised under one head, so that one `except` catches it::

    AutoLossError
    ├── FormulaError       a formula that does not parse or has the wrong shape
    ├── ConfigError        a configuration with an unknown key, wrong type or impossible value
    ├── DataError          a data set that can not be read
    ├── RunError           a run directory that can not be made, opened or resumed
    │   └── WorkersLost    no worker can be started any more
    ├── UnknownNameError   a name that no registry holds
    └── MissingExtraError  a feature whose optional dependency is not installed

Anything else that escapes is a defect of this package.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_TOLD = 4000
"""Characters of a message at most: what it quotes may be a file of megabytes."""


class AutoLossError(Exception):
    """A user's mistake, told in one clear line."""

    def __init__(self, message: str = "") -> None:
        super().__init__(shorten(message, MOST_TOLD))


class FormulaError(AutoLossError):
    """A formula that does not parse or is ill-shaped.

    Attributes:
        position: offset of the offending character in the text, or None where the fault has no place.
    """

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


class ConfigError(AutoLossError):
    """An unknown key, a wrong type or an impossible value in a configuration."""


class DataError(AutoLossError):
    """A data set that can not be read: the message names the file and the item."""


class RunError(AutoLossError):
    """A run directory that can not be created, opened or resumed."""


class WorkersLost(RunError):
    """No worker can be started any more: what is known is kept and reported, and the run can be gone on with."""


class UnknownNameError(AutoLossError):
    """A name that no registry holds; the message offers the nearest one."""

    @classmethod
    def of(cls, kind: str, name: str, options: Iterable[str]) -> UnknownNameError:
        """Build the usual line: what was asked for, the nearest valid name, else all of them."""
        known = sorted(options)
        close = nearest(name, known)
        others = f"expected one of: {', '.join(known)}" if known else "there is none"
        hint = f"did you mean {close!r}?" if close else others
        return cls(f"unknown {kind} {shorten(name)!r}; {hint}")


class MissingExtraError(AutoLossError):
    """A feature was used whose optional dependency is not installed."""

    @classmethod
    def of(cls, feature: str, extra: str) -> MissingExtraError:
        """Name the feature and the line that installs it."""
        return cls(f"{feature} needs an extra: pip install 'cse-autoloss[{extra}]'")


def nearest(name: str, options: Iterable[str]) -> str | None:
    """The option most like `name` (case is ignored), or None when nothing comes close."""
    by_lower = {option.lower(): option for option in options}
    found = difflib.get_close_matches(name[:100].lower(), list(by_lower), n=1, cutoff=0.5)
    return by_lower[found[0]] if found else None


def shorten(text: str, limit: int = 60) -> str:
    """`text`, cut in the middle when it is longer than `limit` characters, for use in messages."""
    if len(text) <= limit:
        return text
    half = (limit - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def not_written(path: object, error: OSError | ValueError) -> AutoLossError:
    """What is raised where a file can't be written; ValueError: a name that no file can have, or text that none can
    hold."""
    why = getattr(error, "strerror", None) or "a sign in it that can not be written"
    return AutoLossError(f"can not write {printable(shorten(str(path), 200))}: {why}")


def printable(text: str) -> str:
    """`text` on one line, with control characters and others that a terminal obeys or hides escaped."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
