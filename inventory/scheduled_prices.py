"""Prices that begin at a moment to come: planned and stopped by staff, begun and ended by beat.

What is due is worked off one at a time, each in its own short transaction, and of one product and
currency always the earliest first: an end comes before the beginning that follows it, also where
several workers are at it, or none was for a while.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from django.db import IntegrityError

from audit import services as audit
from config.kernel import money, sql
from config.kernel.db import short_transaction, violated_constraint
from config.kernel.errors import NotFoundError, ValidationFailedError
from config.kernel.one_by_one import by_itself
from inventory.errors import PriceScheduleOverError, PriceScheduleOverlapsError
from inventory.models import Price, Product, ScheduledPrice

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

_ONE_AT_A_TIME: Final = "scheduled_price_one_at_a_time"
Status = ScheduledPrice.Status


def schedule_price(
    *,
    product_id: int,
    currency: str,
    amount: Decimal,
    starts_at: datetime,
    ends_at: datetime | None,
    now: datetime,
    user_id: int | None = None,
) -> ScheduledPrice:
    """Plan a price. Sent twice, the second finds the first and is refused. Own transaction.

    Args:
        currency: ISO 4217; the product need not have a price in it yet.
        amount: major units, 0 to `money.MAX_AMOUNT`, no finer than the currency.
        starts_at: aware, in the future; like `ends_at` exact to what beat takes to come by.
        ends_at: aware, exclusive: from then on the former price holds again. None: for good.
        user_id: the member of staff.

    Raises:
        ValidationFailedError: an amount or a time that makes no sense.
        NotFoundError: there is no such product.
        PriceScheduleOverlapsError: another one is planned for that time.
    """
    amount = _checked(currency, amount, starts_at, ends_at, now)
    try:
        with short_transaction():
            if not Product.objects.filter(pk=product_id).exists():
                raise NotFoundError
            scheduled = ScheduledPrice.objects.create(
                product_id=product_id,
                currency=currency,
                amount=amount,
                starts_at=starts_at,
                ends_at=ends_at,
                created_by_id=user_id,
            )
            _tell("PRICE_SCHEDULED", scheduled)
    except IntegrityError as exc:
        if violated_constraint(exc) == _ONE_AT_A_TIME:
            raise PriceScheduleOverlapsError from exc
        raise
    return scheduled


def stop_scheduled_price(*, scheduled_price_id: int, now: datetime) -> ScheduledPrice:
    """Cancel one that waits; end one that runs, as its time would. Opens its own transaction.

    Stopping what was cancelled already changes nothing.

    Raises:
        NotFoundError: there is no such one.
        PriceScheduleOverError: it has happened.
    """
    with short_transaction():
        scheduled = ScheduledPrice.objects.select_for_update().filter(pk=scheduled_price_id).first()
        if scheduled is None:
            raise NotFoundError
        if scheduled.status == Status.WAITING:
            scheduled.status, scheduled.ended_at = Status.CANCELLED, now
            scheduled.save(update_fields=["status", "ended_at"])
            _tell("SCHEDULED_PRICE_CANCELLED", scheduled)
        elif scheduled.status == Status.RUNNING:
            _end(scheduled, now)
        elif scheduled.status != Status.CANCELLED:
            raise PriceScheduleOverError
        return scheduled


def apply_due_prices(*, now: datetime) -> int:
    """Begin and end what is due; returns how many. Beat calls it; repeating is harmless.

    A price is changed as by hand: the catalogue and new quotes show it as soon as it is committed.
    One whose price is locked by an import waits for the next time, and the others do not for it.
    """
    done, place = 0, (_LONG_AGO, 0)
    while (due := _next_due(now, after=place)) is not None:
        place = (due.starts_at, due.id)
        with by_itself(f"scheduled price {due.id}"):
            done += _apply(due.id, now)
    return done


_IS_DUE: Final = """
    status IN ('waiting', 'running')
    AND CASE status WHEN 'waiting' THEN starts_at ELSE ends_at END <= %(now)s
    AND NOT EXISTS (
        SELECT FROM scheduled_prices AS earlier
        WHERE earlier.product_id = due.product_id AND earlier.currency = due.currency
            AND earlier.status IN ('waiting', 'running') AND earlier.starts_at < due.starts_at
    )
