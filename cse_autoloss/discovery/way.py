"""The way of a search of a parametric space by whole trainings: its centre after each generation, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cse_autoloss.bench.session import Session
from cse_autoloss.losses.parametric import is_parametric
from cse_autoloss.report.space_plots import draw_search
from cse_autoloss.runs import RunStore
from cse_autoloss.searches.parametric import space_of, theta_of
from cse_autoloss.searches.protocol import Search, SearchState
from cse_autoloss.tasks.target_logits import TargetLogits


def way_of(store: RunStore, search: Search, slot: str) -> list[tuple[float, ...]]:
    """What the search would bet on: before the first generation, and after each that the store knows."""
    states, kept = list[SearchState](), store.load_state()
    while kept is not None:
        with store.understood("the search's state"):
            states.append(SearchState.from_json(kept[1]["state"]))
        kept = store.load_state(before=kept[0])
    guesses = [search.guess(state) for state in (search.init(), *reversed(states))]
    return [theta_of(guess[slot].formula) for guess in guesses if slot in guess]


def draw_way(session: Session, store: RunStore, search: Search, summary: Mapping[str, Any]) -> None:
    """Write plots/*.png of a search whose candidates are points of a parametric space; of others, nothing."""
    if session.config.search not in ("reinforce", "cma"):
        return
    (slot,) = search.slots
    path = way_of(store, search, slot)
    if len(path) < 2:
        return
    best = (summary.get("best") or {}).get("losses", {}).get(slot, "")
    exported = theta_of(best) if best and is_parametric(best) else None
    finals = [score for score in store.scores("audit", status="ok") if score.losses.get(slot) == best]
    with store.understood("where a model has its logits"):
        told = [TargetLogits.from_dict(one.extra["logits"]) for one in finals if one.extra.get("logits")]
    alone = told[0] if told else None
    draw_search(store.directory, space_of(session.config), path, exported, {}, alone, "generation")
