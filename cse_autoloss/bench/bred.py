"""Breeding and verification as jobs: where many workers train, one process can not breed enough for them.

What a search asks depends on its state alone (its conformance suite holds it to that), so any worker asks the same.
It sends back what verification says of each candidate; who is new is the main process's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cse_autoloss.executors import Job
from cse_autoloss.graph import LossGraph, Signature, parse_formula
from cse_autoloss.searches.protocol import Proposal, Search, SearchState, slot_of
from cse_autoloss.settings.filters import VerifySettings
from cse_autoloss.spaces.random_expressions import Forest
from cse_autoloss.verdict import Verdict
from cse_autoloss.verification import verify_forest

LIMIT = 600.0
"""Wall seconds after which the main process breeds itself."""

Bred = list[tuple[Proposal, str, Verdict | None]]
"""Candidates, each with its fingerprint, or with the verdict that stopped it."""


def job(state: SearchState, starters: Mapping[str, Sequence[LossGraph]], attempt: int, count: int) -> Job:
    """Ask the search, as of `Search.ask`, and verify.

    Args:
        state: of the search; its populations name the slots.
        starters: as the search was made with.
        attempt, count: as of `Search.ask`.
    """
    payload = {
        "kind": "breed",
        "state": state.to_json(),
        "starters": {slot: [graph.formula for graph in graphs] for slot, graphs in starters.items()},
        "attempt": attempt,
        "count": count,
    }
    return Job(f"breed:{state.generation}:{attempt}:{count}", payload, LIMIT)


def breed(search: Search, settings: VerifySettings, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Do a job of `job`: `bred` has a line for each candidate."""
    state = SearchState.from_json(payload["state"])
    asked = search.ask(state, payload["attempt"], payload["count"])
    if not asked:
        return {"bred": []}
    slot = slot_of(search.slots, state.generation)
    graphs = [one.graph or parse_formula(one.formula, search.slots[slot]) for one in asked]
    report = verify_forest(Forest.of(graphs), settings, marks=True)
    lines = []
    for row, one in enumerate(asked):
        mark = report.marks.get(row, "")
        verdict = None if mark else asdict(report.verdict(row))
        lines.append([one.formula, one.digest, one.origin, one.parents, mark, verdict])
    return {"bred": lines}


def told(value: Mapping[str, Any], signature: Signature) -> Bred:
    """What a worker sent; only those that passed have a graph, which nobody needs of the others."""
    found: Bred = []
    for formula, digest, origin, parents, mark, verdict in value["bred"]:
        graph = parse_formula(formula, signature) if mark else None
        proposal = Proposal(formula, digest, origin, tuple(parents), graph)
        found.append((proposal, mark, None if mark else Verdict(**verdict)))
    return found
