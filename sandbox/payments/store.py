"""Keeps every object in the state file.

That only one writes at a time is what makes refund bounds and idempotency keys hold.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from sandbox.payments.documents import Document
from sandbox.statefile import StateFile

# What each version added; a file of an older one gets the rest on opening.
_VERSION_1 = """
CREATE TABLE objects (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,   -- order of creation; lists page by it
    id             TEXT NOT NULL UNIQUE,
    kind           TEXT NOT NULL,                       -- Stripe's "object" field
    created        INTEGER NOT NULL,
    customer       TEXT,
    payment_intent TEXT,
    charge         TEXT,
    email          TEXT,
    body           BLOB NOT NULL,                       -- the object as answered, JSON
    hidden         BLOB NOT NULL                        -- what only this server knows of it, JSON
) STRICT;
CREATE INDEX objects_of_kind ON objects (kind, seq);
CREATE INDEX objects_of_customer ON objects (customer, kind, seq) WHERE customer IS NOT NULL;
CREATE INDEX objects_of_intent ON objects (payment_intent, kind, seq)
    WHERE payment_intent IS NOT NULL;
CREATE INDEX objects_of_charge ON objects (charge, kind, seq) WHERE charge IS NOT NULL;

CREATE TABLE idempotency_keys (
    key         TEXT PRIMARY KEY,
    path        TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    status      INTEGER NOT NULL,
    body        BLOB NOT NULL,
    request_id  TEXT NOT NULL,
    created     REAL NOT NULL
) STRICT;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created);

CREATE TABLE journal (
    id              INTEGER PRIMARY KEY,
    time            REAL NOT NULL,
    request_id      TEXT NOT NULL,
    method          TEXT NOT NULL,
    path            TEXT NOT NULL,
    idempotency_key TEXT,
    params          BLOB NOT NULL,
    status          INTEGER,
    replayed        INTEGER NOT NULL,
    executed        INTEGER NOT NULL,
    fault           TEXT,
    payment_intent  TEXT,
    order_id        TEXT
) STRICT;
"""
_VERSION_2 = """
ALTER TABLE objects ADD COLUMN type TEXT;
ALTER TABLE objects ADD COLUMN source TEXT;
ALTER TABLE objects ADD COLUMN currency TEXT;
CREATE INDEX objects_of_type ON objects (type, kind, seq) WHERE type IS NOT NULL;
CREATE INDEX objects_of_source ON objects (source, kind, seq) WHERE source IS NOT NULL;

CREATE TABLE deliveries (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    kind     TEXT NOT NULL,                             -- the event's type
    created  REAL NOT NULL,
    due      REAL,                                      -- NULL: done
    attempts INTEGER NOT NULL DEFAULT 0,
    marked   INTEGER NOT NULL DEFAULT 0,                -- a fault has had its way with it
    outcome  TEXT                                       -- of the last attempt
) STRICT;
CREATE INDEX deliveries_due ON deliveries (due, id) WHERE due IS NOT NULL;
"""
_VERSION_3 = """
CREATE TABLE journal_numbers (used INTEGER NOT NULL) STRICT;   -- one row; outlives the journal
INSERT INTO journal_numbers SELECT coalesce(max(id), 0) FROM journal;
"""
VERSIONS = (_VERSION_1, _VERSION_2, _VERSION_3)
# The columns lists may be filtered by; each mirrors a top-level field of the object.
FILTERS = ("customer", "payment_intent", "charge", "email", "type", "source", "currency")
TABLES = ("objects", "idempotency_keys", "journal", "deliveries")
_COLUMNS = ", ".join(FILTERS)
_PLACES = ", ".join("?" for _ in FILTERS)
_CHANGES = ", ".join(f"{name} = ?" for name in FILTERS)
_GLOB_LITERALS = str.maketrans({"[": "[[]", "?": "[?]"})  # GLOB's other signs stand for themselves


@dataclass(frozen=True)
class Record:
    """One kept object: what is answered, and what only this server knows."""

    body: Document
    hidden: Document = field(default_factory=dict)
    kept: bool = True  # False: made by this request and not added yet


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An event on its way to the listener."""

    id: int
    kind: str
    created: float
    attempts: int
    is_marked: bool
    body: bytes


