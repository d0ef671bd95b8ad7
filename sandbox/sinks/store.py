"""Keeps what was received, and every call, in the state file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sandbox.statefile import StateFile

KEPT_CALLS = 200_000  # some 300 MB; enough for a day of storms, bounded for a forgotten one
_SWEEP_EVERY = 1_000
# What each version added; a file of an older one gets the rest on opening.
_VERSION_1 = """
CREATE TABLE kept (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
    receiver TEXT NOT NULL,
    kind     TEXT NOT NULL,                      -- what it is to its receiver: event, ticket, ...
    key      TEXT NOT NULL,                      -- what makes it the same thing when it comes again
    time     REAL NOT NULL,
    body     BLOB NOT NULL,                      -- as the receiver has it now, JSON
    hidden   BLOB NOT NULL,                      -- what only this server knows of it, JSON
    copies   INTEGER NOT NULL DEFAULT 0,         -- how often it came again
    changed  INTEGER NOT NULL DEFAULT 0,         -- how often with another body
    UNIQUE (receiver, kind, key)
) STRICT;

CREATE TABLE lookups (                           -- what else than its key a thing is found by
    receiver TEXT NOT NULL,
    kind     TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    key      TEXT NOT NULL,
    PRIMARY KEY (receiver, kind, name, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX lookups_of_key ON lookups (receiver, kind, key);

CREATE TABLE remembered (                        -- what was answered under idempotency keys
    receiver TEXT NOT NULL,
    key      TEXT NOT NULL,
    time     REAL NOT NULL,
    value    BLOB NOT NULL,
    PRIMARY KEY (receiver, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE calls (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,
    time            REAL NOT NULL,
    receiver        TEXT NOT NULL,
    method          TEXT NOT NULL,
    path            TEXT NOT NULL,
    idempotency_key TEXT,
    body            TEXT NOT NULL,
    status          INTEGER,                     -- NULL: the client never got one
    kept            INTEGER NOT NULL DEFAULT 0,
    duplicates      INTEGER NOT NULL DEFAULT 0,
    fault           TEXT
) STRICT;
CREATE INDEX calls_of_receiver ON calls (receiver, number);

CREATE TABLE counts (                            -- outlive the calls that are swept away
    receiver TEXT PRIMARY KEY,
    calls    INTEGER NOT NULL DEFAULT 0,
    refused  INTEGER NOT NULL DEFAULT 0,         -- by the receiver's own rules
    spoiled  INTEGER NOT NULL DEFAULT 0          -- by faults
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (                          -- what tests tell a receiver
    receiver TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    BLOB NOT NULL,
    PRIMARY KEY (receiver, name)
) STRICT, WITHOUT ROWID;
"""
VERSIONS = (_VERSION_1,)
RECEIVED = ("kept", "lookups", "remembered", "calls", "counts")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One thing a receiver has."""

    number: int
    kind: str
    key: str
    time: float
    body: Any
    hidden: Any
    copies: int
    changed: int


@dataclass(kw_only=True)
class Entry:
    """One call in the journal. `status` stays None if the client never got a whole status line."""

    time: float  # Unix seconds at arrival
    receiver: str
    method: str
    path: str
    idempotency_key: str | None
    body: str
    number: int | None = None  # once it is written
    status: int | None = None
    kept: int = 0
    duplicates: int = 0
    fault: str | None = None
    is_refused: bool = False

    def note_fault(self, kind: str) -> None:
        self.fault = kind if self.fault is None else f"{self.fault}+{kind}"


class Store(StateFile):
    """All state of the sinks. Writes belong into `with store.transaction():`."""

    def __init__(self, *, path: Path) -> None:
        super().__init__(path=path, versions=VERSIONS)

    # --- what was received ---

    def keep(
        self, *, receiver: str, kind: str, key: str, body: Any, hidden: Any, now: float
    ) -> bool:
        """Keep what is new; what is there already stays as it is, and is counted."""
        content = orjson.dumps(body)
        added = self.execute(
            "INSERT INTO kept (receiver, kind, key, time, body, hidden) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (receiver, kind, key, now, content, orjson.dumps(hidden)),
        ).rowcount
        if added:
            return True
        self.execute(
            "UPDATE kept SET copies = copies + 1, changed = changed + (body <> ?)"
            " WHERE receiver = ? AND kind = ? AND key = ?",
            (content, receiver, kind, key),
        )
        return False

    def count_copy(self, *, receiver: str, kind: str, key: str) -> None:
        self.execute(
            "UPDATE kept SET copies = copies + 1 WHERE receiver = ? AND kind = ? AND key = ?",
            (receiver, kind, key),
        )

    def change(self, *, receiver: str, kind: str, key: str, body: Any) -> None:
        """Keep the newer state of something."""
        self.execute(
            "UPDATE kept SET body = ? WHERE receiver = ? AND kind = ? AND key = ?",
            (orjson.dumps(body), receiver, kind, key),
        )

    def remove(self, *, receiver: str, kind: str, key: str) -> None:
        """Keep something no longer."""
        for table in ("kept", "lookups"):
            self.execute(
                f"DELETE FROM {table} WHERE receiver = ? AND kind = ? AND key = ?",  # noqa: S608 - a constant above
                (receiver, kind, key),
            )

    def find(self, *, receiver: str, kind: str, key: str) -> Kept | None:
        row = self.execute(
            "SELECT * FROM kept WHERE receiver = ? AND kind = ? AND key = ?", (receiver, kind, key)
        ).fetchone()
        return None if row is None else _kept(row)

    def received(
        self,
        *,
        receiver: str,
        kind: str | None = None,
        key: str | None = None,
        after: int = 0,
        limit: int = -1,
    ) -> list[Kept]:
        """What a receiver has, in order of arrival, from the one after number `after` on."""
        rows = self.execute(
            "SELECT * FROM kept WHERE receiver = ? AND kind = coalesce(?, kind)"
            " AND key = coalesce(?, key) AND number > ? ORDER BY number LIMIT ?",
            (receiver, kind, key, after, limit),
        )
        return [_kept(row) for row in rows]

    def latest(self, *, receiver: str, limit: int) -> list[Kept]:
        rows = self.execute(
            "SELECT * FROM kept WHERE receiver = ? ORDER BY number DESC LIMIT ?", (receiver, limit)
        )
        return [_kept(row) for row in rows]

    def next_number(self) -> int:
        """A number that no kept thing had before."""
        row = self.execute("SELECT seq FROM sqlite_sequence WHERE name = 'kept'").fetchone()
        return 1 if row is None else row[0] + 1

    # --- other ways to find it ---

    def look_up(self, *, receiver: str, kind: str, name: str, value: str) -> str | None:
        """The key of what was entered under this value."""
        row = self.execute(
            "SELECT key FROM lookups WHERE receiver = ? AND kind = ? AND name = ? AND value = ?",
            (receiver, kind, name, value),
        ).fetchone()
        return None if row is None else str(row[0])

    def release(self, *, receiver: str, kind: str, values: dict[str, str]) -> None:
        """Have nothing found by these values any more."""
        for name, value in values.items():
            self.execute(
                "DELETE FROM lookups WHERE receiver = ? AND kind = ? AND name = ? AND value = ?",
                (receiver, kind, name, value),
            )

    def enter(
        self, *, receiver: str, kind: str, key: str, values: dict[str, str], names: set[str]
    ) -> None:
        """Have something found by these values, and by no others of `names`."""
        for name in names:
            self.execute(
                "DELETE FROM lookups WHERE receiver = ? AND kind = ? AND key = ? AND name = ?",
                (receiver, kind, key, name),
            )
        for name, value in values.items():
            self.execute(
                "INSERT INTO lookups (receiver, kind, name, value, key) VALUES (?, ?, ?, ?, ?)",
                (receiver, kind, name, value, key),
            )

    # --- idempotency keys ---

    def remember(self, *, receiver: str, key: str, value: Any, now: float) -> None:
        self.execute(
            "INSERT OR REPLACE INTO remembered (receiver, key, time, value) VALUES (?, ?, ?, ?)",
            (receiver, key, now, orjson.dumps(value)),
        )

    def recall(self, *, receiver: str, key: str, since: float) -> Any:
        row = self.execute(
            "SELECT value FROM remembered WHERE receiver = ? AND key = ? AND time >= ?",
            (receiver, key, since),
        ).fetchone()
        return None if row is None else orjson.loads(row[0])

    # --- settings ---

    def set(self, *, receiver: str, name: str, value: Any) -> None:
        self.execute(
            "INSERT OR REPLACE INTO settings (receiver, name, value) VALUES (?, ?, ?)",
            (receiver, name, orjson.dumps(value)),
        )

    def setting(self, *, receiver: str, name: str) -> Any:
        row = self.execute(
            "SELECT value FROM settings WHERE receiver = ? AND name = ?", (receiver, name)
        ).fetchone()
        return None if row is None else orjson.loads(row[0])

    # --- the journal ---

    def write(self, entry: Entry) -> None:
        """Keep a call, or the newer state of one, and count it."""
        if entry.number is None:
            entry.number = self.execute(
                "INSERT INTO calls (time, receiver, method, path, idempotency_key, body)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    *(entry.time, entry.receiver, entry.method),
                    *(entry.path, entry.idempotency_key, entry.body),
                ),
            ).lastrowid
            self._count(entry.receiver, "calls")
            if entry.number is not None and entry.number % _SWEEP_EVERY == 0:
                self.execute("DELETE FROM calls WHERE number <= ?", (entry.number - KEPT_CALLS,))

    def close_entry(self, entry: Entry) -> None:
        """Write what became of a call."""
        self.write(entry)
        self.execute(
            "UPDATE calls SET status = ?, kept = ?, duplicates = ?, fault = ? WHERE number = ?",
            (entry.status, entry.kept, entry.duplicates, entry.fault, entry.number),
        )
        if entry.is_refused:
            self._count(entry.receiver, "refused")
        if entry.fault is not None:
            self._count(entry.receiver, "spoiled")

    def _count(self, receiver: str, name: str) -> None:
        self.execute(
            f"INSERT INTO counts (receiver, {name}) VALUES (?, 1)"  # noqa: S608 - our own names
            f" ON CONFLICT (receiver) DO UPDATE SET {name} = {name} + 1",
            (receiver,),
        )

    def calls(
        self,
        *,
        receiver: str | None = None,
        path: str | None = None,
        idempotency_key: str | None = None,
        after: int = 0,
        limit: int = -1,
    ) -> list[dict[str, Any]]:
        """The journal in order of arrival, from the one after number `after` on."""
        rows = self.execute(
            "SELECT * FROM calls WHERE receiver = coalesce(?, receiver)"
            " AND path = coalesce(?, path) AND (? IS NULL OR idempotency_key = ?)"
            " AND number > ? ORDER BY number LIMIT ?",
            (receiver, path, idempotency_key, idempotency_key, after, limit),
        )
        return [dict(row) for row in rows]

    def kinds(self, *, receiver: str) -> dict[str, int]:
        """How many things of each kind were kept."""
        rows = self.execute(
            "SELECT kind, count(*) FROM kept WHERE receiver = ? GROUP BY kind", (receiver,)
        )
        return dict(rows.fetchall())

    def counts(self, *, receiver: str) -> dict[str, int]:
        """How many calls came, how many things were kept, and so on."""
        counted = self.execute(
            "SELECT calls, refused, spoiled FROM counts WHERE receiver = ?", (receiver,)
        ).fetchone()
        kept, copies, changed = self.execute(
            "SELECT count(*), coalesce(sum(copies), 0), coalesce(sum(changed), 0)"
            " FROM kept WHERE receiver = ? AND kind <> 'rejected'",
            (receiver,),
        ).fetchone()
        calls, refused, spoiled = (0, 0, 0) if counted is None else counted
        return {
            "calls": calls,
            "kept": kept,
            "duplicates": copies,
            "changed": changed,
            "refused": refused,
            "spoiled": spoiled,
        }

    def forget(self, *, receiver: str | None = None) -> None:
        """Forget what a receiver got and what was asked of it, or all of them; numbers go on."""
        for table in RECEIVED:
            self.execute(
                f"DELETE FROM {table} WHERE receiver = coalesce(?, receiver)",  # noqa: S608 - a constant above
                (receiver,),
            )

    def clear(self) -> None:
        """Forget everything, settings too."""
        for table in (*RECEIVED, "settings"):
            self.execute(f"DELETE FROM {table}")  # noqa: S608 - a constant above


def _kept(row: Any) -> Kept:
    return Kept(
        **{name: row[name] for name in ("number", "kind", "key", "time", "copies", "changed")},
        body=orjson.loads(row["body"]),
        hidden=orjson.loads(row["hidden"]),
    )
