"""How a run was made: settings, versions, machine, seconds by stage, and the command that repeats it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from typing import Any

import yaml

from cse_autoloss.pages import Safe, details, el, table
from cse_autoloss.report.live import clock_face
from cse_autoloss.report.view import RunView

_DEFAULT = "cse-autoloss"

LONG = 1500
"""Letters of a command that is folded: one with the numbers of a schedule."""


def settings(view: RunView) -> Safe:
    """The last section."""
    text = command(view)
    shown = el("code", text)
    if len(text) > LONG:
        shown = details(f"A command of {len(text):,} letters, with all its losses", shown)
    facts: list[tuple[str, Any]] = [("Repeat it", shown)]
    if view.command != "study":
        facts.append(("Go on with it", el("code", f"{_DEFAULT} {view.command} --resume {_quoted(view)}")))
    facts += [
        ("Begun", time.strftime("%Y-%m-%d %H:%M", time.localtime(view.started))),
        ("Seed", view.config.get("seed", 0)),
    ]
    own = view.config.get(str(view.about.get("task")), {})
    if isinstance(own, dict) and own.get("data"):
        facts.append(("Data", own["data"]))
    machine = view.store.meta("machine") or {}
    if machine:
        facts.append(("Machine", f"{machine.get('system', '')}, {machine.get('cores', '?')} cores"))
        versions = [f"{name} {number}" for name, number in machine.items() if name not in ("system", "cores")]
        facts.append(("Versions", ", ".join(versions)))
    text = yaml.safe_dump(view.config, sort_keys=False, allow_unicode=True)
    return el(
        "section", el("h2", "How it was made"),
        el("dl", [(el("dt", name), el("dd", value)) for name, value in facts]),
        _seconds(view), details("All settings", el("pre", text)),
    )  # fmt: skip


def command(view: RunView) -> str:
    """What to type to do the run anew."""
    if view.command == "study":
        return "the script that made the study, with another directory"
    if view.command == "compare":
        kept = view.store.config["compare"]
        losses = shlex.join(_stated(one["name"], one["losses"]) for one in kept["contestants"])
        tune = "" if kept["tune"] else " --no-tune"
        options = (
            f"--config {_quoted(view)}/config.yaml --seeds {kept['seeds']} --split {kept['split']}{tune}"
        )
        return f"{_DEFAULT} compare {losses} {options}"
    return f"{_DEFAULT} {view.command} --config {_quoted(view)}/config.yaml"


def _stated(name: str, losses: Mapping[str, str]) -> str:
    """A contestant as `compare` takes it."""
    text = "+".join(losses.values())
    return text if name == " + ".join(losses.values()) else f"{name}={text}"


def _quoted(view: RunView) -> str:
    return shlex.quote(str(view.directory))


def _seconds(view: RunView) -> Safe | None:
    """Wall time by stage."""
    told = view.summary.get("seconds") or (view.store.meta("clock") or {}).get("seconds") or {}
    stages = {name: seconds for name, seconds in told.items() if name != "total" and seconds >= 0.05}
    if not stages:
        return None
    total = sum(stages.values())
    rows = [(name, clock_face(seconds), f"{seconds / total:.0%}") for name, seconds in stages.items()]
    return details(f"Time by stage ({clock_face(total)} in all)", table(rows, ("stage", "m:ss", "share")))