"""
_LONG_AGO: Final = dt.datetime(1, 1, 1, tzinfo=dt.UTC)


def _next_due(now: datetime, *, after: tuple[datetime, int]) -> Any:
    """Whatever follows one of the same product and currency comes behind it."""
    return sql.fetch_one(
        f"""
        SELECT id, starts_at FROM scheduled_prices AS due
        WHERE {_IS_DUE} AND (starts_at, id) > (%(starts_at)s, %(id)s)
        ORDER BY starts_at, id LIMIT 1
        """,  # noqa: S608 - words of ours
        now=now,
        starts_at=after[0],
        id=after[1],
    )


def _apply(scheduled_price_id: int, now: datetime) -> bool:
    with short_transaction():
        scheduled = sql.fetch_model(
            ScheduledPrice,
            f"""
            SELECT * FROM scheduled_prices AS due
            WHERE id = %(id)s AND {_IS_DUE} FOR UPDATE SKIP LOCKED
            """,  # noqa: S608 - likewise
            id=scheduled_price_id,
            now=now,
        )
        if scheduled is None:
            return False
        if scheduled.status == Status.RUNNING:
            _end(scheduled, now)
        elif scheduled.ends_at is not None and scheduled.ends_at <= now:
            scheduled.status, scheduled.ended_at = Status.MISSED, now
            scheduled.save(update_fields=["status", "ended_at"])
            _tell("SCHEDULED_PRICE_MISSED", scheduled)
        else:
            _begin(scheduled, now)
        return True


def _begin(scheduled: ScheduledPrice, now: datetime) -> None:
    _, is_new = Price.objects.get_or_create(
        product_id=scheduled.product_id,
        currency=scheduled.currency,
        defaults={"amount": scheduled.amount},
    )
    former = None if is_new else _price_now(scheduled)
    if not is_new:
        Price.objects.update_or_create(
            product_id=scheduled.product_id,
            currency=scheduled.currency,
            defaults={"amount": scheduled.amount},
        )
    scheduled.former_amount = former
    scheduled.applied_at = now
    if scheduled.ends_at is None:
        scheduled.status, scheduled.ended_at = Status.DONE, now
    else:
        scheduled.status = Status.RUNNING
    scheduled.save(update_fields=["status", "former_amount", "applied_at", "ended_at"])
    _tell("SCHEDULED_PRICE_APPLIED", scheduled, before=former, after=scheduled.amount)


def _end(scheduled: ScheduledPrice, now: datetime) -> None:
    """The former price returns, unless somebody has changed it meanwhile: a person's word stays."""
    present = _price_now(scheduled)
    after = present
    if present == scheduled.amount:
        after = scheduled.former_amount
        price = Price.objects.filter(product_id=scheduled.product_id, currency=scheduled.currency)
        if after is None:
            price.delete()
        else:
            price.update(amount=after)
        scheduled.status = Status.DONE
    else:
        scheduled.status = Status.OVERRIDDEN
    scheduled.ended_at = now
    scheduled.save(update_fields=["status", "ended_at"])
    _tell("SCHEDULED_PRICE_ENDED", scheduled, before=present, after=after)


def _price_now(scheduled: ScheduledPrice) -> Decimal | None:
    """The amount that holds now, its row locked; None if there is none."""
    prices = Price.objects.select_for_update().filter(
        product_id=scheduled.product_id, currency=scheduled.currency
    )
    return prices.values_list("amount", flat=True).first()


def _checked(
    currency: str,
    amount: Decimal,
    starts_at: datetime,
    ends_at: datetime | None,
    now: datetime,
) -> Decimal:
    problems: dict[str, list[str]] = {}
    try:
        amount = money.exact(amount, currency)
    except money.UnsupportedCurrencyError as exc:
        problems["currency"] = [f"Not payable: {exc}."]
    except money.InvalidAmountError as exc:
        problems["amount"] = [f"Not payable: {exc}."]
    else:
        if not 0 <= amount <= money.MAX_AMOUNT:
            problems["amount"] = [f"Between 0 and {money.MAX_AMOUNT}."]
    if starts_at <= now:
        problems["starts_at"] = ["Must be in the future; change the price itself to have it now."]
    if ends_at is not None and ends_at <= starts_at:
        problems["ends_at"] = ["Must be after it starts; leave it empty for good."]
    if problems:
        raise ValidationFailedError(details=problems)
    return amount


def _tell(event_type: str, scheduled: ScheduledPrice, **prices: Decimal | None) -> None:
    audit.record(
        event_type,
        entity_type="scheduled_price",
        entity_id=scheduled.pk,
        data={
            "product_id": scheduled.product_id,
            "currency": scheduled.currency,
            "amount": str(scheduled.amount),
            "starts_at": scheduled.starts_at.isoformat(),
            "ends_at": scheduled.ends_at.isoformat() if scheduled.ends_at else None,
            "status": scheduled.status,
            **{
                name: None if amount is None else {"amount": str(amount)}
                for name, amount in prices.items()
            },
        },
    )
