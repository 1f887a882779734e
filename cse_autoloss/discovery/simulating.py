"""Candidates go to the simulation many at a time; one that hangs or crashes rejects only itself."""

from __future__ import annotations

from collections.abc import Sequence

from cse_autoloss.bench.jobs import simulation_payload
from cse_autoloss.bench.schedule import Batch, Process
from cse_autoloss.executors import Job, JobResult
from cse_autoloss.graph import LossGraph
from cse_autoloss.verdict import Verdict

CHUNK = 32
"""Candidates that a job simulates side by side: a fewfold faster for each than alone, and done in half a second."""


def simulating(
    slot: str, graphs: Sequence[LossGraph], alpha: float | None, limit: float
) -> Process[list[Verdict | None]]:
    """Simulate candidates of one slot; a verdict for each, None for what the deadline cut off.

    A chunk that fails, or takes longer than its limit, is done again one by one: only then is it known whose fault
    it was.

    Args:
        slot: that they are for.
        graphs: the candidates.
        alpha: α weighting of binary classification losses.
        limit: wall seconds after which one candidate is ended and rejected. A chunk may take twice that, for work
            that its candidates share, and a tenth of it more for each.
    """
    unique = {graph.digest: graph for graph in graphs}
    digests = list(unique)
    chunks = [digests[start : start + CHUNK] for start in range(0, len(digests), CHUNK)]
    verdicts: dict[str, Verdict] = {}
    alone: list[str] = []
    jobs = [_job(slot, chunk, unique, alpha, limit * (2 + len(chunk) / 10)) for chunk in chunks]
    results = yield Batch(jobs)
    for job, chunk in zip(jobs, chunks, strict=True):
        result = results.get(job.key)
        if result is not None and result.status == "ok":
            verdicts.update(_verdicts(chunk, result))
        elif result is not None:
            alone += chunk
    jobs = [_job(slot, [digest], unique, alpha, limit) for digest in alone]
    results = yield Batch(jobs)
    for job, digest in zip(jobs, alone, strict=True):
        result = results.get(job.key)
        if result is not None:
            verdicts.update(_verdicts([digest], result))
    return [verdicts.get(graph.digest) for graph in graphs]


def _job(
    slot: str, digests: Sequence[str], graphs: dict[str, LossGraph], alpha: float | None, limit: float
) -> Job:
    payload = simulation_payload(slot, [graphs[digest].formula for digest in digests], alpha)
    return Job(f"simulate:{len(digests)}:{digests[0]}", payload, limit)


def _verdicts(digests: Sequence[str], result: JobResult) -> dict[str, Verdict]:
    """What a job said of its candidates; one that failed rejects them."""
    if result.status == "ok":
        told = [Verdict(**verdict) for verdict in result.value["verdicts"]]
        return dict(zip(digests, told, strict=True))
    return {
        digest: Verdict("simulate", False, result.detail, seconds=result.seconds, code=result.status)
        for digest in digests
    }
