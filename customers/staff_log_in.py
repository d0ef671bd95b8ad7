"""How staff get into the admin: a password, then a code, then a session that the clock ends.

Who has typed the right password is nobody yet: the session only remembers whose password it was,
for some minutes. With the code of a second factor it becomes a session of staff. No other session
is one, however it came about: one of the shop's accounts, one from before.

What TOTP and recovery codes are is allauth's business; this says when they are asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.base.internal.flows import post_authentication
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, clear_totp_secret
from django.conf import settings
from django.contrib.auth import login, logout
from django.db import transaction
from django.utils.crypto import constant_time_compare

from config.kernel.db import short_transaction
from config.kernel.errors import InvalidTransitionError
from customers import codes, mail, selectors, services
from customers.models import Customer
from customers.sessions import HALF_WAY, STAFF, staff_session_lasts

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase
    from django.http import HttpRequest

HALF_WAY_LASTS: Final = timedelta(minutes=10)
SEEN_EVERY: Final = timedelta(minutes=1)
"""So often at most a session's row is written because somebody is there."""


class HalfWay(NamedTuple):
    """Somebody whose password was right, and where they want to go."""

    customer: Customer
    next_url: str


# --- half way ---------------------------------------------------------------------------------


def begin(request: HttpRequest, customer: Customer, *, next_url: str, now: datetime) -> None:
    """Remember whose password was right. Whoever was logged in here is logged out."""
    logout(request)
    request.session[HALF_WAY] = {
        "customer": customer.pk,
        "hash": customer.get_session_auth_hash(),
        "at": now.timestamp(),
        "next": next_url,
    }


def half_way(request: HttpRequest, *, now: datetime) -> HalfWay | None:
    """Who is half way in; None: nobody, or too long ago, or they may not come in any more."""
    told: dict[str, Any] | None = request.session.get(HALF_WAY)
    if told is None or now - _moment(told["at"]) > HALF_WAY_LASTS:
        return None
    customer = Customer.objects.filter(pk=told["customer"], is_staff=True, is_active=True).first()
    if customer is None or not constant_time_compare(
        told["hash"], customer.get_session_auth_hash()
    ):
        return None
    return HalfWay(customer=customer, next_url=told["next"])


def has_authenticator(customer: Customer) -> bool:
    """Whether they have an authenticator app to ask a code of."""
    found: bool = Authenticator.objects.filter(user=customer, type=Authenticator.Type.TOTP).exists()
    return found


# --- the second factor ------------------------------------------------------------------------


def enter(request: HttpRequest, authenticator: Authenticator, *, now: datetime) -> None:
    """The code was right: from here on it is a session of staff.

    Too many of them, and the oldest end. Opens its own transaction.
    """
    customer: Any = authenticator.user
    with transaction.atomic():
        _become_staff(request, customer, now=now)
        post_authentication(request, authenticator)


def set_up(
    request: HttpRequest, customer: Customer, *, code: str, secret: str, now: datetime
) -> list[str] | None:
    """Keep an authenticator whose first code was right, and let its owner in.

    Opens its own transaction. The owner is told by letter: whoever has stolen a password and sets
    up a phone of their own is found out.

    Returns:
        The recovery codes, to be shown this once; None: another page was quicker, ask for a code.
    """
    with transaction.atomic():
        selectors.lock_customers(customer_ids=[customer.pk])
        if has_authenticator(customer):
            return None
        totp = TOTP.activate(customer, secret)
        codes.use_up(totp.instance, code)
        recovery = RecoveryCodes.activate(customer)
        recovery.mark_as_viewed()
        clear_totp_secret(request)
        services.note_second_factor(customer_id=customer.pk, fact=mail.MFA_ACTIVATED)
        _become_staff(request, customer, now=now)
        post_authentication(request, totp.instance)
    shown: list[str] = recovery.get_unused_codes()
    return shown


def renew_recovery_codes(*, customer_id: int) -> list[str]:
    """Make ten recovery codes in place of all earlier ones. Their owner is told by letter.

    Opens its own transaction. Repeating it makes others again.

    Returns:
        The codes, to be shown this once.

    Raises:
        InvalidTransitionError: the authenticator app was taken away meanwhile.
    """
    with short_transaction():
        selectors.lock_customers(customer_ids=[customer_id])
        customer = Customer.objects.get(pk=customer_id)
        if not has_authenticator(customer):
            raise InvalidTransitionError("There is no authenticator app that they could stand for.")
        Authenticator.objects.filter(user=customer, type=Authenticator.Type.RECOVERY_CODES).delete()
        recovery = RecoveryCodes.activate(customer)
        recovery.mark_as_viewed()
        services.note_second_factor(customer_id=customer_id, fact=mail.RECOVERY_CODES_MADE)
    shown: list[str] = recovery.get_unused_codes()
    return shown


def _become_staff(request: HttpRequest, customer: Customer, *, now: datetime) -> None:
    del request.session[HALF_WAY]
    login(request, customer, backend=settings.AUTHENTICATION_BACKENDS[0])
    record_authentication(request, customer, method="password", email=customer.email)
    mark(request.session, now=now)
    request.session.save()
    services.keep_newest_staff_sessions(customer_id=customer.pk, now=now)


# --- a session of staff -----------------------------------------------------------------------


def mark(session: SessionBase, *, now: datetime) -> None:
    """Make it a session of staff, from now on."""
    session[STAFF] = {"since": now.timestamp(), "seen": now.timestamp()}


def is_live(request: HttpRequest, *, now: datetime) -> bool:
    """Whether it is a session of staff that the clock has not ended."""
    told = _told(request)
    if told is None:
        return False
    in_all = now - _moment(told["since"])
    idle = now - _moment(told["seen"])
    return in_all <= staff_session_lasts() and idle <= timedelta(
        minutes=settings.STAFF_IDLE_MINUTES
    )


def note_presence(request: HttpRequest, *, now: datetime) -> None:
    """Somebody is there; a session of staff that is over ends for good."""
    told = _told(request)
    if told is None:
        return
    if not is_live(request, now=now):
        logout(request)
    elif now - _moment(told["seen"]) >= SEEN_EVERY:
        request.session[STAFF] = {**told, "seen": now.timestamp()}


def _told(request: HttpRequest) -> dict[str, float] | None:
    session = getattr(request, "session", None)
    return None if session is None else session.get(STAFF)


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