class Store(StateFile):
    """All state of the server. Writes belong into `with store.transaction():`."""

    def __init__(self, *, path: Path) -> None:
        # Who is told of events, if anybody: which types, and how to wake him.
        self.is_listened_to: Callable[[str], bool] = lambda _kind: False
        self.on_delivery: Callable[[], None] = lambda: None
        super().__init__(path=path, versions=VERSIONS)

    def add(self, body: Document, *, hidden: Document | None = None) -> None:
        """Keep a new object."""
        self._connection.execute(
            f"INSERT INTO objects (id, kind, created, {_COLUMNS}, body, hidden)"  # noqa: S608 - constants
            f" VALUES (?, ?, ?, {_PLACES}, ?, ?)",
            (
                body["id"],
                body["object"],
                body["created"],
                *(_column(body, name) for name in FILTERS),
                orjson.dumps(body),
                orjson.dumps(hidden or {}),
            ),
        )

    def add_event(self, body: Document) -> None:
        """Keep an event and, if its type is listened to, the duty to tell of it."""
        self.add(body)
        if self.is_listened_to(body["type"]):
            self.add_delivery(event_id=body["id"], kind=body["type"])

    def add_delivery(self, *, event_id: str, kind: str, is_marked: bool = False) -> None:
        """Have an event told, now and until it was heard."""
        now = time.time()
        self._connection.execute(
            "INSERT INTO deliveries (event_id, kind, created, due, marked) VALUES (?, ?, ?, ?, ?)",
            (event_id, kind, now, now, is_marked),
        )
        self.on_delivery()

    def deliveries_due(self, *, now: float, limit: int) -> list[Delivery]:
        """Those whose time has come, the longest due first."""
        rows = self._connection.execute(
            "SELECT d.id, d.kind, d.created, d.attempts, d.marked, o.body"
            " FROM deliveries d JOIN objects o ON o.id = d.event_id"
            " WHERE d.due <= ? ORDER BY d.due, d.id LIMIT ?",
            (now, limit),
        )
        return [
            Delivery(
                id=row["id"],
                kind=row["kind"],
                created=row["created"],
                attempts=row["attempts"],
                is_marked=bool(row["marked"]),
                body=row["body"],
            )
            for row in rows
        ]

    def mark_delivery(self, delivery_id: int) -> None:
        """No fault is to touch it any more."""
        self._connection.execute("UPDATE deliveries SET marked = 1 WHERE id = ?", (delivery_id,))

    def postpone_delivery(
        self, delivery_id: int, *, due: float, outcome: str | None = None
    ) -> None:
        """Try it then; with an outcome, an attempt was made."""
        self._connection.execute(
            "UPDATE deliveries SET due = ?, outcome = coalesce(?, outcome),"
            " attempts = attempts + ? WHERE id = ? AND due IS NOT NULL",
            (due, outcome, int(outcome is not None), delivery_id),
        )

    def finish_delivery(self, delivery_id: int, *, outcome: str) -> None:
        """It was heard, or nobody is to hear it."""
        self._connection.execute(
            "UPDATE deliveries SET due = NULL, outcome = ?, attempts = attempts + 1 WHERE id = ?",
            (outcome, delivery_id),
        )

    def deliveries(self, *, limit: int) -> list[Document]:
        """The latest ones, as a test wants to see them."""
        rows = self._connection.execute(
            "SELECT event_id, kind AS type, due IS NULL AS done, attempts, outcome"
            " FROM deliveries ORDER BY id DESC LIMIT ?",
            (limit,),
        )
        return [{**dict(row), "done": bool(row["done"])} for row in rows]

    def forget_events(self, *, before: int) -> None:
        """Drop events and finished deliveries older than that."""
        self._connection.execute(
            "DELETE FROM deliveries WHERE due IS NULL AND created < ?", (before,)
        )
        self._connection.execute(
            "DELETE FROM objects WHERE kind = 'event' AND created < ?"
            " AND id NOT IN (SELECT event_id FROM deliveries)",
            (before,),
        )

    def save(self, body: Document, *, hidden: Document | None = None) -> None:
        """Keep the changed state of an object that exists; without `hidden`, that part stays."""
        self._connection.execute(
            f"UPDATE objects SET {_CHANGES}, body = ?, hidden = coalesce(?, hidden) WHERE id = ?",  # noqa: S608 - constants
            (
                *(_column(body, name) for name in FILTERS),
                orjson.dumps(body),
                None if hidden is None else orjson.dumps(hidden),
                body["id"],
            ),
        )

    def remove(self, object_id: str) -> None:
        """Keep an object no longer."""
        self._connection.execute("DELETE FROM objects WHERE id = ?", (object_id,))

    def find(self, *, kind: str, object_id: str) -> Record | None:
        row = self._connection.execute(
            "SELECT body, hidden FROM objects WHERE id = ? AND kind = ?", (object_id, kind)
        ).fetchone()
        if row is None:
            return None
        return Record(body=orjson.loads(row["body"]), hidden=orjson.loads(row["hidden"]))

    def position(self, *, kind: str, object_id: str) -> int | None:
        """Where an object stands in the order of creation, for paging."""
        row = self._connection.execute(
            "SELECT seq FROM objects WHERE id = ? AND kind = ?", (object_id, kind)
        ).fetchone()
        return None if row is None else int(row["seq"])

    def newest(
        self,
        *,
        kind: str,
        limit: int,
        equal: Mapping[str, str | list[str]],
        like: Mapping[str, str] | None = None,
        created: Mapping[str, int] | None = None,
        older_than: int | None = None,
        newer_than: int | None = None,
    ) -> list[Document]:
        """Objects of a kind, newest first.

        Args:
            kind: Stripe's "object" value.
            limit: at most this many.
            equal: the wanted value, or values, by column, out of `FILTERS`.
            like: the wanted pattern by column, out of `FILTERS`; `*` stands for anything.
            created: bounds in Unix seconds by SQL operator (`>=`, ...).
            older_than: only objects created before this position.
            newer_than: only objects created after this position; those nearest to it.
        """
        conditions = ["kind = ?"]
        values: list[object] = [kind]
        for column in FILTERS:
            wanted = equal.get(column)
            if isinstance(wanted, list):
                conditions.append(f"{column} IN ({', '.join('?' for _ in wanted)})")
                values += wanted
            elif wanted is not None:
                conditions.append(f"{column} = ?")
                values.append(wanted)
            if like and column in like:
                conditions.append(f"{column} GLOB ?")
                values.append(like[column].translate(_GLOB_LITERALS))
        for operator in ("=", "<", "<=", ">", ">="):
            if created and operator in created:
                conditions.append(f"created {operator} ?")
                values.append(created[operator])
        if older_than is not None:
            conditions.append("seq < ?")
            values.append(older_than)
        if newer_than is not None:
            conditions.append("seq > ?")
            values.append(newer_than)
        direction = "DESC" if newer_than is None else "ASC"
        rows = self._connection.execute(
            f"SELECT body FROM objects WHERE {' AND '.join(conditions)}"  # noqa: S608 - only names from the constants above are put into the text
            f" ORDER BY seq {direction} LIMIT ?",
            (*values, limit),
        ).fetchall()
        found = [orjson.loads(row["body"]) for row in rows]
        return found if newer_than is None else found[::-1]

    def sums_of_net(self, *, kind: str) -> list[tuple[str, int]]:
        """The sum of the `net` field of all objects of a kind, by currency."""
        rows = self._connection.execute(
            "SELECT currency, sum(json_extract(CAST(body AS TEXT), '$.net')) AS net"
            " FROM objects WHERE kind = ? GROUP BY currency ORDER BY currency",
            (kind,),
        )
        return [(row["currency"], row["net"]) for row in rows]

    def clear(self) -> None:
        """Forget everything."""
        for table in TABLES:
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - a constant above


def _column(body: Document, name: str) -> str | None:
    """A filter's value: an expanded object counts by its id, any other shape not at all."""
    value = body.get(name)
    return value if isinstance(value, str) else None
