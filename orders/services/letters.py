"""Keeps what was written to an order's buyer, and has it sent once more.

Who sends (integrations/email) keeps each letter here once it is on its way. Sending again is a fact
like any other: the relay carries it, and tries again where the mail server is away.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import connection
from django.db.models.functions import Now

from audit import services as audit
from audit.models import OutboxMessage
from config.kernel import sql
from config.kernel.db import short_transaction
from config.kernel.errors import (
    InvalidTransitionError,
    NotFoundError,
    RateLimitExceededError,
    ValidationFailedError,
)
from orders import selectors
from orders.idempotency import busy_means_in_progress
from orders.models import Letter
from payments.selectors import OPEN_DISPUTE

if TYPE_CHECKING:
    from datetime import datetime

WORDS_GONE: Final = "What it said is gone: its buyer was erased, or its time was over."
RESEND: Final = "letter.resend_requested"
MOST_RESENT: Final = 3
RESENT_WITHIN: Final = timedelta(days=1)
"""So many letters of one order are sent again in that time: no buyer is flooded."""

# The lock waits for an erasure under way, and an erasure for it; nobody else does.
STILL_HAS_ITS_BUYER: Final = """
    SELECT erased_at IS NULL AND NOT EXISTS (
        SELECT FROM customers WHERE id = customer_id AND customers.erased_at IS NOT NULL
    )
    FROM orders WHERE id = %s FOR KEY SHARE
"""

READABLE: Final = f"""
    FROM letters AS letter WHERE sent_at < %(before)s AND body_text <> ''
      AND NOT EXISTS ({OPEN_DISPUTE} AND payments.order_id = letter.order_id)
"""
COUNT_READABLE: Final = f"SELECT count(*) {READABLE}"
BLANK: Final = f"""
    WITH old AS MATERIALIZED (
        SELECT id {READABLE} ORDER BY sent_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE letters SET recipient = '', body_text = '', body_html = ''
    FROM old WHERE letters.id = old.id
"""  # noqa: S608 - our own constant


def find_sent(*, message: OutboxMessage) -> Letter | None:
    """The letter that told of a message, if it was sent: then it need not be sent again."""
    return Letter.objects.filter(message_uuid=message.uuid).first()


def keep_letter(
    *,
    order_id: int,
    message: OutboxMessage,
    recipient: str,
    subject: str,
    body_text: str,
    body_html: str,
    repeats_id: int | None = None,
) -> None:
    """Write down a letter that was just sent. Opens its own transaction; repeating is harmless.

    Of a buyer who was erased meanwhile only that it was sent is kept.
    """
    with short_transaction():
        with connection.cursor() as cursor:
            cursor.execute(STILL_HAS_ITS_BUYER, [order_id])
            (may_be_kept,) = cursor.fetchone()
        letter = Letter(
            order_id=order_id,
            message_uuid=message.uuid,
            fact=message.fact,
            repeats_id=repeats_id,
            recipient=recipient if may_be_kept else "",
            subject=subject,
            body_text=body_text if may_be_kept else "",
            body_html=body_html if may_be_kept else "",
        )
        Letter.objects.bulk_create([letter], ignore_conflicts=True)


def resend_letter(*, letter_id: int, request_key: str) -> bool:
    """Have a letter's words sent once more, to the address that the order's buyer has now.

    Opens its own transaction. The same `request_key` again is the same wish.

    Args:
        request_key: at most 64 characters, chosen by whoever asks.

    Returns:
        Whether it is sent because of this call; False: it was asked for before.

    Raises:
        NotFoundError: there is no such letter.
        InvalidTransitionError: what it said is gone: with its buyer, or after `LETTER_DAYS`.
        RateLimitExceededError: enough letters of this order were sent again of late.
        OrderInProgressError: somebody works on the order for longer than a lock is waited for.
    """
    if not 1 <= len(request_key) <= 64:  # noqa: PLR2004 - as in the docstring
        raise ValidationFailedError(details={"request_key": ["Between 1 and 64 characters."]})
    letter = Letter.objects.filter(pk=letter_id).first()
    if letter is None:
        raise NotFoundError
    dedupe_key = f"letter.{letter.pk}.resend.{request_key}"
    with short_transaction():
        with busy_means_in_progress():
            order = selectors.lock_order(order_id=letter.order_id).order
        if OutboxMessage.objects.filter(dedupe_key=dedupe_key).exists():
            return False
        if not Letter.objects.exclude(body_text="").filter(pk=letter_id).exists():
            raise InvalidTransitionError(WORDS_GONE)
        _refuse_a_flood(order.pk)
        data = {"order_number": order.order_number, "letter": letter.pk, "fact": letter.fact}
        audit.record("LETTER_RESEND_REQUESTED", entity_type="order", entity_id=order.pk, data=data)
        audit.publish(
            RESEND,
            aggregate_type="order",
            aggregate_id=order.pk,
            dedupe_key=dedupe_key,
            payload={"order_id": order.pk, **data},
        )
    return True


def forget_letters(*, order_ids: list[int]) -> None:
    """Blank what these orders' letters said and whom they went to. Requires a transaction."""
    letters = Letter.objects.filter(order_id__in=order_ids).exclude(recipient="", body_text="")
    letters.update(recipient="", body_text="", body_html="")


def count_readable(*, before: datetime) -> int:
    """How many letters `blank_old` would blank."""
    return sql.count(COUNT_READABLE, before=before)


def blank_old(*, before: datetime, limit: int) -> int:
    """Blank letters sent before then, as an erasure does; oldest first. That they were sent, stays.

    Not those about an order in an open dispute: they say what its buyer was told. One statement,
    which waits for nobody.

    Returns:
        How many.
    """
    return sql.execute(BLANK, before=before, limit=limit)


def _refuse_a_flood(order_id: int) -> None:
    lately = OutboxMessage.objects.filter(
        aggregate_type="order",
        aggregate_id=order_id,
        fact=RESEND,
        occurred_at__gt=Now() - RESENT_WITHIN,
    )
    if lately.count() >= MOST_RESENT:
        raise RateLimitExceededError(
            f"{MOST_RESENT} letters of this order were sent again within a day; that is enough."
        )
