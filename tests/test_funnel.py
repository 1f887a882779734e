"""The funnel's book-keeping: samples of the rejected with the numbers they stand for, and the duplicates' table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cse_autoloss.bench.progress import Clock, RunStatus, Silent
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.discovery.duplicates import KnownLosses
from cse_autoloss.discovery.funnel import KEPT_REJECTIONS, Entrant, Funnel, GenerationRecord
from cse_autoloss.executors import Work, make_executor
from cse_autoloss.runs import RunStore
from cse_autoloss.searches.protocol import Proposal
from cse_autoloss.spaces import BRANCHES, parse
from cse_autoloss.spaces.random_expressions import random_forest
from cse_autoloss.verification import VerifySettings, fingerprint, verify

SLOTS = {"cls": BRANCHES["cls-binary"], "reg": BRANCHES["reg"]}


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with RunStore.create(tmp_path / "run", {"seed": 3}) as opened:
        yield opened


def _funnel(store: RunStore, generation: int = 0) -> Funnel:
    executor = make_executor(
        "inprocess", Work("cse_autoloss.bench.worker:init", "cse_autoloss.bench.worker:run")
    )
    status = RunStatus(generation=generation, slot="reg")
    bench = Workbench(executor, store, Clock(None), status, Silent())
    return Funnel(bench, SLOTS, VerifySettings(), 20.0, None)


def _scout(store: RunStore, generation: int = 0) -> tuple[GenerationRecord, list[Entrant], Funnel]:
    funnel, record = _funnel(store, generation), GenerationRecord()
    found = funnel.scout("reg", 2000, np.random.default_rng(generation), record)
    return record, found, funnel


def _bred(seed: int, count: int = 300) -> list[Entrant]:
    forest = random_forest(BRANCHES["reg"], count, np.random.default_rng(seed))
    origins = ("crossover", "point", "random")
    return [Entrant(Proposal.of(forest.graph(i), origins[i % 3])) for i in range(count)]


def test_rejected_scouts_are_sampled_and_counted(store: RunStore) -> None:
    record, found, funnel = _scout(store)
    accepted = 2000 - record.rejected["scout"].population
    assert 0 < len(found) <= accepted
    funnel.keep(record, "reg", 0)
    (kept,) = store.rejected()
    assert (kept.slot, kept.generation, kept.stage, kept.source) == ("reg", 0, "verify", "scout")
    assert kept.population == 2000 - accepted
    assert len(kept.candidates) == KEPT_REJECTIONS
    for number in kept.candidates:
        verdict = store.verdicts(number)["verify"]
        again = verify(parse(store.candidate(number).formula, "reg"))
        assert not again.accepted
        assert (again.code, again.reason, again.where) == (verdict.code, verdict.reason, verdict.where)


def test_the_sample_repeats_and_differs_between_generations(store: RunStore) -> None:
    def formulas(generation: int) -> list[str]:
        record, _, _ = _scout(store, generation)
        return [entrant.proposal.graph.formula for entrant, _ in record.rejected["scout"].items]

    assert formulas(0) == formulas(0)
    assert formulas(0) != formulas(1)


def test_bred_and_random_candidates_have_samples_of_their_own(store: RunStore) -> None:
    funnel, record = _funnel(store), GenerationRecord()
    batches = [_bred(seed) for seed in range(3)]
    fresh = [e for batch in batches for e in funnel.verify(batch, "reg", record)]
    funnel.keep(record, "reg", 0)
    kept = {one.source: one for one in store.rejected()}
    assert set(kept) == {"bred", "random"}
    wrong = {
        random: sum(
            not verify(e.proposal.graph).accepted
            for batch in batches
            for e in batch
            if (e.proposal.origin == "random") == random
        )
        for random in (False, True)
    }
    assert kept["bred"].population == wrong[False]
    assert kept["random"].population == wrong[True]
    origins = {store.candidate(n).origin for n in kept["bred"].candidates}
    assert origins == {"crossover", "point"}
    assert all(e.fingerprint == fingerprint(e.proposal.graph) for e in fresh)
    assert store.rejected()[0].candidates != ()


def test_nothing_to_verify_is_no_mistake(store: RunStore) -> None:
    assert _funnel(store).verify([], "reg", GenerationRecord()) == []


def test_duplicates_are_known_by_their_gradients_and_over_generations(store: RunStore) -> None:
    funnel, record = _funnel(store), GenerationRecord()

    def entrants(*formulas: str) -> list[Entrant]:
        return [Entrant(Proposal.of(parse(f, "reg"), "point")) for f in formulas]

    first = funnel.verify(entrants("Sub(1,Div(I,U))", "Sub(2,Div(I,U))"), "reg", record)
    assert [e.proposal.graph.formula for e in first] == ["Sub(1,Div(I,U))"]
    # Only what goes on to the simulation is remembered.
    assert len(funnel.verify(entrants("Sub(1,Div(I,U))"), "reg", GenerationRecord())) == 1
    record.verdicts = [(first[0], (verify(first[0].proposal.graph),))]
    funnel.keep(record, "reg", 0)
    for later in (funnel, _funnel(store, 1)):
        assert later.verify(entrants("Add(3,Neg(Div(I,U)))"), "reg", GenerationRecord()) == []
        assert later._bench.status.funnel["duplicates"] > 0


def _owner(store: RunStore, place: int) -> int:
    return store.add_candidate(
        slot="reg", formula=f"f{place}", digest=f"d{place}", generation=0, place=place, origin="point"
    ).id


def test_the_duplicates_table_is_bounded_and_forgets_the_oldest(store: RunStore) -> None:
    known = KnownLosses(store, limit=10)
    for place in range(25):
        known.add("reg", f"mark{place}")
        assert ("reg", f"mark{place}") in known
        known.keep({("reg", f"mark{place}"): _owner(store, place)})
    again = KnownLosses(store, limit=10)
    for table in (known, again):
        assert [place for place in range(25) if ("reg", f"mark{place}") in table] == list(range(15, 25))
        assert ("cls", "mark20") not in table


def test_slots_may_overlap(store: RunStore) -> None:
    known = KnownLosses(store, limit=1)
    known.add("reg", "mark0")
    known.add("cls", "mark1")
    known.keep({("reg", "mark0"): _owner(store, 0)})
    assert ("cls", "mark1") in known
    known.keep({("cls", "mark1"): _owner(store, 1)})
    assert ("reg", "mark0") in known


def test_what_an_interrupted_generation_added_is_not_known_after_a_resume(store: RunStore) -> None:
    known = KnownLosses(store)
    known.add("reg", "mark")
    assert ("reg", "mark") in known
    assert ("reg", "mark") not in KnownLosses(store)
