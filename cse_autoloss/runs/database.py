"""A run's SQLite file: how it is made, opened, locked and written, with nothing of what it means.

One process writes (a lock sees to it), in write-ahead mode: a transaction is either whole in the file or not
there at all, and readers never wait. ``synchronous=NORMAL`` is enough for that against a killed process; a
power cut can cost the last transactions, never the file.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from cse_autoloss.errors import RunError
from cse_autoloss.runs import schema
from cse_autoloss.runs.links import refuse_links
from cse_autoloss.runs.lock import RunLock

FILE: Final = "run.sqlite"
LOCK: Final = "run.lock"
FOLD_EVERY: Final = 2.0
"""Seconds. Of a million candidates' digests each generation changes a thousand pages: folded in together, most are
written once."""
WAITS_FOR: Final = 30.0
LOOKS_FOR: Final = 1.0
"""Seconds for a lock of somebody else's to go."""

_ENCODER: Final = json.JSONEncoder(
    allow_nan=False, separators=(",", ":")
)  # made once: it is asked a million times


class Database:
    """An open file. Methods may be called from several threads of the one process."""

    def __init__(self, directory: Path, connection: sqlite3.Connection, lock: RunLock | None) -> None:
        """Not for callers: use `create`, `open` or `read`."""
        self.directory = directory
        self._connection = connection
        self._lock = lock
        self._guard = threading.RLock()
        self._depth = 0
        self._folds, self._folded = False, -math.inf

    @classmethod
    def create(cls, directory: Path, meta: Mapping[str, Any]) -> Database:
        """Makes the file, with `meta` in it; see `RunStore.create`."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{directory}: the run directory can't be made: {error.strerror}") from None
        refuse_links(directory)
        lock = RunLock(directory / LOCK)
        try:
            connection = _connect(directory, "create")
            try:
                with _in_words(directory):
                    _create_tables(connection, meta)
            except BaseException:
                connection.close()
                raise
            lock.hold(directory / FILE)
        except BaseException:
            lock.release()
            raise
        return cls(directory, connection, lock)

    @classmethod
    def open(cls, directory: Path) -> Database:
        """Opens the file to write; see `RunStore.open`."""
        _expect_run(directory)
        refuse_links(directory)
        lock = RunLock(directory / LOCK)
        try:
            lock.hold(directory / FILE)
            connection = _connect(directory, "write")
        except BaseException:
            lock.release()
            raise
        return cls(directory, connection, lock)

    @classmethod
    def read(cls, directory: Path) -> Database:
        """Opens the file to read; see `RunStore.read`."""
        _expect_run(directory)
        if not _log(directory).exists():  # another program's file may be locked: told without waiting for it
            _connect(directory, "read", looks=True).close()
        return cls(directory, _connect(directory, "read"), None)

    def close(self) -> None:
        """Folds the write-ahead log into the one file, and lets others in. More than once is harmless."""
        with self._guard:
            try:
                self._connection.close()
            finally:
                if self._lock is not None:
                    self._lock.release()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside are kept together or, on an exception, not at all. The outermost counts."""
        with self._guard, _in_words(self.directory):
            if self._depth == 0:
                self._check_there()
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    self._connection.execute("COMMIT")
                    if self._folds:
                        self._folds, self._folded = False, time.monotonic()
                        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            except BaseException:
                if self._depth == 1 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def fold(self) -> None:
        """After this transaction, the write-ahead log is written into the one file, unless that was done just now."""
        self._folds = time.monotonic() - self._folded > FOLD_EVERY

    def _check_there(self) -> None:
        """SQLite would go on writing into files that nobody can find any more."""
        if self._lock is not None and not self._lock.holds:
            raise RunError(
                f"{self.directory}: {FILE} or {LOCK} was removed or replaced while the run went on; it can't go on"
            )

    def write(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """Runs one writing statement."""
        with self.transaction():
            return self._connection.execute(sql, values)

    def write_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Runs one writing statement for each row."""
        with self.transaction():
            self._connection.executemany(sql, rows)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query answers."""
        with self._guard, _in_words(self.directory):
            return self._connection.execute(sql, values).fetchall()


def load(text: Any) -> Any:
    """The value of JSON text; ValueError, for numbers that are none too, or beyond a float."""
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def dump(value: Any) -> str:
    """JSON text as the file holds it; NaN and infinities, which JSON hasn't, raise ValueError."""
    return _ENCODER.encode(value)


def holds_run(directory: Path) -> bool:
    """Whether a run, or a file of another kind under its name, is there. Who was killed before a run's first
    transaction was whole has left no run. Nothing is written."""
    path = directory / FILE
    if not path.exists():
        return False
    try:
        with contextlib.closing(_connect(directory, "create", looks=True)):
            return False
    except RunError:
        return True  # to open it will tell what it is


def _begun(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM meta)").fetchone()[0])


def _log(directory: Path) -> Path:
    """SQLite's log of the file: not there where no process has the run open, or was killed with it open."""
    return directory / f"{FILE}-wal"


def _connect(
    directory: Path, purpose: Literal["create", "write", "read"], *, looks: bool = False
) -> sqlite3.Connection:
    """The connection for a purpose; who only `looks` whether that could be had writes nothing and hardly waits."""
    path = directory / FILE
    with _in_words(directory):
        mode = "ro" if looks else {"create": "rwc", "write": "rw", "read": "ro"}[purpose]
        uri = f"{path.resolve().as_uri()}?mode={mode}"
        # A closed run: SQLite would make its log beside it, also where nothing may be written, unless told not to.
        closed = mode == "ro" and not _log(directory).exists()
        if closed and (looks or not os.access(directory, os.W_OK)):
            uri += "&immutable=1"
        timeout = LOOKS_FOR if looks else WAITS_FOR
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, timeout=timeout
        )
        try:
            _check_version(directory, connection, purpose)
            connection.execute("PRAGMA foreign_keys = ON")
            if mode != "ro":
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                # Digests come in no order: their index has to stay in memory, and is folded in now and then.
                connection.execute("PRAGMA cache_size = -131072")
                connection.execute("PRAGMA wal_autocheckpoint = 8000")
        except BaseException:
            connection.close()
            raise
        return connection


