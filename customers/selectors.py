"""Reads about accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.sessions.models import Session
from django.db.models import Max, Subquery

from customers.models import Customer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


def find_customer_with_session(
    *, customer_id: int, session_key: str, now: datetime
) -> tuple[Customer, str] | None:
    """The customer and the still encoded data of this living session, in one SELECT.

    None where either is gone: the account erased, the session logged out, replaced or over.
    """
    session = Session.objects.filter(session_key=session_key, expire_date__gt=now)
    customer = (
        Customer.objects.filter(pk=customer_id)
        .annotate(session_data=Subquery(session.values("session_data")[:1]))
        .first()
    )
    if customer is None or customer.session_data is None:
        return None
    return customer, customer.session_data


def find_customer_id(*, email: str) -> int | None:
    """The account behind an e-mail address, whatever its case."""
    return Customer.objects.filter(email=email.lower()).values_list("pk", flat=True).first()


def lock_customers(*, customer_ids: Iterable[int]) -> list[int]:
    """Lock these accounts, in the order of their ids, and say which of them there are.

    Requires an open transaction. Orders can still be placed meanwhile: a reference to a customer
    does not wait for this lock.
    """
    locked = Customer.objects.select_for_update(no_key=True).filter(pk__in=list(customer_ids))
    return list(locked.order_by("pk").values_list("pk", flat=True))


def list_customer_ids(*, after: int, limit: int) -> list[int]:
    """The next accounts by id."""
    customers = Customer.objects.filter(pk__gt=after).order_by("pk")
    return list(customers.values_list("pk", flat=True)[:limit])


def get_last_customer_id() -> int:
    """The highest id of an account; 0 without any."""
    return Customer.objects.aggregate(last=Max("pk"))["last"] or 0
