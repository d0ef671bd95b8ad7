"""Writes to customers who asked for it that something can be ordered again."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _

from customers.models import Customer
from integrations.email import letters
from integrations.email.content import Letter, one_line
from integrations.email.reader import Reader
from inventory import selectors as stock
from inventory.models import Product
from orders.services import stock_alerts

if TYPE_CHECKING:
    from audit.models import OutboxMessage


def send(message: OutboxMessage) -> str | None:
    """Write to one customer; opens no transaction that lasts, and must not be called inside one.

    What held when the fact was stated is looked at again: hours may lie between. A wish whose
    product is sold out again is kept: nobody was told, and one letter is what was promised.

    Returns:
        Why nothing was sent, if nothing was.

    Raises:
        DeliveryFailedError: the mail server refused it; says its code, never the address.
    """
    customer = Customer.objects.filter(pk=message.payload["customer_id"]).first()
    if customer is None or customer.status != Customer.Status.ACTIVE:
        return "not sent: the account is not active"
    if not customer.email_verified:
        return "not sent: the address is not verified"
    if problem := letters.why_unreachable(customer.email):
        return f"not sent: {problem}"
    product = Product.objects.filter(pk=message.payload["product_id"], is_active=True).first()
    if product is None:
        return "not sent: the product is not sold any more"
    if stock.get_available_by_sku(skus=[product.sku]).get(product.sku, 0) <= 0:
        stock_alerts.wait_again(customer_id=customer.pk, product_id=product.pk)
        return "not sent: it is sold out again, and they wait on"
    reader = Reader.of_account(customer)
    letter = compose(product, first_name=customer.first_name, reader=reader)
    letters.send(recipient=customer.email, letter=letter, reader=reader, message=message)
    return None


def compose(product: Product, *, first_name: str, reader: Reader) -> Letter:
    """The letter, in the reader's language."""
    with translation.override(reader.language):
        subject = _("Something you waited for is available again")
        return Letter(
            subject=subject,
            heading=subject,
            first_name=one_line(first_name),
            paragraphs=[
                _("You have asked us to tell you: %(product)s can be ordered again.")
                % {"product": reader.apart(one_line(product.name))},
                _("It is not kept for you, and others have asked too."),
            ],
            button=_("See the product"),
            link=f"{settings.PUBLIC_URL}/p/{quote(product.sku, safe='')}",
            closing=[
                _("You get this letter because you have asked for it. There will be no other.")
            ],
        )
