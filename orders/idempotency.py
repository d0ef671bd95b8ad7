"""Claims, takes over and answers one idempotency key.

The first answer written stays (rule 5); the lease only saves work: row locks, T1b's condition and
the intent's own terminal states carry correctness. Time is the database's.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Final

from django.db import OperationalError

from config.kernel import sql
from config.kernel.db import is_lock_timeout
from orders.answers import Answer
from orders.errors import IdempotencyKeyReusedError, OrderInProgressError
from orders.models import IdempotencyKey
from payments.selectors import OPEN_DISPUTE

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator

LEASE: Final = timedelta(seconds=20)  # a request's 12 seconds and a margin
MOSTLY_DONE_WITHIN: Final = timedelta(seconds=2)
LOCK_KEY: Final = """
    SELECT *, statement_timestamp() AS at FROM idempotency_keys
    WHERE scope = %(scope)s AND key = %(key)s FOR UPDATE
"""
TAKE_OVER: Final = """
    UPDATE idempotency_keys
    SET owner = %(owner)s, lease_until = statement_timestamp() + %(lease)s WHERE id = %(id)s
"""
END_LEASE: Final = """
    UPDATE idempotency_keys SET lease_until = now() WHERE id = %(id)s AND response_status IS NULL
"""
# An answer may be the last one while its order still waits: 402 with an action to do.
OLD: Final = f"""
    FROM idempotency_keys AS key JOIN orders ON orders.idempotency_key_id = key.id
    WHERE key.created_at < %(before)s AND key.response_status IS NOT NULL
      AND orders.status <> 'pending'
      AND NOT EXISTS ({OPEN_DISPUTE} AND payments.order_id = orders.id)
"""
COUNT_OLD: Final = f"SELECT count(*) {OLD}"
# The order's row is locked as an UPDATE of a key column locks it: what is held is left for later.
FORGET_OLD: Final = f"""
    WITH old AS MATERIALIZED (
        SELECT key.id {OLD}
        ORDER BY key.created_at LIMIT %(limit)s FOR UPDATE OF key, orders SKIP LOCKED
    ), freed AS (
        UPDATE orders SET idempotency_key_id = NULL FROM old
        WHERE orders.idempotency_key_id = old.id
    )
    DELETE FROM idempotency_keys AS key USING old WHERE key.id = old.id
"""  # noqa: S608 - our own constant


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """This request may work on the key. `is_new`: no order exists for it yet.

    `at` is the database's time when the key was claimed.
    """

    key_id: int
    is_new: bool
    at: datetime


def claim(*, scope: str, key: str, fingerprint: str, owner: uuid.UUID) -> Claim | Answer:
    """Claim a key for this request, or hear what was answered under it before.

    Requires an open transaction; the claim holds until that ends in COMMIT or is undone with it.
    A second request with the same key waits here for the first one's T1.

    Raises:
        IdempotencyKeyReusedError: the key was used with another body.
        OrderInProgressError: another request holds the lease, or is inside its T1.
    """
    with busy_means_in_progress():
        inserted = sql.fetch_one(
            """
            INSERT INTO idempotency_keys (scope, key, fingerprint, owner, lease_until)
            VALUES (%(scope)s, %(key)s, %(fingerprint)s, %(owner)s, now() + %(lease)s)
            ON CONFLICT (scope, key) DO NOTHING RETURNING id, now() AS at
            """,
            scope=scope,
            key=key,
            fingerprint=fingerprint,
            owner=owner,
            lease=LEASE,
        )
        if inserted:
            return Claim(key_id=inserted.id, is_new=True, at=inserted.at)
        return _take_over(scope=scope, key=key, fingerprint=fingerprint, owner=owner)


@contextlib.contextmanager
def busy_means_in_progress() -> Iterator[None]:
    """Somebody holds the rows of an order that exists: 409, never "nothing is held" (rule 1).

    Raises:
        OrderInProgressError: a lock was not to be had in time.
    """
    try:
        yield
    except OperationalError as exc:
        if is_lock_timeout(exc):
            raise OrderInProgressError from exc
        raise


def _take_over(*, scope: str, key: str, fingerprint: str, owner: uuid.UUID) -> Claim | Answer:
    row = sql.fetch_model(IdempotencyKey, LOCK_KEY, scope=scope, key=key)
    if row is None:
        raise OrderInProgressError  # pruned in between: whoever asks again finds a free key
    at: datetime = row.at  # type: ignore[attr-defined]  # selected
    if row.fingerprint != fingerprint:
        raise IdempotencyKeyReusedError
    if row.response_status is not None:
        return remembered(row)
    # A request whose COMMIT was lost finds its own lease: it goes on from where it stood.
    if row.lease_until > at and row.owner != owner:
        raise _in_progress(left=row.lease_until - at)
    sql.later(TAKE_OVER, id=row.pk, owner=owner, lease=LEASE)
    return Claim(key_id=row.pk, is_new=False, at=at)


def _in_progress(*, left: timedelta) -> OrderInProgressError:
    """A request that is not done by now has most likely died: its key is free with its lease."""
    error = OrderInProgressError()
    if LEASE - left > MOSTLY_DONE_WITHIN:
        error.retry_after_seconds = ceil(left.total_seconds())
    return error


def remember(key: IdempotencyKey | None, answer: Answer) -> None:
    """Write the last answer, if none is written yet. Requires the key's row lock."""
    if key is None or key.response_status is not None:
        return
    key.response_status = answer.status
    key.response_body = answer.body
    sql.later(
        """
        UPDATE idempotency_keys
        SET response_status = %(status)s, response_body = %(body)s, answered_at = now()
        WHERE id = %(id)s AND response_status IS NULL
        """,
        id=key.pk,
        status=answer.status,
        body=answer.body,
    )


def remembered(key: IdempotencyKey, *, replayed: bool = True) -> Answer:
    """The answer that stands on the key.

    Raises:
        OrderInProgressError: there is none yet.
    """
    if key.response_status is None:
        raise OrderInProgressError
    return Answer(status=key.response_status, body=key.response_body, replayed=replayed)


def end_lease(key: IdempotencyKey) -> None:
    """A 202 is not a last answer: whoever asks again may go on. Requires the key's row lock."""
    sql.later(END_LEASE, id=key.pk)


def count_old(*, before: datetime) -> int:
    """How many keys `forget_old` would forget."""
    return sql.count(COUNT_OLD, before=before)


def forget_old(*, before: datetime, limit: int) -> int:
    """Forget answered keys of decided orders that were made before then; oldest first.

    One statement, which waits for nobody. The same key is a new order from then on. An open
    key stays, however old: somebody may still hear its answer; so does that of an order in dispute.

    Returns:
        How many.
    """
    return sql.execute(FORGET_OLD, before=before, limit=limit)
