"""Runs that are opened: closed and unfinished ones, another program's, an older version's, ones whose files go."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stored_rows import add

from cse_autoloss.errors import RunError
from cse_autoloss.runs import RunStore, database, holds_run, schema


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with RunStore.create(tmp_path / "run", {"seed": 3}) as opened:
        yield opened


class TestOpening:
    def test_a_closed_run_is_one_file_beside_its_lock(self, store: RunStore) -> None:
        add(store)
        store.close()
        store.close()
        assert sorted(os.listdir(store.directory)) == ["run.lock", "run.sqlite"]

    def test_what_is_no_run(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="none: no such run directory"):
            RunStore.open(tmp_path / "none")
        for open_it in (RunStore.open, RunStore.read):
            with pytest.raises(RunError, match=r"not a run directory: there is no run\.sqlite in it"):
                open_it(tmp_path)
        assert os.listdir(tmp_path) == []
        (tmp_path / "run.sqlite").write_bytes(b"these are no pages of a database" * 100)
        for open_it in (RunStore.open, RunStore.read, lambda path: RunStore.create(path, {})):
            with pytest.raises(RunError, match=r"run\.sqlite is damaged: file is not a database"):
                open_it(tmp_path)

    def test_another_programs_database(self, tmp_path: Path) -> None:
        connection = sqlite3.connect(tmp_path / "run.sqlite")
        connection.execute("CREATE TABLE t (x)")
        connection.close()
        for open_it in (RunStore.open, RunStore.read, lambda path: RunStore.create(path, {})):
            with pytest.raises(RunError, match=r"run\.sqlite is no run of cse-autoloss"):
                open_it(tmp_path)

    def test_a_directory_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(RunError, match="can't be made"):
            RunStore.create(tmp_path / "file" / "run", {})

    def test_a_run_is_not_started_twice(self, store: RunStore) -> None:
        store.close()
        with pytest.raises(RunError, match="holds a run already; resume it, or choose another directory"):
            RunStore.create(store.directory, {})
        with RunStore.open(store.directory) as again:
            assert again.config == {"seed": 3}

    def test_a_newer_version(self, store: RunStore) -> None:
        store.close()
        connection = sqlite3.connect(store.directory / "run.sqlite")
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        connection.close()
        for open_it in (RunStore.open, RunStore.read):
            with pytest.raises(
                RunError, match=f"by a newer version of cse-autoloss .format {schema.VERSION + 1}"
            ):
                open_it(store.directory)

    def test_an_older_version(self, store: RunStore) -> None:
        store.close()
        connection = sqlite3.connect(store.directory / "run.sqlite")
        connection.execute("PRAGMA user_version = 1")
        connection.close()
        before = (store.directory / "run.sqlite").read_bytes()
        for open_it in (RunStore.open, RunStore.read):
            with pytest.raises(
                RunError, match=f"by an older version .*format 1, this version reads {schema.VERSION}"
            ) as told:
                open_it(store.directory)
            assert str(store.directory / "best" / "loss.json") in str(told.value)
            assert "\n" not in str(told.value)
        assert (store.directory / "run.sqlite").read_bytes() == before

    def test_a_run_that_was_stopped_before_it_began(self, tmp_path: Path) -> None:
        sqlite3.connect(tmp_path / "run.sqlite").close()
        (tmp_path / "run.sqlite").touch()
        with pytest.raises(RunError, match="stopped before it began"):
            RunStore.open(tmp_path)
        assert not holds_run(tmp_path)
        with RunStore.create(tmp_path, {"seed": 1}) as store:
            assert store.config == {"seed": 1}
        assert holds_run(tmp_path)
        with sqlite3.connect(tmp_path / "run.sqlite") as connection:  # tables, but nothing of a run in them
            connection.execute("DELETE FROM meta")
        connection.close()
        assert not holds_run(tmp_path)
        with pytest.raises(RunError, match=r"stopped before it began; start it again with --out"):
            RunStore.read(tmp_path)
        with RunStore.create(tmp_path, {"seed": 2}) as store:
            assert store.config == {"seed": 2}

    def test_to_look_writes_nothing(self, store: RunStore, tmp_path: Path) -> None:
        empty, closed = tmp_path / "empty", tmp_path / "closed"
        empty.mkdir()
        (empty / "run.sqlite").touch()
        assert not holds_run(empty)
        assert (empty / "run.sqlite").stat().st_size == 0
        add(store)
        assert holds_run(store.directory)  # while it is written
        store.close()
        shutil.copytree(store.directory, closed)
        before = {path.name: path.stat() for path in (closed, *closed.iterdir())}
        assert holds_run(closed)
        assert {path.name: path.stat() for path in (closed, *closed.iterdir())} == before

    def test_a_locked_database_of_another_program_is_not_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "WAITS_FOR", 600.0)  # who waits does not end
        with contextlib.closing(sqlite3.connect(tmp_path / "run.sqlite")) as other:
            other.execute("CREATE TABLE t (x)")
            other.execute("BEGIN EXCLUSIVE")
            assert holds_run(tmp_path)
            with pytest.raises(RunError, match=r"run\.sqlite is no run of cse-autoloss"):
                RunStore.read(tmp_path)

    @pytest.mark.parametrize("gone", ["run.sqlite", "run.lock", "."])
    def test_files_that_go_while_the_run_goes_on(self, tmp_path: Path, gone: str) -> None:
        store = RunStore.create(tmp_path / "run", {"seed": 1})
        if gone == ".":
            shutil.rmtree(store.directory)
        else:
            (store.directory / gone).unlink()
        if gone == "run.lock":  # SQLite's file still keeps a second writer out
            with pytest.raises(RunError, match="the run is in use by another process"):
                RunStore.open(store.directory)
        with pytest.raises(RunError, match=r"was removed or replaced while the run went on"):
            store.set_meta("a", 1)
        store.close()

    def test_a_generation_is_in_the_one_file(self, store: RunStore) -> None:
        with store.transaction():
            add(store)
            store.save_state(1, {})
        shutil.copy(store.directory / "run.sqlite", store.directory.parent / "copy.sqlite")
        with contextlib.closing(sqlite3.connect(store.directory.parent / "copy.sqlite")) as copy:
            assert copy.execute("SELECT count(*) FROM candidates").fetchone() == (1,)

    def test_one_writer_and_readers_beside_it(self, store: RunStore) -> None:
        with pytest.raises(RunError, match=f"the run is in use by process {os.getpid()}"):
            RunStore.open(store.directory)
        with pytest.raises(RunError, match="in use"):
            RunStore.create(store.directory, {})
        with RunStore.read(store.directory) as reader:
            assert reader.candidates() == []
            add(store)
            assert len(reader.candidates()) == 1
            with pytest.raises(RunError, match="can't be used: attempt to write a readonly database"):
                add(reader, 1)

    def test_another_process_is_kept_out(self, store: RunStore) -> None:
        code = (
            "import sys; from cse_autoloss.runs import RunStore; from cse_autoloss.errors import RunError\n"
            "try: RunStore.open(sys.argv[1])\n"
            "except RunError as error: print(error)"
        )
        command = [sys.executable, "-c", code, str(store.directory)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert f"the run is in use by process {os.getpid()}; wait for it or stop it first" in told

    def test_odd_directory_names(self, tmp_path: Path) -> None:
        directory = tmp_path / "a run? 100%#1 [é];mode=ro&x"
        with RunStore.create(directory, {}) as store:
            add(store)
        with RunStore.read(directory) as store:
            assert len(store.candidates()) == 1

    def test_writing_after_close_is_a_defect_of_the_caller(self, store: RunStore) -> None:
        store.close()
        with pytest.raises(sqlite3.ProgrammingError):
            add(store)
