"""Sends the link by which somebody pays for what they have ordered by telephone."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date
from django.conf import settings

from integrations.email import letters
from orders.models import PaymentLink
from orders.services import payment_links

if TYPE_CHECKING:
    from audit.models import OutboxMessage

SUBJECT = "Your order waits for its payment"
PUT_TOGETHER = (
    "We have put together what you have asked us for. The page below shows it, with what it costs;"
    " look it through and pay there."
)
NOTHING_RESERVED = (
    "Nothing is reserved before you pay. Whoever has the link sees your name and address: keep it"
    " to yourself."
)
NOT_YOU = "If you have not ordered anything from us, there is nothing you need to do."


def send(message: OutboxMessage) -> str | None:
    """Send one link; opens no transaction and must not be called inside one.

    Nothing of what staff has typed stands in it, and no price: the page shows both.

    Returns:
        Why nothing was sent, if nothing was.

    Raises:
        DeliveryFailedError: the mail server refused it; says its code, never the address.
    """
    link = PaymentLink.objects.filter(pk=message.payload["payment_link"]).first()
    if link is None or not letters.is_deliverable(link.email):
        return "not sent: no address left to send it to"
    if problem := payment_links.why_over(link):
        return f"not sent: {problem}"
    last_day = format_date(
        link.expires_at.astimezone(ZoneInfo(settings.SHOP_TIME_ZONE)).date(),
        format="full",
        locale=Locale.parse(settings.LANGUAGE_CODE, sep="-"),
    )
    letters.send(
        recipient=link.email,
        subject=SUBJECT,
        template="account",
        context={
            "subject": SUBJECT,
            "paragraphs": (
                PUT_TOGETHER,
                f"The link is good until {last_day}, and for one order. {NOTHING_RESERVED}",
                NOT_YOU,
            ),
            "button": "See the order and pay",
            "link": payment_links.page_of(link),
        },
        message=message,
    )
    return None
