"""The statements that move deliveries: fan-out, lease, and what came of a hand-over.

A receiver's row is the one place where its relays meet: it says whether the receiver is let rest
(the circuit breaker), how much it may be given yet, and orders those who lease.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import orjson

from audit.models import OutboxMessage
from audit.outbox import subscribers
from config.kernel import sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FAN_OUT_BATCH: Final = 500
LEASE: Final = timedelta(seconds=4)
"""How long a relay that died holds on to what it had taken; a living one renews it each second.

Doubled with each try that ended without a word: what kills its relay comes ever more seldom.
"""
LONGEST_LEASE: Final = timedelta(minutes=20)
FAILURES_TO_OPEN: Final = 5
"""So many failures in a row, and the receiver is let rest."""
FIRST_REST: Final = timedelta(seconds=2.5)
LONGEST_REST: Final = timedelta(minutes=1)
TRIAL: Final = timedelta(seconds=12)
"""How long one trial of a resting receiver keeps others from trying: longer than a hand-over."""
NOBODY: Final = 0
"""The number of no aggregate: what is said of nobody has no order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """One delivery that this relay, and no other, hands over.

    `attempts` counts this one and is the fence: after the lease another relay may have tried.
    `is_suspect`: an earlier try ended without a word, so this message may kill its relay.
    `is_trial`: the receiver rests, and this shows whether it is back.
    """

    id: int
    subscriber: str
    attempts: int
    is_suspect: bool
    is_trial: bool
    message: OutboxMessage


# --- fan-out ----------------------------------------------------------------------------------
_FAN_OUT: Final = """
    WITH wanted AS MATERIALIZED (
        SELECT fact, subscriber
        FROM unnest(%(facts)s::text[], %(subscribers)s::text[]) AS pair (fact, subscriber)
    ), known AS (
        INSERT INTO receivers (subscriber) SELECT DISTINCT subscriber FROM wanted
        ORDER BY subscriber ON CONFLICT DO NOTHING
    ), batch AS (
        -- Whoever comes second waits: what is stated first is fanned out first.
        SELECT id, fact, aggregate_type, aggregate_id FROM outbox_messages
        WHERE fanned_out_at IS NULL ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE
    ), told AS (
        INSERT INTO deliveries (message_id, subscriber, aggregate_type, aggregate_id)
        SELECT batch.id, wanted.subscriber, batch.aggregate_type, batch.aggregate_id
        FROM batch JOIN wanted ON wanted.fact = batch.fact
        ORDER BY batch.id
        ON CONFLICT DO NOTHING
    )
    UPDATE outbox_messages AS message SET fanned_out_at = statement_timestamp()
    FROM batch WHERE message.id = batch.id
"""


def fan_out() -> int:
    """Make one delivery for each new fact and subscriber; returns how many facts there were."""
    fanned_out = 0
    while batch := _fan_out_batch():
        fanned_out += batch
    return fanned_out


def _fan_out_batch() -> int:
    """One statement, so all of it or nothing."""
    pairs = subscribers.wanted_pairs()
    return sql.execute(
        _FAN_OUT,
        limit=FAN_OUT_BATCH,
        facts=[fact for fact, _ in pairs],
        subscribers=[name for _, name in pairs],
    )