def _create_tables(connection: sqlite3.Connection, meta: Mapping[str, Any]) -> None:
    """All in one transaction: who is killed in here leaves an empty file, which `create` may use again."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")
    for kind, name in connection.execute("SELECT type, name FROM sqlite_schema WHERE sql NOTNULL").fetchall():
        connection.execute(f'DROP {kind} IF EXISTS "{name}"')  # of a run that never began
    for table in schema.TABLES:
        connection.execute(table)
    for key, value in meta.items():
        connection.execute("INSERT INTO meta VALUES (?, ?)", (key, dump(value)))
    connection.execute("COMMIT")


def _expect_run(directory: Path) -> None:
    if not directory.is_dir():
        raise RunError(f"{directory}: no such run directory")
    if not (directory / FILE).is_file():
        raise RunError(f"{directory}: not a run directory: there is no {FILE} in it")


def _check_version(directory: Path, connection: sqlite3.Connection, purpose: str) -> None:
    application, version, tables = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("application_id", "user_version", "schema_version")
    )
    ours = application == schema.APPLICATION_ID
    if tables == 0 or (ours and not _begun(connection)):
        if purpose == "create":
            return
        raise RunError(
            f"{directory}: the run was stopped before it began; start it again with --out {directory}"
        )
    if not ours:
        raise RunError(f"{directory}: {FILE} is no run of cse-autoloss")
    if purpose == "create":
        raise RunError(f"{directory}: holds a run already; resume it, or choose another directory")
    if version != schema.VERSION:
        age = "a newer" if version > schema.VERSION else "an older"
        # The losses of an older run are files that every version reads.
        way = (
            "; go on with it in that version"
            if version > schema.VERSION
            else (
                f"; its losses are in {directory / 'best' / 'loss.json'}, which every command takes:"
                " go on by a new run from them, with --seed-loss"
            )
        )
        raise RunError(
            f"{directory}: the run was written by {age} version of cse-autoloss"
            f" (format {version}, this version reads {schema.VERSION}){way}"
        )


@contextmanager
def understood(directory: Path, what: str) -> Iterator[None]:
    """Turns what a wrong value does to those who read it into one line: the file is one of SQLite's, but no run's."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_input=False)[0]
            why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise RunError(f"{directory}: {FILE} is damaged: {what} can't be understood ({why})") from error


@contextmanager
def _in_words(directory: Path) -> Iterator[None]:
    """Turns what disk and file can do wrong into one line; a breach of the tables' rules stays a defect."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise
    except sqlite3.OperationalError as error:
        raise RunError(f"{directory}: {FILE} can't be used: {error}") from error
    except sqlite3.DatabaseError as error:
        raise RunError(f"{directory}: {FILE} is damaged: {error}") from error
