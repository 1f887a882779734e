"""What a run's page needs to know of its task, kept in the run's store: a page is made without loading any task.

A task may be a file of the user's; a run directory that somebody sends must not run code when it is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Literal

from cse_autoloss.bench.session import Session
from cse_autoloss.graph import Signature
from cse_autoloss.runs import RunStore
from cse_autoloss.spaces.signatures import stated
from cse_autoloss.tasks.protocol import Metric

Command = Literal["evolve", "reinforce", "compare", "study"]


def keep_about(
    store: RunStore,
    command: Command,
    task: str,
    slots: Mapping[str, Signature],
    searched: Sequence[str],
    metric: Metric,
    plain: Mapping[str, str],
) -> None:
    """Write down what the run is of.

    Args:
        store: open for writing.
        command: that made the run.
        task: its name.
        slots, searched: the task's slots, and those whose losses are looked for.
        metric: that decides.
        plain: the losses that stand in a slot while another is searched.
    """
    told = {
        "command": command,
        "task": task,
        "slots": {slot: stated(one) for slot, one in slots.items()},
        "searched": list(searched),
        # A page shows figures that there are: what they may be, which can be infinite, it need not know.
        "metric": {**asdict(metric), "range": None},
        "plain": dict(plain),
    }
    if store.meta("about") != told:
        store.set_meta("about", told)


def about_session(store: RunStore, command: Command, session: Session) -> None:
    """`keep_about` of a session's task."""
    task = session.task
    keep_about(store, command, task.name, task.slots, session.slots, session.metric, session.plain)