# --- leasing ----------------------------------------------------------------------------------
_WITH_SOMETHING_DUE: Final = """
    SELECT subscriber, retry_at IS NOT NULL AS is_trial FROM receivers AS receiver
    WHERE paused_at IS NULL
      AND (retry_at IS NULL OR retry_at <= statement_timestamp())
      AND EXISTS (
        SELECT FROM deliveries WHERE subscriber = receiver.subscriber AND status = 'pending'
        AND next_attempt_at <= statement_timestamp()
      )
"""
# `earlier` is a scalar: as an anti-join it might be computed for all of the table.
_LEASE: Final = """
    WITH receiver AS MATERIALIZED (
        SELECT trials, least(
                %(most)s,
                CASE WHEN %(per_second)s::float IS NULL THEN %(most)s ELSE
                    ceil(%(per_second)s::float * (1 - extract(
                        epoch FROM greatest(spent_until, statement_timestamp())
                                   - statement_timestamp())))
                END
            ) AS most
        FROM receivers
        WHERE subscriber = %(subscriber)s AND paused_at IS NULL AND {state}
        FOR NO KEY UPDATE
    ), due AS MATERIALIZED (
        SELECT id, attempts > 0 AND last_error = '' AS is_suspect FROM deliveries AS delivery
        WHERE subscriber = %(subscriber)s AND status = 'pending'
            AND next_attempt_at <= statement_timestamp()
            AND (%(fresh)s::bool IS NULL OR %(fresh)s::bool = (attempts = 0))
            AND (%(suspects)s::bool IS NULL
                 OR %(suspects)s::bool = (attempts > 0 AND last_error = ''))
            AND (aggregate_id IS NULL OR aggregate_id = %(nobody)s OR (
                SELECT 1 FROM deliveries AS earlier
                WHERE earlier.subscriber = %(subscriber)s AND earlier.status = 'pending'
                    AND earlier.aggregate_type = delivery.aggregate_type
                    AND earlier.aggregate_id = delivery.aggregate_id
                    AND earlier.message_id < delivery.message_id
                LIMIT 1
            ) IS NULL)
            {among}
        ORDER BY {order}
        LIMIT greatest(0, coalesce((SELECT most FROM receiver), 0))
        FOR NO KEY UPDATE SKIP LOCKED
    ), leased AS (
        UPDATE deliveries SET attempts = attempts + 1, last_error = '',
            next_attempt_at = statement_timestamp()
                + least(%(longest_lease)s, %(lease)s
                    * CASE WHEN is_suspect THEN power(2, least(attempts, 20)) ELSE 1 END)
        FROM due WHERE deliveries.id = due.id
        RETURNING deliveries.id, message_id, attempts, is_suspect
    ), counted AS (
        UPDATE receivers SET
            retry_at = CASE WHEN %(is_trial)s THEN statement_timestamp() + %(trial)s END,
            spent_until = CASE WHEN %(per_second)s::float IS NOT NULL THEN
                greatest(spent_until, statement_timestamp())
                + (SELECT count(*) FROM leased) * interval '1 second' / %(per_second)s::float
            END
        WHERE subscriber = %(subscriber)s AND EXISTS (SELECT FROM leased)
            AND (%(is_trial)s OR %(per_second)s::float IS NOT NULL)
    )
    SELECT leased.id AS delivery_id, leased.attempts, leased.is_suspect,
        message.id, message.uuid, message.fact, message.aggregate_type, message.aggregate_id,
        message.dedupe_key, message.payload::text, message.occurred_at, message.fanned_out_at
    FROM leased JOIN outbox_messages AS message ON message.id = leased.message_id
    ORDER BY message.id
"""
_LEASE_IN_TURN: Final = _LEASE.format(
    state="retry_at IS NULL", among="", order="next_attempt_at, id"
)
# Those due first may be what the receiver breaks at, and so may the latest: one of these, then one
# of those, then any.
_LEASE_FOR_TRIAL: Final = _LEASE.format(
    state="retry_at <= statement_timestamp()",
    among="""
            AND id IN (
                (SELECT id FROM deliveries
                 WHERE subscriber = %(subscriber)s AND status = 'pending'
                     AND next_attempt_at <= statement_timestamp()
                 ORDER BY next_attempt_at, id LIMIT 200)
                UNION
                (SELECT id FROM deliveries
                 WHERE subscriber = %(subscriber)s AND status = 'pending'
                     AND next_attempt_at <= statement_timestamp()
                 ORDER BY next_attempt_at DESC, id DESC LIMIT 200)
            )""",
    order="""CASE (SELECT trials FROM receiver)
            WHEN 0 THEN -extract(epoch FROM next_attempt_at)
            WHEN 1 THEN extract(epoch FROM next_attempt_at)
            ELSE random()
        END, id DESC""",
)
_RENEW: Final = """
    UPDATE deliveries SET
        next_attempt_at = greatest(next_attempt_at, statement_timestamp() + %(lease)s)
    FROM (
        SELECT id FROM deliveries JOIN unnest(%(ids)s::bigint[], %(attempts)s::int[])
            AS mine (id, attempts) USING (id, attempts)
        WHERE status = 'pending' FOR NO KEY UPDATE OF deliveries SKIP LOCKED
    ) AS held
    WHERE deliveries.id = held.id
"""


def subscribers_with_something_due() -> dict[str, bool]:
    """Those whom a relay may give something to at this moment, and whether that is a trial."""
    return {row.subscriber: row.is_trial for row in sql.fetch(_WITH_SOMETHING_DUE)}


