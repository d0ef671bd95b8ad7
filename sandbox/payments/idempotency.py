"""Idempotency keys as Stripe documents them: the first answer is the answer, for 24 hours.

Kept in the same transaction as the effect of the request, so that a crash leaves both or neither.
"""

from dataclasses import dataclass

import orjson

from sandbox.payments.calls import Call
from sandbox.payments.errors import idempotency_mismatch, invalid_request, key_in_use
from sandbox.payments.store import Store

LIFETIME_SECONDS = 24 * 60 * 60
MAX_KEY = 255


@dataclass(frozen=True)
class Remembered:
    """What was answered the first time."""

    status: int
    body: bytes
    request_id: str


def fingerprint_of(call: Call) -> bytes:
    """What has to be the same when a key comes again: the parameters, in whatever order."""
    return orjson.dumps(call.params, option=orjson.OPT_SORT_KEYS)


def check_key(key: str) -> None:
    if not 1 <= len(key) <= MAX_KEY:
        raise invalid_request(f"Idempotency keys must be between 1 and {MAX_KEY} characters long.")


class Keys:
    """The keys in use by running requests (in memory) and those already answered (in the store)."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self._running: dict[str, tuple[str, bytes]] = {}

    def claim(self, *, key: str, path: str, fingerprint: bytes) -> None:
        """Mark a key as being worked on.

        Raises:
            ApiError: 409 if another request with it is running, 400 if that one differs.
        """
        running = self._running.get(key)
        if running is not None:
            _refuse_difference(key, first=running, now=(path, fingerprint))
            raise key_in_use(key)
        self._running[key] = (path, fingerprint)

    def release(self, *, key: str) -> None:
        self._running.pop(key, None)

    def recall(self, *, key: str, path: str, fingerprint: bytes, now: float) -> Remembered | None:
        """The first answer under this key, if it is younger than 24 hours.

        Raises:
            ApiError: 400 `idempotency_error` if the first request was another one.
        """
        row = self._store.execute(
            "SELECT path, fingerprint, status, body, request_id FROM idempotency_keys"
            " WHERE key = ? AND created > ?",
            (key, now - LIFETIME_SECONDS),
        ).fetchone()
        if row is None:
            return None
        _refuse_difference(key, first=(row["path"], row["fingerprint"]), now=(path, fingerprint))
        return Remembered(status=row["status"], body=row["body"], request_id=row["request_id"])

    def remember(
        self, *, key: str, path: str, fingerprint: bytes, answer: Remembered, now: float
    ) -> None:
        """Keep an answer; requires the transaction of the request's effect."""
        self._store.execute(
            "INSERT OR REPLACE INTO idempotency_keys"
            " (key, path, fingerprint, status, body, request_id, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key, path, fingerprint, answer.status, answer.body, answer.request_id, now),
        )

    def forget_expired(self, *, now: float) -> None:
        self._store.execute(
            "DELETE FROM idempotency_keys WHERE created <= ?", (now - LIFETIME_SECONDS,)
        )


def _refuse_difference(key: str, *, first: tuple[str, bytes], now: tuple[str, bytes]) -> None:
    if first[0] != now[0]:
        raise idempotency_mismatch(
            "Keys for idempotent requests can only be used for the same endpoint they were first "
            f"used for ('{now[0]}' vs '{first[0]}'). Try using a key other than '{key}' if you "
            "meant to execute a different request."
        )
    if first[1] != now[1]:
        raise idempotency_mismatch(
            "Keys for idempotent requests can only be used with the same parameters they were "
            f"first used with. Try using a key other than '{key}' if you meant to execute a "
            "different request."
        )
