"""Reads about accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.sessions.models import Session
from django.db.models import Subquery

from customers.models import Customer

if TYPE_CHECKING:
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
