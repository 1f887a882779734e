"""Telling: what training with a candidate came to is kept, and at a generation's end the search learns of it."""

from __future__ import annotations

import math

from cse_autoloss.errors import ConfigError
from cse_autoloss.runs import Score, job_key
from cse_autoloss.searches.protocol import Member
from cse_autoloss.study.candidate import Candidate
from cse_autoloss.study.functions import Outcome
from cse_autoloss.study.parts import Parts


def record(parts: Parts, candidate: Candidate, outcome: Outcome) -> None:
    """Keep the outcome, and what the search made of it, in one transaction.

    Raises:
        ConfigError: the candidate was told already.
    """
    at, number = parts.at, candidate.number
    if number not in at.open:
        raise ConfigError(f"candidate {number}: no value is awaited of it; it was told already")
    at.again = [one for one in at.again if one.number != number]
    score = _score(candidate, outcome)
    row = parts.store.candidate(number)
    del at.open[number]
    at.closed += 1
    sound = outcome.value is not None
    if sound:
        names = {entrant.proposal.digest: entrant.name for entrant in parts.starters[candidate.slot]}
        worth, name = parts.metric.worth(score.metrics), names.get(row.digest, "")
        at.told.append(
            Member(candidate.formula, row.digest, candidate.origin, row.generation, (worth,), name)
        )
    with parts.store.transaction():
        parts.store.add_score(score)
        parts.bench.status.funnel["trained"] += sound
        if at.closed >= parts.size:
            at.next_generation(parts.search.tell(at.state, tuple(at.told)))
            parts.store.fold()
        parts.keep()
    parts.bench.show()


def _score(candidate: Candidate, outcome: Outcome) -> Score:
    """The outcome as the store keeps it."""
    texts = dict(candidate.texts)
    steps = dict(outcome.steps) or candidate.steps
    return Score(
        key=job_key(study=candidate.number, losses=texts),
        purpose="proxy",
        losses=texts,
        split="val",
        seed=candidate.number,
        epochs=0.0,
        status=outcome.status,
        metrics={"value": float(outcome.value)} if outcome.value is not None else {},
        detail=outcome.detail,
        seconds=outcome.seconds,
        candidate=candidate.number,
        extra={"steps": [[step, value] for step, value in steps.items() if math.isfinite(value)]},
    )
