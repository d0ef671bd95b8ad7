"""Sends the link by which somebody pays for what they have ordered by telephone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import translation
from django.utils.translation import gettext as _

from integrations.email import letters
from integrations.email.content import Letter
from integrations.email.reader import Reader
from orders.models import PaymentLink
from orders.services import payment_links

if TYPE_CHECKING:
    from datetime import datetime

    from audit.models import OutboxMessage


def send(message: OutboxMessage) -> str | None:
    """Send one link; opens no transaction and must not be called inside one.

    Nothing of what staff has typed stands in it, and no price: the page shows both.

    Returns:
        Why nothing was sent, if nothing was.

    Raises:
        DeliveryFailedError: the mail server refused it; says its code, never the address.
    """
    link = (
        PaymentLink.objects.select_related("customer")
        .filter(pk=message.payload["payment_link"])
        .first()
    )
    if link is None:
        return f"not sent: {letters.NO_ADDRESS}"
    if problem := letters.why_unreachable(link.email) or payment_links.why_over(link):
        return f"not sent: {problem}"
    reader = Reader.of_account(link.customer)
    letters.send(
        recipient=link.email,
        letter=compose(page=payment_links.page_of(link), expires_at=link.expires_at, reader=reader),
        reader=reader,
        message=message,
    )
    return None


def compose(*, page: str, expires_at: datetime, reader: Reader) -> Letter:
    """The letter, in the reader's language; `page` is where they pay, until `expires_at`."""
    with translation.override(reader.language):
        subject = _("Your order waits for its payment")
        return Letter(
            subject=subject,
            heading=subject,
            paragraphs=[
                _(
                    "We have put together what you have asked us for. The page below shows it, with"
                    " what it costs; look it through and pay there."
                ),
                _("The link is good until %(day)s, and for one order.")
                % {"day": reader.day_of(expires_at)},
                _("Nothing is reserved before you pay."),
                _("Whoever has the link sees your name and address: keep it to yourself."),
            ],
            button=_("See the order and pay"),
            link=page,
            closing=[_("If you have not ordered anything from us, there is nothing to do.")],
        )
