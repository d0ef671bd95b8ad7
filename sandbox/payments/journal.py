"""What was asked of this server and what became of it, in order of arrival.

Tests read it to count how often money was asked for; it holds no keys and no card numbers.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson

from sandbox.control import MAX_PAGE
from sandbox.payments.documents import Document
from sandbox.payments.forms import Form
from sandbox.payments.store import Store

KEPT_ENTRIES = 500_000  # some 300 MB; enough for a day of soak tests, bounded for a forgotten one
_SWEEP_EVERY = 1_000
SECRET_NAMES = frozenset(
    {"client_secret", "number", "cvc", "cvv", "account_number", "routing_number", "token"}
)


@dataclass(kw_only=True)
class Entry:
    """One request. `status` stays None if the client never got a whole status line."""

    id: int
    time: float  # Unix seconds at arrival
    request_id: str
    method: str
    path: str
    idempotency_key: str | None
    params: Form = field(default_factory=dict)
    status: int | None = None
    replayed: bool = False
    executed: bool = False  # its endpoint ran, to whatever end; not refused before, not replayed
    fault: str | None = None
    payment_intent: str | None = None
    order_id: str | None = None

    def note_fault(self, kind: str) -> None:
        self.fault = kind if self.fault is None else f"{self.fault}+{kind}"


class Journal:
    """The entries, kept in the store."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self._last_id: int = store.execute(
            "SELECT max(coalesce((SELECT max(id) FROM journal), 0), used) FROM journal_numbers"
        ).fetchone()[0]

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def write(self, entry: Entry) -> None:
        """Keep an entry, or the newer state of one; requires a transaction."""
        self._store.execute(
            "INSERT OR REPLACE INTO journal (id, time, request_id, method, path, idempotency_key,"
            " params, status, replayed, executed, fault, payment_intent, order_id)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.id,
                entry.time,
                entry.request_id,
                entry.method,
                entry.path,
                entry.idempotency_key,
                orjson.dumps(without_secrets(entry.params)),
                entry.status,
                entry.replayed,
                entry.executed,
                entry.fault,
                entry.payment_intent,
                entry.order_id,
            ),
        )
        if entry.id % _SWEEP_EVERY == 0:
            self._store.execute("DELETE FROM journal WHERE id <= ?", (entry.id - KEPT_ENTRIES,))

    def read(
        self,
        *,
        path: str | None = None,
        payment_intent: str | None = None,
        order_id: str | None = None,
        after: int = 0,
        limit: int = MAX_PAGE,
    ) -> list[Document]:
        """Entries in order of arrival, from the one after `after` on."""
        conditions, values = ["id > ?"], [after]
        wanted = (("path", path), ("payment_intent", payment_intent), ("order_id", order_id))
        filters: list[Any] = []
        for column, value in wanted:
            if value is not None:
                conditions.append(f"{column} = ?")
                filters.append(value)
        rows = self._store.execute(
            f"SELECT * FROM journal WHERE {' AND '.join(conditions)} ORDER BY id LIMIT ?",  # noqa: S608 - only column names from above are put into the text
            (*values, *filters, limit),
        )
        return [
            {
                **dict(row),
                "params": orjson.loads(row["params"]),
                "replayed": bool(row["replayed"]),
                "executed": bool(row["executed"]),
            }
            for row in rows
        ]

    def clear(self) -> None:
        """Forget all entries; their numbers are not used again. Requires a transaction."""
        self._store.execute("DELETE FROM journal")
        self._store.execute("UPDATE journal_numbers SET used = ?", (self._last_id,))


def without_secrets(value: Any) -> Any:
    """Copy decoded parameters, with what must not be kept replaced by a word."""
    if isinstance(value, dict):
        return {
            name: "[hidden]" if name in SECRET_NAMES else without_secrets(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    return value
