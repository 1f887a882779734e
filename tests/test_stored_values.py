"""A store with wrong values in it, though SQLite finds no fault: one line, whoever reads it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import cse_autoloss
from cse_autoloss.bench.budget import RunSize
from cse_autoloss.bench.progress import Clock
from cse_autoloss.bench.stored import stored_config
from cse_autoloss.compare.request import Request
from cse_autoloss.compare.sources import _from_run
from cse_autoloss.errors import RunError
from cse_autoloss.predict.model import read_plan
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.settings.load import load_config
from cse_autoloss.spaces import CLS_BINARY

WRONG = ("[]", "3", '"text"', "null", "{", '{"a": NaN}', "{}", '{"elapsed": "x", "audit": [], "best": {}}')


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    with RunStore.create(directory, load_config("smoke").model_dump(mode="json")) as store:
        store.set_meta("summary", {"best": {"losses": {"cls": "bce", "reg": "giou"}}})
        store.add_score(Score("a", "proxy", {"cls": "bce"}, "val", 0, 1.0, metrics={"ap": 0.5}))
        store.save_state(1, {"state": {}, "counts": {}})
    return directory


def _set(run: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(run / "run.sqlite")) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(sql, values)


def _read(run: Path) -> Iterator[Any]:
    """What asks for each key of `meta`."""
    with RunStore.read(run) as store:
        yield "config", lambda: stored_config(store)
        yield "config", lambda: Request.of(store)
        yield "summary", lambda: read_plan(run)
        yield "summary", lambda: _from_run(run, {"cls": CLS_BINARY})
        yield "size", lambda: store.typed_meta("size", RunSize)
        yield "clock", lambda: Clock.of(store, None)


def _told(read: Callable[[], object]) -> str:
    try:
        read()
    except RunError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("text", WRONG)
def test_wrong_values_are_told_in_one_line(run: Path, text: str) -> None:
    before = load_config("smoke").model_dump_json()
    for key, read in _read(run):
        _set(run, "INSERT OR REPLACE INTO meta VALUES (?, ?)", key, text)
        told = _told(read)  # a value that means nothing may read as none
        assert "\n" not in told
        assert len(told) < 600
        _set(run, "INSERT OR REPLACE INTO meta VALUES ('config', ?)", before)
    _set(run, "INSERT OR REPLACE INTO meta VALUES ('config', ?)", text)
    with pytest.raises(RunError, match="damaged"):
        cse_autoloss.evolve(resume=run)
    _set(run, "UPDATE search_states SET state = ?", text)
    _set(run, "INSERT OR REPLACE INTO meta VALUES ('config', ?)", before)
    with pytest.raises(RunError):
        cse_autoloss.audit_filters(run)
    for column in ("extra", "metrics", "losses", "settings"):
        _set(run, f"UPDATE scores SET {column} = ?", text)
    with RunStore.read(run) as store, pytest.raises(RunError, match=r"damaged: a score can't be understood"):
        store.scores()


@pytest.mark.parametrize("key", ["about", "machine", "clock", "summary", "made from", "certificates"])
def test_the_page_and_the_list_tell_of_wrong_values(run: Path, key: str) -> None:
    for text in ("3", "[[]]", '{"metric": 1e308, "slots": {"cls": [1]}, "seconds": "x"}'):
        _set(run, "INSERT OR REPLACE INTO meta VALUES (?, ?)", key, text)
        (entry,) = cse_autoloss.list_runs(run)
        told = _told(lambda: cse_autoloss.report_run(run))  # a value that no page shows is no fault
        for line in (told, entry.verdict):
            assert "\n" not in line
            assert len(line) < 600
        assert key != "about" or ("damaged" in told and entry.status == "unreadable")


@pytest.mark.parametrize("source", [None, 3, b"x", {}])
def test_formulas_and_signatures_of_a_wrong_type(source: Any) -> None:
    with pytest.raises(cse_autoloss.AutoLossError):
        cse_autoloss.verify(source, signature="cls-binary")
    if source is not None:  # which stands for what the inputs tell
        with pytest.raises(cse_autoloss.AutoLossError):
            cse_autoloss.verify("Sig(X)", signature=source)


def test_a_run_of_an_earlier_reinforce_paper_is_told_how_to_go_on(tmp_path: Path) -> None:
    values = load_config("classification").model_dump(mode="json")
    values["reinforce"] |= {"paper": True, "antithetic": True}
    with RunStore.create(tmp_path / "run", values) as store, pytest.raises(RunError) as error:
        stored_config(store)
    assert "damaged" not in str(error.value)
    assert "an earlier version made it with reinforce.paper" in str(error.value)
    assert "begin a new run" in str(error.value)
    assert "\n" not in str(error.value)
