"""The run directories of a folder, each with what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cse_autoloss.errors import RunError


@dataclass(frozen=True)
class RunEntry:
    """A run directory.

    Attributes:
        directory: where it is.
        command: evolve, reinforce, compare or study; empty where it can't be read.
        task: its name.
        status: running, interrupted, finished, open, audited; "unreadable" where it can't be read.
        begun: seconds since the epoch.
        verdict: one sentence; where it can't be read, why.
    """

    directory: Path
    command: str
    task: str
    status: str
    begun: float
    verdict: str


def list_runs(directory: str | Path = "runs") -> list[RunEntry]:
    """The runs in a folder, the newest first; a folder that is a run itself is listed alone.

    Raises:
        RunError: there is no such folder.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; runs are kept in runs/ unless told otherwise")
    inside = [folder, *(one for one in folder.iterdir() if one.is_dir())]
    found = [_entry(one) for one in inside if (one / "run.sqlite").is_file()]
    return sorted(found, key=lambda one: (-one.begun, str(one.directory)))


def _entry(directory: Path) -> RunEntry:
    from cse_autoloss.errors import AutoLossError
    from cse_autoloss.report.page.verdict import sentence
    from cse_autoloss.report.view import RunView
    from cse_autoloss.runs import RunStore

    try:
        with RunStore.read(directory) as store, store.understood("what it holds"):
            view = RunView(store)
            task = str(view.about.get("task", ""))
            return RunEntry(directory, view.command, task, view.status, view.started, sentence(view))
    except AutoLossError as error:
        return RunEntry(directory, "", "", "unreadable", 0.0, str(error))
