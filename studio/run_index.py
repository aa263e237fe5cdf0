"""The SQLite index beside the run folders: fast lists and searches, rebuilt from the run.json files when lost."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, engine TEXT NOT NULL, owner TEXT NOT NULL, state TEXT NOT NULL,
    created REAL NOT NULL, bytes INTEGER NOT NULL, words TEXT NOT NULL, record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_created ON runs (created DESC);
CREATE INDEX IF NOT EXISTS runs_owner ON runs (owner, created DESC);
CREATE TABLE IF NOT EXISTS inputs (sha256 TEXT NOT NULL, run TEXT NOT NULL, PRIMARY KEY (sha256, run));
"""

_ID_PREFIX = 8  # shorter words of a search would meet random ids by chance


@dataclass(frozen=True)
class IndexRow:
    """What the index knows of one run; ``record`` is its run.json text, ``words`` what a search looks through."""

    id: str
    pipeline: str
    engine: str
    owner: str
    state: str
    created: float
    bytes: int
    words: str
    record: str
    inputs: tuple[str, ...] = ()


class RunIndex:
    """One connection behind one lock, in write-ahead mode, so that several processes can share a workspace."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, timeout=30.0, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def put(self, row: IndexRow) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO runs VALUES (?,?,?,?,?,?,?,?,?)",
                (row.id, row.pipeline, row.engine, row.owner, row.state, row.created, row.bytes, row.words, row.record),
            )
            db.execute("DELETE FROM inputs WHERE run=?", (row.id,))
            db.executemany("INSERT OR IGNORE INTO inputs VALUES (?,?)", [(sha, row.id) for sha in row.inputs])

    def remove(self, run_id: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM runs WHERE id=?", (run_id,))
            db.execute("DELETE FROM inputs WHERE run=?", (run_id,))

    def record(self, run_id: str) -> str | None:
        """The run.json text of a run, or None."""
        with self._lock:
            found = self._db.execute("SELECT record FROM runs WHERE id=?", (run_id,)).fetchone()
        return found[0] if found else None

    def ids(self) -> set[str]:
        with self._lock:
            return {r[0] for r in self._db.execute("SELECT id FROM runs")}

    def search(
        self,
        owner: str | None = None,
        pipeline: str | None = None,
        state: str | None = None,
        text: str = "",
        limit: int = 60,
        offset: int = 0,
    ) -> list[str]:
        """run.json texts, newest first. Every word of ``text`` must occur in a run's words, or begin its id."""
        where, values = _conditions(owner, pipeline, state, text)
        with self._lock:
            found = self._db.execute(
                f"SELECT record FROM runs {where} ORDER BY created DESC, id LIMIT ? OFFSET ?",
                [*values, max(0, limit), max(0, offset)],
            ).fetchall()
        return [r[0] for r in found]

    def count(
        self, owner: str | None = None, pipeline: str | None = None, state: str | None = None, text: str = ""
    ) -> int:
        where, values = _conditions(owner, pipeline, state, text)
        with self._lock:
            return int(self._db.execute(f"SELECT COUNT(*) FROM runs {where}", values).fetchone()[0])

    def oldest(self, without_states: tuple[str, ...]) -> list[tuple[str, float, int]]:
        """(id, created, bytes) of all runs that are in none of the states, oldest first."""
        marks = ",".join("?" * len(without_states))
        with self._lock:
            return self._db.execute(
                f"SELECT id, created, bytes FROM runs WHERE state NOT IN ({marks}) ORDER BY created", without_states
            ).fetchall()

    def unshared_inputs(self, run_id: str) -> list[str]:
        """Hashes of the inputs that no other run has."""
        with self._lock:
            found = self._db.execute(
                "SELECT a.sha256 FROM inputs a WHERE a.run=? AND NOT EXISTS "
                "(SELECT 1 FROM inputs b WHERE b.sha256=a.sha256 AND b.run<>a.run)",
                (run_id,),
            ).fetchall()
        return [r[0] for r in found]


def _conditions(owner: str | None, pipeline: str | None, state: str | None, text: str) -> tuple[str, list[str]]:
    parts: list[str] = []
    values: list[str] = []
    for column, value in (("owner", owner), ("pipeline", pipeline), ("state", state)):
        if value is not None:
            parts.append(f"{column}=?")
            values.append(value)
    for word in text.lower().split():
        escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        if len(word) < _ID_PREFIX:
            parts.append("words LIKE ? ESCAPE '\\'")
            values.append(f"%{escaped}%")
        else:
            parts.append("(words LIKE ? ESCAPE '\\' OR id LIKE ? ESCAPE '\\')")
            values += [f"%{escaped}%", f"{escaped}%"]
    return ("WHERE " + " AND ".join(parts)) if parts else "", values
