"""Writes to customers about their accounts: links to follow, and what has been changed.

Nobody is greeted by name: until an address is verified its account's name is what a stranger typed
at sign-up, and the shop's letters would carry their words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext_lazy as _

from customers import mail
from customers.models import Customer
from integrations.email import letters
from integrations.email.content import Letter
from integrations.email.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.utils.functional import _StrPromise as StrPromise

    from audit.models import OutboxMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What one fact is told as. `link` makes the address of the page that `button` leads to."""

    subject: StrPromise
    paragraphs: tuple[StrPromise, ...]
    button: StrPromise
    link: Callable[[Customer, EmailAddress | None], str]
    closing: tuple[StrPromise, ...]


def send(message: OutboxMessage) -> str | None:
    """Write to the customer whom a fact is about; keys are made now, so their life begins now.

    Opens no transaction and must not be called inside one.

    Returns:
        Why nothing was sent, if nothing was.

    Raises:
        DeliveryFailedError: the mail server refused it.
    """
    customer = Customer.objects.filter(pk=message.payload["customer_id"]).first()
    if customer is None:
        return "not sent: there is no such account"
    address = EmailAddress.objects.filter(
        pk=message.payload["email_address_id"], user=customer
    ).first()
    if reason := _why_not(message.fact, customer, address):
        return f"not sent: {reason}"
    recipient = address.email if address else customer.email
    if problem := letters.why_unreachable(recipient):
        return f"not sent: {problem}"
    reader = Reader.of_account(customer)
    letter = compose(
        message.fact, link=NOTICES[message.fact].link(customer, address), reader=reader
    )
    letters.send(recipient=recipient, letter=letter, reader=reader, message=message)
    return None


def compose(fact: str, *, link: str, reader: Reader) -> Letter:
    """The letter that tells a fact, in the reader's language; `link` is where its button leads."""
    notice = NOTICES[fact]
    with translation.override(reader.language):
        return Letter(
            subject=str(notice.subject),
            heading=str(notice.subject),
            paragraphs=[text % PERIODS for text in notice.paragraphs],
            button=str(notice.button),
            link=link,
            closing=[str(text) for text in notice.closing],
        )


def _why_not(fact: str, customer: Customer, address: EmailAddress | None) -> str | None:
    """Why a letter that was right when it was asked for is not any more."""
    if fact == mail.PASSWORD_RESET and not customer.is_active:
        return "the account is not active"
    if fact in ABOUT_AN_ADDRESS and address is None:
        return "the address was removed"
    if fact == mail.VERIFICATION and address is not None and address.verified:
        return "the address is verified"
    return None


def _verification_link(_customer: Customer, address: EmailAddress | None) -> str:
    return _page("account_confirm_email", key=EmailConfirmationHMAC(address).key)


def _reset_link(customer: Customer, _address: EmailAddress | None) -> str:
    token = default_token_generator.make_token(customer)
    key = f"{user_pk_to_url_str(customer)}-{token}"
    return _page("account_reset_password_from_key", key=key)


def _forgotten_link(_customer: Customer, _address: EmailAddress | None) -> str:
    return _page("account_reset_password", key="")


def _page(name: str, *, key: str) -> str:
    """A page of the storefront, by its configured address."""
    return str(settings.HEADLESS_FRONTEND_URLS[name]).replace("{key}", quote(key))


ABOUT_AN_ADDRESS: Final = (mail.VERIFICATION, "account.email_changed")
NOT_YOU: Final = _(
    "If that was not you, choose a new password at once: the page below sends you a link."
)
NOTHING_TO_DO: Final = _("If you did not ask for this, there is nothing you need to do.")
PERIODS: Final = {
    "days": settings.ACCOUNT_EMAIL_CONFIRMATION_EXPIRE_DAYS,
    "minutes": settings.PASSWORD_RESET_TIMEOUT // 60,
}


def _notice(subject: StrPromise, said: StrPromise) -> Notice:
    return Notice(
        subject=subject,
        paragraphs=(said, NOT_YOU),
        button=_("Choose a new password"),
        link=_forgotten_link,
        closing=(),
    )


NOTICES: Final = {
    mail.VERIFICATION: Notice(
        subject=_("Confirm your e-mail address"),
        paragraphs=(
            _("Please confirm that this address is yours. The link is good for %(days)s days."),
        ),
        button=_("Confirm this address"),
        link=_verification_link,
        closing=(NOTHING_TO_DO,),
    ),
    mail.PASSWORD_RESET: Notice(
        subject=_("Choose a new password"),
        paragraphs=(
            _("Somebody has asked for a new password for your account."),
            _("The link is good for %(minutes)s minutes, and once."),
        ),
        button=_("Choose a new password"),
        link=_reset_link,
        closing=(NOTHING_TO_DO,),
    ),
    mail.PASSWORD_CHANGED: _notice(
        _("Your password was changed"), _("The password of your account has been changed.")
    ),
    "account.email_changed": _notice(
        _("Your e-mail address was changed"),
        _("Your account has another e-mail address now; this one was the former."),
    ),
    "account.email_removed": _notice(
        _("An e-mail address was removed"),
        _("An e-mail address was removed from your account."),
    ),
    mail.MFA_ACTIVATED: _notice(
        _("Two-step log-in is on"), _("Your account now asks for a code at log-in.")
    ),
    mail.MFA_DEACTIVATED: _notice(
        _("Two-step log-in is off"), _("Your account no longer asks for a code at log-in.")
    ),
    mail.RECOVERY_CODES_MADE: _notice(
        _("New recovery codes"),
        _("New recovery codes were made for your account; old ones are void."),
    ),
}