def lease(
    subscriber: str,
    *,
    most: int,
    is_trial: bool = False,
    fresh: bool | None = None,
    suspects: bool | None = None,
) -> list[Leased]:
    """Take up to `most` of what is due for a subscriber, longest due first.

    Of an aggregate the earliest only: the next one follows once that is delivered or given up. One
    with a measure is given no more than that leaves.

    Args:
        is_trial: the receiver rests, and is given one, to see whether it is back. Nothing is taken
            so for one that does not rest, and nothing without it for one that does.
        fresh: those alone that were never tried, or those alone that were; None: either.
        suspects: those alone whose last try ended without a word, or none of them; None: either.
    """
    rows = sql.fetch(
        _LEASE_FOR_TRIAL if is_trial else _LEASE_IN_TURN,
        subscriber=subscriber,
        most=1 if is_trial else most,
        is_trial=is_trial,
        fresh=fresh,
        suspects=suspects,
        per_second=subscribers.measure_of(subscriber).per_second,
        nobody=NOBODY,
        lease=LEASE,
        longest_lease=LONGEST_LEASE,
        trial=TRIAL,
    )
    return [
        Leased(
            id=row.delivery_id,
            subscriber=subscriber,
            attempts=row.attempts,
            is_suspect=row.is_suspect,
            is_trial=is_trial,
            message=OutboxMessage(
                id=row.id,
                uuid=row.uuid,
                fact=row.fact,
                aggregate_type=row.aggregate_type,
                aggregate_id=row.aggregate_id,
                dedupe_key=row.dedupe_key,
                payload=orjson.loads(row.payload),
                occurred_at=row.occurred_at,
                fanned_out_at=row.fanned_out_at,
            ),
        )
        for row in rows
    ]


def renew(leased: Sequence[Leased]) -> None:
    """Hold on to what is being handed over."""
    sql.execute(
        _RENEW,
        ids=[one.id for one in leased],
        attempts=[one.attempts for one in leased],
        lease=LEASE,
    )


# --- what came of it --------------------------------------------------------------------------
_DELIVERED: Final = """
    WITH held AS MATERIALIZED (
        SELECT id, note FROM deliveries JOIN unnest(%(ids)s::bigint[], %(notes)s::text[])
            AS told (id, note) USING (id)
        WHERE status <> 'delivered' ORDER BY id FOR NO KEY UPDATE OF deliveries
    ), marked AS (
        UPDATE deliveries SET status = 'delivered', delivered_at = statement_timestamp(),
            last_error = held.note
        FROM held WHERE deliveries.id = held.id
    )
    UPDATE receivers SET failures = 0, trials = 0, failing_since = NULL, retry_at = NULL,
        last_error = '', last_told_at = statement_timestamp()
    WHERE subscriber = ANY (%(subscribers)s) AND (
        failures > 0 OR retry_at IS NOT NULL OR last_told_at IS NULL
        OR last_told_at < statement_timestamp() - interval '10 seconds'
    )
"""
_RECEIVER_FAILED: Final = """
    UPDATE receivers SET
        failures = failures + 1,
        trials = trials + %(is_trial)s::int,
        failing_since = coalesce(failing_since, statement_timestamp()),
        last_error = %(error)s,
        retry_at = CASE
            WHEN %(is_trial)s THEN statement_timestamp() + greatest(
                %(asked)s, least(%(longest)s, %(first)s * power(2, least(trials + 1, 20))))
            WHEN %(asked)s > interval '0'
                THEN greatest(retry_at, statement_timestamp() + %(asked)s)
            WHEN retry_at IS NULL AND failures + 1 >= %(most)s
                THEN statement_timestamp() + %(first)s
            ELSE retry_at
        END
    WHERE subscriber = %(subscriber)s
"""
_RECEIVER_ANSWERED: Final = """
    UPDATE receivers SET failures = 0, trials = 0, failing_since = NULL, retry_at = NULL,
        last_error = ''
    WHERE subscriber = %(subscriber)s AND (failures > 0 OR retry_at IS NOT NULL)
"""


def mark_delivered(notes: Mapping[int, str], *, subscribers: Sequence[str]) -> None:
    """Note of each delivery that it was handed over, and why that was not needed, if so.

    Whoever holds the lease by now: told is told. Their receivers answer, so they rest no more.
    """
    sql.execute(
        _DELIVERED,
        ids=list(notes),
        notes=list(notes.values()),
        subscribers=sorted(set(subscribers)),
    )


def receiver_failed(
    subscriber: str, *, error: str, is_trial: bool, retry_after: float | None
) -> None:
    """Count a failure; after some in a row, or when it asks for it, the receiver is let rest."""
    sql.execute(
        _RECEIVER_FAILED,
        subscriber=subscriber,
        error=error,
        is_trial=is_trial,
        asked=timedelta(seconds=retry_after or 0),
        most=FAILURES_TO_OPEN,
        first=FIRST_REST,
        longest=LONGEST_REST,
    )


def receiver_answered(subscriber: str) -> None:
    """It is there, whatever it said."""
    sql.execute(_RECEIVER_ANSWERED, subscriber=subscriber)
