"""What a run begins with of earlier runs: what the package remembers, and what the user's own runs trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
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
        try:
            found = [row for named in runs for row in _known(named, store, config, slots)]
        except OSError as error:
            raise RunError(
                f"surrogate.learn_from: {shorten(str(error.filename))}: {error.strerror}"
            ) from None
        if runs:
            store.set_meta(KEPT, [asdict(row) for row in found])
        return tuple(found)
    with store.understood("what it has learnt from"):
        return TypeAdapter(tuple[Remembered, ...]).validate_python(kept)


def _known(
    named: str, store: RunStore, config: SearchConfig, slots: Mapping[str, Signature]
) -> list[Remembered]:
    """Of the run of that directory; or of all runs in it that have something to tell, but for the one that learns."""
    folder = Path(named)
    if holds_run(folder) or not folder.is_dir():
        return _trained(named, config, slots)
    found: list[Remembered] = []
    for one in sorted(folder.iterdir()):
        if one.is_dir() and one.resolve() != store.directory.resolve() and holds_run(one):
            with suppress(ConfigError, RunError):
                found += _trained(str(one), config, slots)
    if not found:
        raise ConfigError(
            f"surrogate.learn_from: {named} is no run, and holds none that trained for {config.task}"
        )
    return found


def _trained(run: str, config: SearchConfig, slots: Mapping[str, Signature]) -> list[Remembered]:
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
    found = []
    for slot, signature in slots.items():
        known = {text: own for text, own in worths[slot].items() if _fits(text, signature)}
        places = placed(np.array([sum(own) / len(own) for own in known.values()]))
        for (text, own), place in zip(known.items(), places, strict=True):
            kept = tuple(worth if math.isfinite(worth) else None for worth in own) if slot in alike else ()
            found.append(Remembered(task, data, signature.name, text, round(float(place), 4), kept))
    if not found:
        raise ConfigError(f"surrogate.learn_from: {run} trained nothing for {' and '.join(slots)}")
    return found


def _alike(store: RunStore, config: SearchConfig) -> set[str]:
    """Slots whose trainings can be held beside those of another run: on its data, with its model and schedule, by its
    metric, beside the plain losses of the other slots."""
    theirs, ours = store.config, config.model_dump(mode="json")
    section = section_key(config.task)

    def what(settings: Mapping[str, Any]) -> tuple[Any, ...]:
        own = {name: value for name, value in settings[section].items() if name not in ("spaces", "cache")}
        return own, settings.get("metric"), settings.get("alpha"), settings.get("proxy", {}).get("epochs")

    state, size = store.load_state(), store.meta("size") or {}
    whole = size.get("share", 1.0) == 1.0 and size.get("epochs") == ours["proxy"]["epochs"]
    if state is None or not whole or what(theirs) != what(ours):
        return set()
    told = SearchState.from_json(state[1]["state"])
    return {slot for slot in told.populations if slot not in told.partners}


def _fits(formula: str, signature: Signature) -> bool:
    """Whether losses of the signature read all that a formula reads; one of T does not fit the paper's inputs."""
    try:
        parse_formula(formula, signature)
    except FormulaError:
        return False
    return True
