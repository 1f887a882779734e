"""Asking: candidates are bred, verified, and handed out once each."""

from __future__ import annotations

import zlib
from functools import partial

import numpy as np

from cse_autoloss.discovery.funnel import Entrant, GenerationRecord
from cse_autoloss.errors import RunError
from cse_autoloss.searches.protocol import slot_of
from cse_autoloss.study.candidate import Candidate
from cse_autoloss.study.functions import failed
from cse_autoloss.study.parts import Parts
from cse_autoloss.study.standing import Standing
from cse_autoloss.study.telling import record

ROUNDS = 50
"""Batches that are bred for a generation before it is given up that any has the properties."""


def asked(parts: Parts, count: int) -> list[Candidate]:
    """See `Study.ask`."""
    found: list[Candidate] = []
    at = parts.at
    while len(found) < count:
        if at.again:
            found.append(at.again.pop(0))
            continue
        if not at.pool:
            _breed(parts)
        issued = issue(parts, at.pool.pop(0))
        if issued is not None:
            found.append(issued)
    return found


def _breed(parts: Parts) -> None:
    """Fill the pool with candidates of the generation that have the properties and are new."""
    search, rates, at = parts.search, parts.config.evolution, parts.at
    slot = slot_of(search.slots, at.state.generation)
    status = parts.bench.status
    status.slot, status.generation = slot, at.state.generation
    signature = parts.slots[slot].name
    number = zlib.crc32(f"{parts.config.seed}:{signature}:{at.state.generation}".encode())
    rng = np.random.default_rng([number, at.attempt])
    for _ in range(ROUNDS):
        thrown, entrants = GenerationRecord(), list[Entrant]()
        if at.attempt == 0 and search.expressions and not at.state.populations[slot]:
            entrants += parts.starters[slot]
        if search.expressions and rates.scouts:
            places = max(1, round(rates.random_fraction * rates.offspring))
            at.pool += parts.funnel.scout(slot, rates.scouts, rng, thrown)[:places]
        proposed = search.ask(at.state, at.attempt, search.samples or rates.batch)
        entrants += [Entrant(proposal) for proposal in proposed]
        at.attempt += 1
        at.pool = parts.funnel.verify(entrants, slot, thrown) + at.pool
        if at.pool:
            return
        if not proposed:
            break
    raise RunError(
        f"{parts.directory}: no new loss with the properties of {signature} was found in "
        f"{at.attempt} batches; other operators, walks or limits may admit some"
    )


def issue(parts: Parts, entrant: Entrant) -> Candidate | None:
    """The entrant as a candidate; None where one with the same gradients was handed out before."""
    slot, proposal, store = parts.bench.status.slot, entrant.proposal, parts.store
    with store.transaction():
        if store.fingerprint_owner(slot, entrant.fingerprint) is not None:
            return None
        row = store.add_candidate(
            slot=slot,
            formula=proposal.formula,
            digest=proposal.digest,
            generation=parts.at.state.generation,
            place=parts.at.asked,
            origin=proposal.origin,
            parents=proposal.parents,
        )
        store.claim_fingerprint(slot, entrant.fingerprint, row.id)
        parts.at.asked += 1
        made = _candidate(parts, row.id, slot, proposal.formula, proposal.origin)
        # In the same transaction: a process killed after it goes on with this candidate open.
        parts.keep()
    return made


def _candidate(parts: Parts, number: int, slot: str, formula: str, origin: str) -> Candidate:
    texts = {**parts.plain, **parts.at.state.partners.get(slot, {}), slot: formula}
    told = partial(_failed, parts)
    made = Candidate(parts.steps(), parts.metric.higher, {}, number, slot, texts, parts.slots, origin, told)
    parts.at.open[number] = made
    return made


def _failed(parts: Parts, candidate: Candidate, why: object) -> None:
    record(parts, candidate, failed(why))


def go_on(parts: Parts) -> None:
    """Go on from what the store has: those that were asked for and told nothing of come again first."""
    kept = parts.store.meta("study")
    if kept is None:
        return
    with parts.store.understood("the study's state"):
        parts.bench.status.slot = kept["slot"]
        parts.bench.status.restore(kept["counts"])
        read = parts.slots[kept["slot"]] if parts.search.expressions else None
        parts.at = Standing.from_json(kept, read)
        for number, slot, origin, texts in kept["open"]:
            candidate = _candidate(parts, number, slot, texts[slot], origin)
            candidate.texts = texts
            parts.at.again.append(candidate)
