"""The run store: what goes in comes out, nothing half-written stays, a kill does no harm."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from stored_rows import add, score

from cse_autoloss.errors import RunError
from cse_autoloss.runs import RunStore, job_key
from cse_autoloss.verdict import Verdict


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with RunStore.create(tmp_path / "run", {"seed": 3}) as opened:
        yield opened


class TestWhatGoesInComesOut:
    def test_meta(self, store: RunStore) -> None:
        assert store.config == {"seed": 3}
        assert store.status == "running"
        store.status = "finished"
        store.set_meta("size", {"a": [1, None, 0.5]})
        with pytest.raises(ValueError, match="JSON compliant"):
            store.set_meta("bad", float("nan"))
        store.close()
        with RunStore.open(store.directory) as again:
            assert again.status == "finished"
            assert again.meta("size") == {"a": [1, None, 0.5]}
            assert again.meta("bad", "nothing") == "nothing"
            assert again.config == {"seed": 3}

    def test_candidates(self, store: RunStore) -> None:
        first = add(store, parents=("p", "q"))
        assert first == store.candidate(first.id)
        assert (first.parents, first.duplicate_of) == (("p", "q"), None)
        same = add(store, 1, digest="d0")
        assert same.duplicate_of == first.id
        assert add(store, 0, slot="cls").duplicate_of is None
        assert store.find_candidate("reg", "d0") == first
        assert store.find_candidate("reg", "none") is None
        assert [c.id for c in store.candidates("reg", 0)] == [first.id, same.id]
        assert len(store.candidates()) == 3
        with pytest.raises(KeyError):
            store.candidate(999)

    def test_verdicts(self, store: RunStore) -> None:
        candidate = add(store)
        bad = Verdict("verify", False, "rises between 0.3 and 0.4", 0.1, 0.001, "i/u = 0.3", "rises-with-iou")
        good = Verdict("simulate", True, "learns")
        store.add_verdicts([(candidate.id, good), (candidate.id, Verdict("verify", True, "first"))])
        store.add_verdicts([(candidate.id, bad)])
        assert store.verdicts(candidate.id) == {"verify": bad, "simulate": good}
        with pytest.raises(sqlite3.IntegrityError):
            store.add_verdicts([(999, good)])

    def test_scores(self, store: RunStore) -> None:
        candidate = add(store)
        kept = score("a", candidate=candidate.id)
        failed = score("b", status="timeout", metrics={}, detail="too long", seed=1)
        store.add_score(kept)
        store.add_score(failed)
        assert store.score("a") == kept
        assert store.score("b") == failed
        assert store.score("c") is None
        assert store.scores() == [kept, failed]
        assert store.scores("proxy", status="ok") == [kept]
        assert store.scores("audit") == []
        assert store.scores(candidate=candidate.id) == [kept]
        better = score("a", metrics={"ap": 0.5})
        store.add_score(better)
        assert store.score("a") == better

    def test_a_failed_training_holds_no_metrics(self, store: RunStore) -> None:
        odd = [{"ap": 0.5, "ap50": float(text)} for text in ("nan", "inf", "-inf")]
        for changes in ({"status": "diverged"}, {"metrics": {}}, *({"metrics": metrics} for metrics in odd)):
            with pytest.raises(ValueError, match="metrics"):
                score(**changes)
        # The file itself refuses as well, should a record be made by other means.
        forged = score()
        object.__setattr__(forged, "status", "crashed")
        with pytest.raises(sqlite3.IntegrityError):
            store.add_score(forged)
        assert store.scores() == []

    def test_fingerprints_belong_to_the_first(self, store: RunStore) -> None:
        one, two = add(store, 0), add(store, 1)
        assert store.fingerprint_owner("reg", "f") is None
        assert store.claim_fingerprint("reg", "f", one.id) == one.id
        assert store.claim_fingerprint("reg", "f", two.id) == one.id
        assert store.claim_fingerprint("cls", "f", two.id) == two.id

    def test_states_the_latest_wins(self, store: RunStore) -> None:
        assert store.load_state() is None
        store.save_state(0, {"members": []})
        store.save_state(2, {"members": ["b"]})
        store.save_state(1, {"members": ["a"]})
        store.save_state(7, [1], search="reinforce")
        assert store.load_state() == (2, {"members": ["b"]})
        assert store.load_state("reinforce") == (7, [1])

    def test_an_earlier_generation_can_be_gone_back_to(self, store: RunStore) -> None:
        for generation in (0, 1, 4):
            store.save_state(generation, [generation], search="mine")
        assert store.load_state("mine", before=4) == (1, [1])
        assert store.load_state("mine", before=1) == (0, [0])
        assert store.load_state("mine", before=0) is None

    def test_keeps_events(self, store: RunStore) -> None:
        store.add_event("shrunk", population=8)
        store.add_event("resumed")
        assert [(event.kind, event.detail) for event in store.events()] == [
            ("shrunk", {"population": 8}),
            ("resumed", {}),
        ]
        assert len(store.events("shrunk")) == 1
        for place in range(6):
            candidate = add(store, place, digest="same" if place < 2 else f"d{place}")
            said = [Verdict("verify", place > 1, "r", code="" if place else "constant")]
            if place > 1:
                said.append(Verdict("simulate", place > 3, "", code="diverges"))
            store.add_verdicts((candidate.id, verdict) for verdict in said)
        store.add_score(score())
        store.add_score(score("bad", status="crashed", metrics={}))
        assert store.funnel() == {
            "generated": 6,
            "duplicates": 1,
            "verified": 4,
            "simulated": 2,
            "trained": 1,
        }
        assert store.rejections() == {"verify": {"constant": 1, "r": 1}, "simulate": {"diverges": 2}}

    def test_job_keys_name_what_decides_a_result(self) -> None:
        key = job_key(cls="a", seed=0, epochs=6.0)
        assert key == job_key(epochs=6.0, seed=0, cls="a")
        assert key != job_key(cls="a", seed=1, epochs=6.0)
        assert len(key) == 32
        with pytest.raises(ValueError, match="JSON"):
            job_key(lr=float("inf"))


class TestTransactions:
    def test_an_exception_takes_everything_back(self, store: RunStore) -> None:
        def work() -> None:
            with store.transaction():
                add(store)
                store.add_score(score())
                with store.transaction():
                    store.save_state(1, {})
                raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            work()
        assert (store.candidates(), store.scores(), store.load_state()) == ([], [], None)
        add(store)
        assert len(store.candidates()) == 1

    def test_a_caught_failure_inside_leaves_the_rest(self, store: RunStore) -> None:
        with store.transaction():
            add(store)
            with pytest.raises(sqlite3.IntegrityError):
                store.add_verdicts([(999, Verdict("verify", True, ""))])
        assert len(store.candidates()) == 1

    def test_threads_take_turns(self, store: RunStore) -> None:
        def work(number: int) -> None:
            for i in range(25):
                with store.transaction():
                    add(store, number * 100 + i)
                    store.add_event("x")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.candidates()) == 100
        assert len(store.events("x")) == 100


class TestResume:
    def test_a_generation_asked_again_gives_back_what_is_kept(self, store: RunStore) -> None:
        first = add(store)
        store.add_verdicts([(first.id, Verdict("verify", True, "fine"))])
        assert add(store) == first
        assert store.verdicts(first.id)["verify"].reason == "fine"
        assert len(store.candidates()) == 1

    def test_another_proposal_takes_the_place(self, store: RunStore) -> None:
        first = add(store)
        copy = add(store, 1, digest=first.digest)
        store.add_verdicts([(first.id, Verdict("verify", True, "fine"))])
        store.add_score(score(candidate=first.id))
        store.claim_fingerprint("reg", "f", first.id)
        other = add(store, 0, formula="U", digest="u")
        assert [c.formula for c in store.candidates()] == [copy.formula, other.formula]
        assert store.candidate(copy.id).duplicate_of is None
        assert store.fingerprint_owner("reg", "f") is None
        kept = store.score("k")
        assert kept is not None
        assert (kept.metrics["ap"], kept.candidate) == (0.41, None)


WRITER = """
import sys
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.verdict import Verdict
directory = sys.argv[1]
try:
    store = RunStore.open(directory)
