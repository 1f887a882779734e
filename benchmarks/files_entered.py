"""How many of the package's files a search enters before its first score, and how large the package is.

    python benchmarks/files_entered.py [--list]

A file is entered when a function in it is called between the start of `evolve --config smoke` (jobs in this process)
and the moment when the first proxy training's score is in the store. Imports alone do not count: what matters is how
many files a reader has to follow. Beside it stand the folders at the top, the layers of imports that pyproject.toml
states, and the lines of the package.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import threading
import tomllib
from collections import Counter
from collections.abc import Sequence
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType, FrameType

import cse_autoloss
from cse_autoloss.cli.app import main as program

PACKAGE = Path(cse_autoloss.__file__).parent
PROJECT = PACKAGE.parent / "pyproject.toml"


class FirstScore(BaseException):
    """Raised when the first proxy training's score has been written."""


class Entered:
    """A profiler that notes in which files of the package functions are called."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._known: dict[CodeType, str] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if code not in self._known:
            # The body of a module or of a class runs when it is imported; it is no function.
            inside = code.co_flags & CO_OPTIMIZED and code.co_filename.startswith(f"{PACKAGE}/")
            self._known[code] = code.co_filename[len(f"{PACKAGE}/") :] if inside else ""
        file = self._known[code]
        if file and event == "call":
            self.calls[file] += 1
        elif file and event == "return" and code.co_name == "add_score":
            if getattr(frame.f_locals.get("score"), "purpose", None) == "proxy":
                raise FirstScore


def files_entered() -> Counter[str]:
    """File of the package -> how often functions in it were called."""
    entered = Entered()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        out = str(Path(folder, "run"))
        sys.argv = ["cse-autoloss", "evolve", "--config", "smoke", "--quiet", "--out", out]
        sys.argv += ["--set", "executor=inprocess", "--set", "workers=1"]
        threading.setprofile(entered)
        sys.setprofile(entered)
        try:
            program()
        except FirstScore:
            return entered.calls
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]
    raise SystemExit("the search ended before a proxy training had a score")


def layers() -> Sequence[str]:
    """The layers of imports, highest first."""
    contracts = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    return max((contract["layers"] for contract in contracts if contract["type"] == "layers"), key=len)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="name the files, with the number of calls")
    wanted = parser.parse_args()
    files = sorted(PACKAGE.rglob("*.py"))
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    loose = sum(file.name != "__init__.py" for file in PACKAGE.glob("*.py"))
    folders = {file.relative_to(PACKAGE).parts[0] for file in files if file.parent != PACKAGE}
    calls = files_entered()
    if wanted.list:
        for file in sorted(calls):
            print(f"{calls[file]:>12,}  {file}")
    print(f"{len(calls)} files entered before the first score (at most 50 wanted)")
    print(
        f"{len(layers())} import layers (at most 15 wanted), {lines:,} lines in {len(files)} files of "
        f"{len(folders)} folders, {loose} files at the top"
    )


if __name__ == "__main__":
    main()
