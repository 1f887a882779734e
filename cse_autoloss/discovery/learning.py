"""What a run begins with of earlier runs: what the package remembers, and what the user's own runs trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from cse_autoloss.errors import ConfigError, FormulaError, RunError, shorten
from cse_autoloss.graph import Signature, parse_formula
from cse_autoloss.runs import RunStore, holds_run
from cse_autoloss.searches.protocol import SearchState
from cse_autoloss.settings.schema import SearchConfig, section_key
from cse_autoloss.surrogate import Remembered, placed

KEPT = "learnt from"
"""What a run keeps of them, so that it goes on alike wherever it is resumed."""


def learnt(
    store: RunStore, runs: Sequence[str], config: SearchConfig, slots: Mapping[str, Signature]
) -> tuple[Remembered, ...]:
    """What earlier runs trained, read once and then kept by the run that learns from them.

    Args:
        store: of the run that learns.
        runs: directories of earlier runs, or of folders with runs, of which those of another task are passed over.
        config: of the run that learns.
        slots: that are searched.

    Raises:
        ConfigError: a run of another task, or one that trained nothing for these slots.
        RunError: no run, or a damaged one.
    """
    kept = store.meta(KEPT)
    if kept is None:
        found = _Found()
        try:
            for named in runs:
                _read(named, found, store, config, slots)
        except OSError as error:
            raise RunError(
                f"surrogate.learn_from: {shorten(str(error.filename))}: {error.strerror}"
            ) from None
        if runs:
            with store.transaction():
                store.set_meta(KEPT, [asdict(row) for row in found.rows])
                store.add_event(KEPT, note=found.note)
        return tuple(found.rows)
    with store.understood("what it has learnt from"):
        return TypeAdapter(tuple[Remembered, ...]).validate_python(kept)


@dataclass
class _Found:
    """What was read so far: its rows, of how many runs and trainings, and why others were passed over."""

    rows: list[Remembered] = field(default_factory=list)
    runs: int = 0
    trainings: int = 0
    passed: list[str] = field(default_factory=list)

    @property
    def note(self) -> str:
        """All of it on one line."""
        told = f"learnt from {_counted(self.runs, 'run')} with {_counted(self.trainings, 'training')}"
        return f"{told}; {self.others}" if self.passed else told

    @property
    def others(self) -> str:
        """Of the runs that were passed over, how many they are, and the first one's reason."""
        return f"{_counted(len(self.passed), 'run')} passed over, the first: {shorten(self.passed[0], 300)}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _read(
    named: str, found: _Found, store: RunStore, config: SearchConfig, slots: Mapping[str, Signature]
) -> None:
    """The run of that directory; or all runs in it that have something to tell, but for the one that learns."""
    folder = Path(named)
    if holds_run(folder) or not folder.is_dir():
        _read_run(named, found, config, slots)
        return
    before, passed = found.runs, len(found.passed)
    for one in sorted(folder.iterdir()):
        try:
            if one.is_dir() and one.resolve() != store.directory.resolve() and holds_run(one):
                _read_run(str(one), found, config, slots)
        except (ConfigError, RunError) as error:
            found.passed.append(str(error).removeprefix("surrogate.learn_from: "))
        except OSError as error:
            found.passed.append(f"{one}: {error.strerror}")
    if found.runs == before:
        raise ConfigError(
            f"surrogate.learn_from: {named} is no run, and holds none that trained for {config.task}"
            + (f" ({found.others})" if len(found.passed) > passed else "")
        )


def _read_run(run: str, found: _Found, config: SearchConfig, slots: Mapping[str, Signature]) -> None:
    rows, trainings = _trained(run, config, slots)
    found.rows += rows
    found.runs, found.trainings = found.runs + 1, found.trainings + trainings


def _trained(run: str, config: SearchConfig, slots: Mapping[str, Signature]) -> tuple[list[Remembered], int]:
    """What a run trained that fits, and in how many trainings."""
    task = config.task
    with RunStore.read(run) as store:
        with store.understood("its configuration"):
            theirs = store.config["task"]
            data = str(store.config[section_key(theirs)].get("data", ""))
        if theirs != task:
            raise ConfigError(f"surrogate.learn_from: {run} is a run of {theirs}, expected one of {task}")
        with store.understood("what was trained"):
            events = [event.detail for event in store.events("trained")]
            alike = _alike(store, config)
            worths: dict[str, dict[str, list[float]]] = {slot: {} for slot in slots}
            for detail in events:
                for formula, worth in detail["worth"].items() if detail["slot"] in slots else ():
                    own = worths[detail["slot"]].setdefault(formula, [])
                    own.append(-math.inf if worth is None else float(worth))
    found, trainings = [], 0
    for slot, signature in slots.items():
        known = {text: own for text, own in worths[slot].items() if fits(text, signature)}
        trainings += sum(map(len, known.values()))
        places = placed(np.array([sum(own) / len(own) for own in known.values()]))
        for (text, own), place in zip(known.items(), places, strict=True):
            kept = tuple(worth if math.isfinite(worth) else None for worth in own) if slot in alike else ()
            found.append(Remembered(task, data, signature.name, text, round(float(place), 4), kept))
    if not found:
        raise ConfigError(f"surrogate.learn_from: {run} trained nothing for {' and '.join(slots)}")
    return found, trainings


def _alike(store: RunStore, config: SearchConfig) -> set[str]:
    """Slots whose trainings can be held beside those of another run: on its data, with its model and schedule, by its
    metric, beside the plain losses of the other slots."""
    theirs, ours = store.config, config.model_dump(mode="json")
    section = section_key(config.task)

    def what(settings: Mapping[str, Any]) -> tuple[Any, ...]:
        own = {name: value for name, value in settings[section].items() if name not in ("spaces", "cache")}
        proxy = settings.get("proxy", {})
        how = proxy.get("epochs"), proxy.get("optimizer", "sgd"), proxy.get("precision")
        return own, settings.get("metric"), settings.get("alpha"), how

    state, size = store.load_state(), store.meta("size") or {}
    whole = size.get("share", 1.0) == 1.0 and size.get("epochs") == ours["proxy"]["epochs"]
    if state is None or not whole or what(theirs) != what(ours):
        return set()
    told = SearchState.from_json(state[1]["state"])
    return {slot for slot in told.populations if slot not in told.partners}


def fits(formula: str, signature: Signature) -> bool:
    """Whether losses of the signature read all that a formula reads; one of T does not fit the paper's inputs."""
    try:
        parse_formula(formula, signature)
    except FormulaError:
        return False
    return True