except Exception:
    store = RunStore.create(directory, {"seed": 3})
kept = store.load_state()
generation = kept[0] + 1 if kept else 0
print("begun", flush=True)
while True:
    scores = []
    for place in range(3):
        name = f"{generation}.{place}"
        candidate = store.add_candidate(
            slot="reg", formula=name, digest=name, generation=generation, place=place, origin="random"
        )
        store.add_verdicts([(candidate.id, Verdict("verify", True, "x" * 500))])
        store.add_score(Score(name, "proxy", {"reg": "I"}, "val", place, 1, metrics={"ap": 0.5}))
    with store.transaction():
        store.add_score(Score(f"{generation}.last", "proxy", {"reg": "I"}, "val", 9, 1, metrics={"ap": 0.25}))
        store.add_event("generation")
        store.save_state(generation, {"generation": generation, "filler": "y" * 3000})
    generation += 1
"""


def test_a_kill_at_any_moment_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    """Kills a real writer again and again, from before its first page to far into the run."""
    directory, draw = tmp_path / "run", random.Random(0)
    done = -1
    for attempt in range(14):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(directory)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            if attempt > 3:
                assert writer.stdout.readline() == b"begun\n"
                time.sleep(draw.uniform(0.0, 0.15))
            else:  # while it imports, or makes the file
                time.sleep(draw.uniform(0.05, 0.3))
            writer.send_signal(signal.SIGKILL)
        if attempt <= 3 and not (directory / "run.sqlite").exists():
            continue
        if attempt <= 3 and _never_began(directory):
            continue
        with RunStore.open(directory) as store:
            kept = store.load_state()
            generation = kept[0] if kept else -1
            assert generation >= done, "a finished generation was lost"
            done = generation
            assert store.status == "running"
            assert store.config == {"seed": 3}
            # State and last score are of one transaction: both are there or neither.
            assert (store.score(f"{done}.last") is not None) == (done >= 0)
            assert store.score(f"{done + 1}.last") is None
            assert len(store.events()) == done + 1
            assert {c.generation for c in store.candidates()} <= set(range(done + 2))
            assert all(len(store.candidates(generation=g)) == 3 for g in range(done + 1))
    assert done > 10
    connection = sqlite3.connect(directory / "run.sqlite")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def _never_began(directory: Path) -> bool:
    try:
        RunStore.read(directory).close()
    except RunError as error:
        return "stopped before it began" in str(error)
    return False


def test_a_reader_of_a_killed_run_sees_its_last_whole_state(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.1)
        writer.send_signal(signal.SIGKILL)
    with RunStore.read(tmp_path) as store:
        kept = store.load_state()
        assert kept is None or json.dumps(kept[1])
        assert store.funnel()["generated"] >= 0


def test_a_full_disk_is_told_and_costs_one_transaction(tmp_path: Path) -> None:
    """Wherever it is full: from before the transaction's first page to the middle of it."""
    code = """
import os, resource, sys
from cse_autoloss.errors import RunError
from cse_autoloss.runs import RunStore
with RunStore.create(sys.argv[1], {}) as store:
    for turn, room in enumerate((0, 1, 4_096, 4_120, 50_000, 300_000)):
        store.set_meta("before", turn)
        size = max(entry.stat().st_size for entry in os.scandir(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, resource.RLIM_INFINITY))
        try:
            with store.transaction():
                store.set_meta("small", 1)
                for i in range(50):
                    store.set_meta(f"large {i}", "x" * 100_000)
        except RunError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(store.meta("before"), store.meta("small"))
    store.set_meta("after", 1)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert all("run.sqlite can't be used: " in line for line in told[::2])
    assert told[1::2] == [f"{turn} None" for turn in range(6)]
    with RunStore.read(tmp_path / "run") as store:
        assert store.meta("after") == 1


class TestRejected:
    def test_samples_come_back_with_their_populations(self, store: RunStore) -> None:
        one, two, three = (add(store, place) for place in range(3))
        assert store.rejected() == []
        store.add_rejected("reg", 0, "verify", "scout", 20_000, [one.id, three.id])
        store.add_rejected("reg", 0, "verify", "bred", 7, [two.id])
        store.add_rejected("reg", 0, "verify", "random", 5, [])
        found = {r.source: r for r in store.rejected()}
        assert found["scout"].candidates == (one.id, three.id)
        assert (found["scout"].population, found["bred"].population) == (20_000, 7)
        assert found["bred"].candidates == (two.id,)
        assert found["random"].candidates == ()

    def test_a_generation_that_is_done_again_replaces_its_sample(self, store: RunStore) -> None:
        old = add(store)
        store.add_rejected("reg", 0, "verify", "scout", 10, [old.id])
        new = add(store, formula="Sub(I,U)", digest="other")
        store.add_rejected("reg", 0, "verify", "scout", 12, [new.id])
        (only,) = store.rejected()
        assert (only.population, only.candidates) == (12, (new.id,))

    def test_forgetting_keeps_the_newest_fingerprints(self, store: RunStore) -> None:
        owners = [add(store, place).id for place in range(6)]
        for number, owner in enumerate(owners):
            store.claim_fingerprint("reg", f"mark{number}", owner)
        assert store.forget_fingerprints("reg", 6) == 0
        assert store.forget_fingerprints("cls", 1) == 0
        assert store.forget_fingerprints("reg", 4) == 2
        assert store.fingerprint_owner("reg", "mark1") is None
        assert store.fingerprint_owner("reg", "mark2") == owners[2]
