"""Chunks of simulations: one bad candidate rejects only itself."""

from typing import Any

from cse_autoloss.discovery.simulating import CHUNK, simulating
from cse_autoloss.executors import Job, JobResult
from cse_autoloss.graph import LossGraph
from cse_autoloss.spaces import parse
from cse_autoloss.verdict import Verdict


def graphs(count: int) -> list[LossGraph]:
    """Different losses: 1 - i/u, 1 - i/(u + u), ..."""
    formulas, union = [], "U"
    for _ in range(count):
        formulas.append(parse(f"Sub(1,Div(I,{union}))", "reg"))
        union = f"Add(U,{union})"
    return formulas


def answer(job: Job, bad: set[str], cut: set[str]) -> JobResult | None:
    formulas: list[str] = list(job.payload["formulas"])
    if cut & set(formulas):
        return None
    if bad & set(formulas):
        return JobResult(job.key, "crashed", {}, "the worker was killed", 0.1, 1)
    verdicts = [Verdict("simulate", True, formula).to_dict() for formula in formulas]
    return JobResult(job.key, "ok", {"verdicts": verdicts}, "", 0.1, 1)


def simulated(
    losses: list[LossGraph],
    bad: set[str] = frozenset(),
    cut: set[str] = frozenset(),  # type: ignore[assignment]
) -> tuple[list[Verdict | None], list[list[Job]]]:
    process: Any = simulating("reg", losses, None, 20.0)
    batches: list[list[Job]] = []
    results: dict[str, JobResult] | None = None
    while True:
        try:
            batch = next(process) if results is None else process.send(results)
        except StopIteration as stop:
            return stop.value, batches
        batches.append(list(batch.jobs))
        found = [answer(job, bad, cut) for job in batch.jobs]
        results = {result.key: result for result in found if result is not None}


def test_verdicts_come_back_in_order_whatever_the_chunks() -> None:
    losses = graphs(CHUNK + 5)
    verdicts, batches = simulated([*losses, losses[3]])
    assert [v.reason for v in verdicts if v is not None] == [*(g.formula for g in losses), losses[3].formula]
    assert [[len(job.payload["formulas"]) for job in jobs] for jobs in batches] == [[CHUNK, 5], []]
    assert batches[0][0].limit is not None
    assert batches[0][1].limit is not None
    assert batches[0][0].limit > batches[0][1].limit > 20.0


def test_of_a_chunk_that_crashes_only_the_culprit_is_rejected() -> None:
    losses = graphs(CHUNK + 2)
    verdicts, batches = simulated(losses, bad={losses[1].formula})
    assert [v.code for v in verdicts if v is not None and not v.accepted] == ["crashed"]
    assert verdicts[1] is not None
    assert not verdicts[1].accepted
    assert len(batches[1]) == CHUNK
    assert {job.limit for job in batches[1]} == {20.0}
    assert len({job.key for jobs in batches for job in jobs}) == 2 + CHUNK


def test_what_the_deadline_cuts_off_has_no_verdict() -> None:
    losses = graphs(CHUNK + 2)
    verdicts, batches = simulated(losses, cut={losses[-1].formula})
    assert [v is None for v in verdicts] == [False] * CHUNK + [True, True]
    assert batches[1] == []
