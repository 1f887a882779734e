"""The tables of a run's SQLite file, in one place, with their version.

Every time is seconds since the epoch (``created``) or a duration in seconds (``seconds``); AP lies in [0, 1].
A score may hold an AP only with status "ok": a failed training can't enter an archive, whoever asks.
"""

from __future__ import annotations

from typing import Final

# "CSEL" in ASCII: tells a run from any other SQLite file before a table is read.
APPLICATION_ID: Final = 0x4353454C
VERSION: Final = 1

TABLES: Final = (
    """CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE candidates (
        id INTEGER PRIMARY KEY,
        branch TEXT NOT NULL,
        formula TEXT NOT NULL,
        digest TEXT NOT NULL,
        generation INTEGER NOT NULL,
        slot INTEGER NOT NULL,
        origin TEXT NOT NULL,
        parents TEXT NOT NULL DEFAULT '[]',
        duplicate_of INTEGER REFERENCES candidates(id) ON DELETE SET NULL,
        created REAL NOT NULL,
        UNIQUE (branch, generation, slot)
    )""",
    "CREATE INDEX candidates_by_digest ON candidates (branch, digest)",
    "CREATE INDEX candidates_by_original ON candidates (duplicate_of)",
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
    """CREATE TABLE scores (
        key TEXT PRIMARY KEY,
        purpose TEXT NOT NULL,
        cls TEXT NOT NULL,
        reg TEXT NOT NULL,
        split TEXT NOT NULL,
        seed INTEGER NOT NULL,
        epochs REAL NOT NULL,
        box_weight REAL NOT NULL,
        lr REAL NOT NULL,
        status TEXT NOT NULL,
        ap REAL,
        ap50 REAL,
        ap75 REAL,
        detail TEXT NOT NULL,
        seconds REAL NOT NULL,
        candidate INTEGER REFERENCES candidates(id) ON DELETE SET NULL,
        extra TEXT NOT NULL DEFAULT '{}',
        created REAL NOT NULL,
        CHECK ((status = 'ok') = (ap IS NOT NULL)),
        CHECK (ap IS NULL OR (ap >= 0 AND ap <= 1))
    )""",
    "CREATE INDEX scores_by_purpose ON scores (purpose, status)",
    "CREATE INDEX scores_by_candidate ON scores (candidate)",
    """CREATE TABLE fingerprints (
        branch TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        candidate INTEGER NOT NULL REFERENCES candidates(id) ON DELETE CASCADE,
        PRIMARY KEY (branch, fingerprint)
    ) WITHOUT ROWID""",
    "CREATE INDEX fingerprints_by_candidate ON fingerprints (candidate)",
    """CREATE TABLE stage_seconds (
        stage TEXT PRIMARY KEY,
        seconds REAL NOT NULL,
        entries INTEGER NOT NULL
    ) WITHOUT ROWID""",
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
)

ADDED: Final = (
    """CREATE TABLE IF NOT EXISTS rejected_populations (
        branch TEXT NOT NULL,
        generation INTEGER NOT NULL,
        stage TEXT NOT NULL,
        source TEXT NOT NULL,
        population INTEGER NOT NULL,
        PRIMARY KEY (branch, generation, stage, source)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS rejected_sample (
        candidate INTEGER PRIMARY KEY REFERENCES candidates(id) ON DELETE CASCADE,
        stage TEXT NOT NULL,
        source TEXT NOT NULL
    )""",
)
"""Tables that came after format 1 was in use: made in an older run when it is opened for writing."""
