"""The store of a run: everything a run knows, behind typed methods; no SQL is needed outside this package."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

from cse_autoloss.errors import RunError
from cse_autoloss.runs.database import Database, dump, load, understood
from cse_autoloss.runs.machine import machine
from cse_autoloss.runs.records import Candidate, Event, Proposed, Rejected, Score
from cse_autoloss.verdict import Verdict

_CANDIDATE: Final = "id, slot, formula, digest, generation, place, origin, parents, duplicate_of, created"
_SCORE: Final = (
    "key, purpose, losses, split, seed, epochs, settings, status, metrics, detail, seconds, candidate, extra"
)
_JSON: Final = ("losses", "settings", "metrics", "extra")

_CANDIDATES: Final = TypeAdapter(Candidate)
_SCORES: Final = TypeAdapter(Score)

T = TypeVar("T")


class RunStore:
    """A run's store; make one with `create`, `open` or `read`, and close it (or use ``with``).

    Each writing method is a transaction of its own; ``with store.transaction():`` makes one of many. Methods
    may be called from several threads of the one process. A process killed at any moment leaves a store that
    opens again and lacks at most the transaction it was in.
    """

    def __init__(self, database: Database) -> None:
        """Not for callers: use `create`, `open` or `read`."""
        self._database = database
        self._write = database.write
        self.fold = database.fold
        self._rows = database.rows

    @classmethod
    def create(
        cls, directory: str | Path, config: Mapping[str, Any], meta: Mapping[str, Any] | None = None
    ) -> RunStore:
        """Starts a run in `directory`, which is made when it isn't there.

        Args:
            directory: may hold other files, but no run.
            config: the resolved configuration, as JSON values; kept as `config`.
            meta: what else is kept from the first moment.

        Raises:
            RunError: the directory holds a run already, is in use, or can't be written.
        """
        begun = {
            "config": dict(config), "status": "running", "created": time.time(), "machine": machine(), **(meta or {})
        }  # fmt: skip
        return cls(Database.create(Path(directory), begun))

    @classmethod
    def open(cls, directory: str | Path) -> RunStore:
        """Opens a run to go on with it; no other process may have it open so.

        Raises:
            RunError: there is no run, it is damaged, of another version, or in use.
        """
        return cls(Database.open(Path(directory)))

    @classmethod
    def read(cls, directory: str | Path) -> RunStore:
        """Opens a run to read it, also while another process goes on with it. Writing raises RunError.

        Raises:
            RunError: there is no run, it is damaged or of another version.
        """
        return cls(Database.read(Path(directory)))

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self._database.directory

    def close(self) -> None:
        """Folds the write-ahead log into the one file, and lets others in. More than once is harmless."""
        self._database.close()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[None]:
        """All writes inside are kept together or, on an exception, not at all. The outermost counts."""
        return self._database.transaction()

    # -- the run as a whole --------------------------------------------------------------------------------

    def set_meta(self, key: str, value: Any) -> None:
        """Keeps a JSON value under `key`; the latest wins."""
        self._write("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, dump(value))

    def meta(self, key: str, default: Any = None) -> Any:
        """The JSON value kept under `key`, or `default`."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        with self.understood(key):
            return load(rows[0][0]) if rows else default

    def typed_meta(self, key: str, kind: type[T]) -> T | None:
        """The value kept under `key` as a dataclass or a model; None where there is none.

        Raises:
            RunError: it is none.
        """
        value = self.meta(key)
        with self.understood(key):
            return None if value is None else TypeAdapter(kind).validate_python(value)

    def understood(self, what: str) -> AbstractContextManager[None]:
        """What is made inside of values from the store, `what` in words; RunError where they are wrong ones."""
        return understood(self.directory, what)

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration that the run was started with."""
        value = self.meta("config", {})
        if not isinstance(value, dict):
            raise RunError(
                f"{self.directory}: run.sqlite is damaged: its configuration is no table of values"
            )
        return value

    @property
    def status(self) -> str:
        """The run's state: "running", "interrupted", "finished", or what the caller sets.

        A run that is "running" while no process has it open was killed.
        """
        return str(self.meta("status", "running"))

    @status.setter
    def status(self, value: str) -> None:
        self.set_meta("status", value)

    def add_event(self, kind: str, **detail: Any) -> None:
        """Notes something that happened to the run: "resumed", "shrunk", "interrupted", ..."""
        self._write(
            "INSERT INTO events (created, kind, detail) VALUES (?, ?, ?)", time.time(), kind, dump(detail)
        )

    def events(self, kind: str | None = None) -> list[Event]:
        """What happened, in order."""
        rows = self._rows(
            "SELECT created, kind, detail FROM events WHERE kind = coalesce(?, kind) ORDER BY id", kind
        )
        with self.understood("an event"):
            return [Event(created, name, load(detail)) for created, name, detail in rows]

    # -- candidates and verdicts ---------------------------------------------------------------------------

    def add_candidate(
        self,
        *,
        slot: str,
        formula: str,
        digest: str,
        generation: int,
        place: int,
        origin: str,
        parents: tuple[str, ...] = (),
    ) -> Candidate:
        """Keeps the `place`-th proposal of `generation`, and tells whether an earlier one was the same loss.

        A resumed search proposes its unfinished generation again: a proposal that its place holds already is
        given back as it stands, with its verdicts; a different one takes the place, and the old one goes.
        """
        with self.transaction():
            rows = self._rows(
                f"SELECT {_CANDIDATE} FROM candidates WHERE slot = ? AND generation = ? AND place = ?",
                slot,
                generation,
                place,
            )
            if rows:
                kept = _candidate(rows[0])
                if (kept.formula, kept.digest) == (formula, digest):
                    return kept
                self._write("DELETE FROM candidates WHERE id = ?", kept.id)
            original = self.find_candidate(slot, digest)
            number = self._write(
                "INSERT INTO candidates (slot, formula, digest, generation, place, origin, parents,"
                " duplicate_of, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                slot,
                formula,
                digest,
                generation,
                place,
                origin,
                dump(list(parents)),
                original.id if original else None,
                time.time(),
            ).lastrowid
            assert number is not None
            return self.candidate(number)

    def add_generation(self, slot: str, generation: int, proposed: Sequence[Proposed]) -> list[int]:
        """Keeps all proposals of a generation, in the order of their places, as `add_candidate` does; their ids."""
        with self.transaction():
            kept = {
                place: (number, formula, digest)
                for number, place, formula, digest in self._rows(
                    "SELECT id, place, formula, digest FROM candidates WHERE slot = ? AND generation = ?",
                    slot,
                    generation,
                )
            }
            new = []
            for place, one in enumerate(proposed):
                number, *old = kept.get(place, (None,))
                if old != [one.formula, one.digest]:
                    if number is not None:
                        self._write("DELETE FROM candidates WHERE id = ?", number)
                    new.append((place, one))
            now = time.time()
            self._database.write_many(
                "INSERT INTO candidates (slot, formula, digest, generation, place, origin, parents,"
                " duplicate_of, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,"
                " (SELECT min(id) FROM candidates WHERE slot = ?1 AND digest = ?3), ?8)",
                (
                    (slot, one.formula, one.digest, generation, place, one.origin, dump(one.parents), now)
                    for place, one in new
                ),
            )
            ids = dict(
                self._rows(
                    "SELECT place, id FROM candidates WHERE slot = ? AND generation = ?", slot, generation
                )
            )
        return [ids[place] for place in range(len(proposed))]

    def candidate(self, number: int) -> Candidate:
        """The candidate with this id.

        Raises:
            KeyError: there is none.
        """
        rows = self._rows(f"SELECT {_CANDIDATE} FROM candidates WHERE id = ?", number)
        if not rows:
            raise KeyError(number)
        with self.understood("a candidate"):
            return _candidate(rows[0])

    def find_candidate(self, slot: str, digest: str) -> Candidate | None:
        """The first candidate of the slot with this digest."""
        rows = self._rows(
            f"SELECT {_CANDIDATE} FROM candidates WHERE slot = ? AND digest = ? ORDER BY id LIMIT 1",
            slot,
            digest,
        )
        return _candidate(rows[0]) if rows else None

    def candidates(self, slot: str | None = None, generation: int | None = None) -> list[Candidate]:
        """Candidates in the order of their ids."""
        rows = self._rows(
            f"SELECT {_CANDIDATE} FROM candidates WHERE slot = coalesce(?, slot)"
            " AND generation = coalesce(?, generation) ORDER BY id",
            slot,
            generation,
        )
        with self.understood("a candidate"):
            return [_candidate(row) for row in rows]

    def add_verdicts(self, verdicts: Iterable[tuple[int, Verdict]]) -> None:
        """Keeps what stages said of candidates, by their ids; the latest of a stage wins."""
        self._database.write_many(
            "INSERT OR REPLACE INTO verdicts"
            " (candidate, stage, accepted, reason, figure, seconds, place, code)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (number, v.stage, int(v.accepted), v.reason, v.figure, v.seconds, v.where, v.code)
                for number, v in verdicts
            ),
        )

    def verdicts(self, candidate: int) -> dict[str, Verdict]:
        """Stage -> what it said of the candidate."""
        rows = self._rows(
            "SELECT stage, accepted, reason, figure, seconds, place, code FROM verdicts WHERE candidate = ?",
            candidate,
        )
        return {row[0]: Verdict(row[0], bool(row[1]), *row[2:]) for row in rows}

    def stopped(self, stage: str, code: str, most: int = 3) -> list[tuple[Candidate, Verdict]]:
        """Examples of candidates that a stage stopped for a reason, the shortest first."""
        rows = self._rows(
            "SELECT v.candidate FROM verdicts v JOIN candidates c ON c.id = v.candidate WHERE NOT v.accepted"
            " AND v.stage = ? AND CASE v.code WHEN '' THEN v.reason ELSE v.code END = ?"
            " ORDER BY length(c.formula), c.id LIMIT ?",
            stage,
            code,
            most,
        )
        return [(self.candidate(number), self.verdicts(number)[stage]) for (number,) in rows]

    def claim_fingerprint(self, slot: str, fingerprint: str, candidate: int) -> int:
        """Id of the candidate that owns the fingerprint: the first to claim it."""
        with self.transaction():
            self._write(
                "INSERT INTO fingerprints VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                slot,
                fingerprint,
                candidate,
            )
            owner = self.fingerprint_owner(slot, fingerprint)
            assert owner is not None
            return owner

    def claim_fingerprints(self, slot: str, owners: Mapping[str, int]) -> None:
        """For each fingerprint the candidate that owns it, unless one did before."""
        self._database.write_many(
            "INSERT INTO fingerprints VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            ((slot, fingerprint, candidate) for fingerprint, candidate in owners.items()),
        )

    def fingerprint_owner(self, slot: str, fingerprint: str) -> int | None:
        """Id of the candidate that owns the fingerprint, if one does."""
        rows = self._rows(
            "SELECT candidate FROM fingerprints WHERE slot = ? AND fingerprint = ?", slot, fingerprint
        )
        return int(rows[0][0]) if rows else None

    def forget_fingerprints(self, slot: str, keep: int) -> int:
        """Drops all fingerprints of the slot but the `keep` whose candidates came last; how many went."""
        newest = self._rows(
            "SELECT candidate FROM fingerprints WHERE slot = ? ORDER BY candidate DESC LIMIT 1 OFFSET ?",
            slot,
            max(keep, 1) - 1,
        )
        if not newest:
            return 0
        return self._write(
            "DELETE FROM fingerprints WHERE slot = ? AND candidate < ?", slot, newest[0][0]
        ).rowcount

    def add_rejected(
        self, slot: str, generation: int, stage: str, source: str, population: int, sample: Iterable[int]
    ) -> None:
        """Keeps of how many candidates that a filter threw away the candidates `sample` are a uniform sample."""
        with self.transaction():
            self._write(
                "INSERT OR REPLACE INTO rejected_populations VALUES (?, ?, ?, ?, ?)",
                slot,
                generation,
                stage,
                source,
                population,
            )
            for candidate in sample:
                self._write(
                    "INSERT OR REPLACE INTO rejected_sample VALUES (?, ?, ?)", candidate, stage, source
                )

    def rejected(self) -> list[Rejected]:
        """What the filters threw away, by generation."""
        samples: dict[tuple[Any, ...], list[int]] = {}
        for number, *place in self._rows(
            "SELECT c.id, c.slot, c.generation, s.stage, s.source FROM rejected_sample s"
            " JOIN candidates c ON c.id = s.candidate ORDER BY c.id"
        ):
            samples.setdefault(tuple(place), []).append(number)
        rows = self._rows(
            "SELECT slot, generation, stage, source, population FROM rejected_populations"
            " ORDER BY generation, slot, stage, source"
        )
        return [
            Rejected(slot, generation, stage, source, population, tuple(samples.get(tuple(place), ())))
            for *place, population in rows
            for slot, generation, stage, source in [place]
        ]

    # -- scores and the state of a search ------------------------------------------------------------------

    def add_score(self, score: Score) -> None:
        """Keeps a training's result under its key; the latest wins."""
        values = [getattr(score, name) for name in _SCORE.split(", ")]
        texts = [dump(dict(value)) if isinstance(value, Mapping) else value for value in values]
        marks = ", ".join("?" * (len(texts) + 1))
        self._write(
            f"INSERT OR REPLACE INTO scores ({_SCORE}, created) VALUES ({marks})", *texts, time.time()
        )

    def score(self, key: str) -> Score | None:
        """The result kept under the key, failed ones included."""
        rows = self._rows(f"SELECT {_SCORE}, created FROM scores WHERE key = ?", key)
        with self.understood("a score"):
            return _score(rows[0]) if rows else None

    def scores(
        self, purpose: str | None = None, *, candidate: int | None = None, status: str | None = None
    ) -> list[Score]:
        """Results in the order in which they came, of one purpose, candidate or status, or all."""
        rows = self._rows(
            f"SELECT {_SCORE}, created FROM scores WHERE purpose = coalesce(?1, purpose)"
            " AND status = coalesce(?2, status) AND (?3 IS NULL OR candidate = ?3) ORDER BY rowid",
            purpose,
            status,
            candidate,
        )
        with self.understood("a score"):
            return [_score(row) for row in rows]

    def save_state(self, generation: int, state: Any, search: str = "evolution") -> None:
        """Keeps a search's state (JSON) after `generation`.

        Call it in one `transaction` with that generation's last results, so that the two never disagree.
        """
        self.fold()
        self._write(
            "INSERT OR REPLACE INTO search_states VALUES (?, ?, ?, ?)",
            search,
            generation,
            dump(state),
            time.time(),
        )

    def load_state(self, search: str = "evolution", before: int | None = None) -> tuple[int, Any] | None:
        """(generation, state) of the latest generation that was kept, before another or of all; None for none."""
        rows = self._rows(
            "SELECT generation, state FROM search_states WHERE search = ?1 AND (?2 IS NULL OR generation < ?2)"
            " ORDER BY generation DESC LIMIT 1",
            search,
            before,
        )
        with self.understood("the search's state"):
            return (int(rows[0][0]), load(rows[0][1])) if rows else None

    # -- counts --------------------------------------------------------------------------------------------

    def funnel(self) -> dict[str, int]:
        """How many candidates came to each stage: generated, duplicates, verified, simulated, trained.

        The last three count those that passed; a training passes with its metrics.
        """
        generated = self._rows("SELECT count(*) FROM candidates")[0][0]
        duplicates = self._rows("SELECT count(*) FROM candidates WHERE duplicate_of NOTNULL")[0][0]
        passed = dict(self._rows("SELECT stage, count(*) FROM verdicts WHERE accepted = 1 GROUP BY stage"))
        trained = self._rows("SELECT count(*) FROM scores WHERE purpose = 'proxy' AND status = 'ok'")[0][0]
        return {
            "generated": generated,
            "duplicates": duplicates,
            "verified": passed.get("verify", 0),
            "simulated": passed.get("simulate", 0),
            "trained": trained,
        }

    def rejections(self) -> dict[str, dict[str, int]]:
        """Stage -> short name of the reason -> how many candidates it stopped, the commonest first."""
        found = self._rows(
            "SELECT stage, code, count(*) FROM verdicts WHERE accepted = 0 GROUP BY stage, code"
        )
        for stage in [stage for stage, code, _ in found if not code]:
            found += self._rows(
                "SELECT stage, reason, count(*) FROM verdicts WHERE accepted = 0 AND stage = ? AND code = ''"
                " GROUP BY reason",
                stage,
            )
        counts: dict[str, dict[str, int]] = {}
        for stage, why, number in sorted(found, key=lambda row: (row[0], -row[2], row[1])):
            if why:
                counts.setdefault(stage, {})[why] = number
        return counts


def _candidate(row: tuple[Any, ...]) -> Candidate:
    named = dict(zip(_CANDIDATE.split(", "), row))
    return _CANDIDATES.validate_python({**named, "parents": load(named["parents"])})


def _score(row: tuple[Any, ...]) -> Score:
    named = dict(zip((*_SCORE.split(", "), "created"), row))
    return _SCORES.validate_python({**named, **{name: load(named[name]) for name in _JSON}})
