"""Reads about accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from allauth.account.models import EmailAddress
from django.db.models import Max

from config.kernel import sql
from config.kernel.errors import NotFoundError
from customers.models import Address, Customer, Session
from customers.sessions import staff_session_lasts

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable
    from datetime import datetime

    from django.db.models import QuerySet

CUSTOMER_WITH_SESSION: Final = """
    SELECT customers.*, sessions.session_data
    FROM customers JOIN sessions ON sessions.session_key = %(session_key)s
    WHERE customers.id = %(customer_id)s AND sessions.expire_date > %(now)s
"""
OPENED_BY_EMAIL: Final = """
    SELECT user_id AS customer_id, id AS email_address_id, 1 AS rank
    FROM account_emailaddress WHERE email = %(email)s AND verified
    UNION ALL
    SELECT id, NULL, 2 FROM customers WHERE email = %(email)s
    ORDER BY rank LIMIT 1
"""
FIND_BY_EMAIL: Final = f"""
    SELECT customers.*, found.email_address_id
    FROM ({OPENED_BY_EMAIL}) AS found JOIN customers ON customers.id = found.customer_id
"""  # noqa: S608 - both are ours


def find_customer_with_session(
    *, customer_id: int, session_key: str, now: datetime
) -> tuple[Customer, str] | None:
    """The customer and the still encoded data of this living session, in one SELECT.

    None where either is gone: the account erased, the session logged out, replaced or over.
    """
    found: Any = sql.fetch_model(
        Customer, CUSTOMER_WITH_SESSION, customer_id=customer_id, session_key=session_key, now=now
    )
    return None if found is None else (found, found.session_data)


def find_customer_id(*, email: str) -> int | None:
    """The account that an e-mail address opens, as `find_customer_by_email` says.

    One SELECT, which takes as long whether there is one or not: no row is read of the customer.
    """
    found = sql.fetch_one(OPENED_BY_EMAIL, email=email.lower())
    return None if found is None else found.customer_id


def find_customer_by_email(*, email: str) -> Customer | None:
    """Whose account an address opens, in one SELECT, whether there is one or not.

    That is who has verified it, also beside another one, else who signed up with it.
    `email_address_id` is that of the verified address, None for the other.
    """
    found: Any = sql.fetch_model(Customer, FIND_BY_EMAIL, email=email.lower())
    return cast("Customer | None", found)


def find_email_address_id(*, customer_id: int, email: str) -> int | None:
    """One of a customer's own addresses."""
    addresses = EmailAddress.objects.filter(user_id=customer_id, email=email.lower())
    found: int | None = addresses.values_list("pk", flat=True).first()
    return found


def find_verified_email(*, customer_id: int, email_address_id: int) -> str | None:
    """An address by its id, if it is still this customer's, and verified."""
    addresses = EmailAddress.objects.filter(pk=email_address_id, user_id=customer_id, verified=True)
    found: str | None = addresses.values_list("email", flat=True).first()
    return found


def find_owner_of_verified_email(*, email: str) -> int | None:
    """Whose verified address this is; at most one account can have it."""
    addresses = EmailAddress.objects.filter(email=email.lower(), verified=True)
    found: int | None = addresses.values_list("user_id", flat=True).first()
    return found


def lock_customers(*, customer_ids: Iterable[int]) -> list[int]:
    """Lock these accounts, in the order of their ids, and say which of them there are.

    Requires an open transaction. Orders can still be placed meanwhile: a reference to a customer
    does not wait for this lock.
    """
    locked = Customer.objects.select_for_update(no_key=True).filter(pk__in=list(customer_ids))
    return list(locked.order_by("pk").values_list("pk", flat=True))


def lock_active(*, customer_id: int) -> bool:
    """Keep an account as it is until the transaction ends; whether it may write."""
    return (
        Customer.objects.select_for_update(no_key=True)
        .filter(pk=customer_id, status=Customer.Status.ACTIVE)
        .exists()
    )


def list_staff_sessions(*, customer_id: int, now: datetime) -> QuerySet[Session]:
    """A person's sessions of staff that are not over by the hour, newest first."""
    return Session.objects.filter(
        customer_id=customer_id,
        staff_since__gte=now - staff_session_lasts(),
        expire_date__gt=now,
    ).order_by("-staff_since", "session_key")


def count_sessions(*, customer_id: int, now: datetime) -> int:
    """In how many places somebody is logged in to an account, or half way in."""
    return Session.objects.filter(customer_id=customer_id, expire_date__gt=now).count()


def list_customer_ids(*, after: int, limit: int) -> list[int]:
    """The next accounts by id."""
    customers = Customer.objects.filter(pk__gt=after).order_by("pk")
    return list(customers.values_list("pk", flat=True)[:limit])


def get_last_customer_id() -> int:
    """The highest id of an account; 0 without any."""
    return Customer.objects.aggregate(last=Max("pk"))["last"] or 0


def list_addresses(*, customer_id: int) -> QuerySet[Address]:
    """A customer's own addresses, newest first."""
    return Address.objects.filter(customer_id=customer_id).order_by("-created_at", "-id")


def get_address(*, customer_id: int, public_id: uuid.UUID) -> Address:
    """One of a customer's own addresses.

    Raises:
        NotFoundError: there is none, or it is somebody else's: the two look alike.
    """
    address = Address.objects.filter(public_id=public_id, customer_id=customer_id).first()
    if address is None:
        raise NotFoundError
    return address
