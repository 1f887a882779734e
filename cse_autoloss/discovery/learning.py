"""What a run begins with of earlier runs: what the package remembers, and what the user's own runs trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from cse_autoloss.errors import ConfigError, FormulaError
from cse_autoloss.graph import Signature, parse_formula
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.schema import section_key
from cse_autoloss.surrogate import Remembered, placed

KEPT = "learnt from"
"""What a run keeps of them, so that it goes on alike wherever it is resumed."""


def learnt(
    store: RunStore, runs: Sequence[str], task: str, slots: Mapping[str, Signature]
) -> tuple[Remembered, ...]:
    """What earlier runs trained, read once and then kept by the run that learns from them.

    Args:
        store: of the run that learns.
        runs: directories of earlier runs.
        task: that is searched for.
        slots: that are searched.

    Raises:
        ConfigError: a run of another task, or one that trained nothing for these slots.
        RunError: no run, or a damaged one.
    """
    kept = store.meta(KEPT)
    if kept is None:
        found = [row for run in runs for row in _trained(run, task, slots)]
        if runs:
            store.set_meta(KEPT, [asdict(row) for row in found])
        return tuple(found)
    with store.understood("what it has learnt from"):
        return tuple(Remembered(**row) for row in kept)


def _trained(run: str, task: str, slots: Mapping[str, Signature]) -> list[Remembered]:
    with RunStore.read(run) as store:
        with store.understood("its configuration"):
            theirs = store.config["task"]
            data = str(store.config[section_key(theirs)].get("data", ""))
        if theirs != task:
            raise ConfigError(f"surrogate.learn_from: {run} is a run of {theirs}, expected one of {task}")
        with store.understood("what was trained"):
            events = [event.detail for event in store.events("trained")]
            worths: dict[str, dict[str, list[float]]] = {slot: {} for slot in slots}
            for detail in events:
                for formula, worth in detail["worth"].items() if detail["slot"] in slots else ():
                    own = worths[detail["slot"]].setdefault(formula, [])
                    own.append(-math.inf if worth is None else float(worth))
    found = []
    for slot, signature in slots.items():
        known = {text: sum(own) / len(own) for text, own in worths[slot].items() if _fits(text, signature)}
        places = placed(np.array(list(known.values())))
        found += [
            Remembered(task, data, signature.name, text, round(float(place), 4))
            for text, place in zip(known, places, strict=True)
        ]
    if not found:
        raise ConfigError(f"surrogate.learn_from: {run} trained nothing for {' and '.join(slots)}")
    return found


def _fits(formula: str, signature: Signature) -> bool:
    """Whether losses of the signature read all that a formula reads; one of T does not fit the paper's inputs."""
    try:
        parse_formula(formula, signature)
    except FormulaError:
        return False
    return True
