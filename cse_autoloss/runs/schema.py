"""The tables of a run's SQLite file, in one place, with their version.

Every time is seconds since the epoch (``created``) or a duration in seconds (``seconds``); losses (by slot), settings
and metrics are JSON objects. A score holds metrics only with status "ok": a failed training can't enter an archive,
whoever asks.
"""

from __future__ import annotations

from typing import Final

# "CSEL" in ASCII: tells a run from any other SQLite file before a table is read.
APPLICATION_ID: Final = 0x4353454C
VERSION: Final = 2

TABLES: Final = (
    """CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE candidates (
        id INTEGER PRIMARY KEY,
        slot TEXT NOT NULL,
        formula TEXT NOT NULL,
        digest TEXT NOT NULL,
        generation INTEGER NOT NULL,
        place INTEGER NOT NULL,
        origin TEXT NOT NULL,
        parents TEXT NOT NULL DEFAULT '[]',
        duplicate_of INTEGER REFERENCES candidates(id) ON DELETE SET NULL,
        created REAL NOT NULL,
        UNIQUE (slot, generation, place)
    )""",
    "CREATE INDEX candidates_by_digest ON candidates (slot, digest)",
    "CREATE INDEX candidates_by_original ON candidates (duplicate_of) WHERE duplicate_of NOTNULL",
    """CREATE TABLE verdicts (
        candidate INTEGER NOT NULL REFERENCES candidates(id) ON DELETE CASCADE,
        stage TEXT NOT NULL,
        accepted INTEGER NOT NULL CHECK (accepted IN (0, 1)),
        reason TEXT NOT NULL,
        figure REAL,
        seconds REAL NOT NULL,
        place TEXT NOT NULL,
        code TEXT NOT NULL,
        PRIMARY KEY (candidate, stage)
    ) WITHOUT ROWID""",
    # All that is counted of a million verdicts stands in it.
    "CREATE INDEX verdicts_by_code ON verdicts (accepted, stage, code)",
    """CREATE TABLE scores (
        key TEXT PRIMARY KEY,
        purpose TEXT NOT NULL,
        losses TEXT NOT NULL,
        settings TEXT NOT NULL,
        split TEXT NOT NULL,
        seed INTEGER NOT NULL,
        epochs REAL NOT NULL,
        status TEXT NOT NULL,
        metrics TEXT NOT NULL,
        detail TEXT NOT NULL,
        seconds REAL NOT NULL,
        candidate INTEGER REFERENCES candidates(id) ON DELETE SET NULL,
        extra TEXT NOT NULL DEFAULT '{}',
        created REAL NOT NULL,
        CHECK ((status = 'ok') = (metrics != '{}'))
    )""",
    "CREATE INDEX scores_by_purpose ON scores (purpose, status)",
    "CREATE INDEX scores_by_candidate ON scores (candidate)",
    """CREATE TABLE fingerprints (
        slot TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        candidate INTEGER NOT NULL REFERENCES candidates(id) ON DELETE CASCADE,
        PRIMARY KEY (slot, fingerprint)
    ) WITHOUT ROWID""",
    "CREATE INDEX fingerprints_by_candidate ON fingerprints (candidate)",
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        created REAL NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL
    )""",
    """CREATE TABLE search_states (
        search TEXT NOT NULL,
        generation INTEGER NOT NULL,
        state TEXT NOT NULL,
        created REAL NOT NULL,
        PRIMARY KEY (search, generation)
    ) WITHOUT ROWID""",
    """CREATE TABLE rejected_populations (
        slot TEXT NOT NULL,
        generation INTEGER NOT NULL,
        stage TEXT NOT NULL,
        source TEXT NOT NULL,
        population INTEGER NOT NULL,
        PRIMARY KEY (slot, generation, stage, source)
    ) WITHOUT ROWID""",
    """CREATE TABLE rejected_sample (
        candidate INTEGER PRIMARY KEY REFERENCES candidates(id) ON DELETE CASCADE,
        stage TEXT NOT NULL,
        source TEXT NOT NULL
    )""",
)
