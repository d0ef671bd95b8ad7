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
from inventory.models import Product

if TYPE_CHECKING:
    from audit.models import OutboxMessage


def send(message: OutboxMessage) -> str | None:
    """Write to one customer; opens no transaction and must not be called inside one.

    Returns:
        Why nothing was sent, if nothing was.

    Raises:
        DeliveryFailedError: the mail server refused it; says its code, never the address.
    """
    customer = Customer.objects.get(pk=message.payload["customer_id"])
    if not customer.email_verified:
        return "not sent: the address is not verified"
    if problem := letters.why_unreachable(customer.email):
        return f"not sent: {problem}"
    product = Product.objects.get(pk=message.payload["product_id"])
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
                % {"product": one_line(product.name)},
                _("None is kept for you, and others have asked too."),
            ],
            button=_("See the product"),
            link=f"{settings.PUBLIC_URL}/p/{quote(product.sku, safe='')}",
            closing=[
                _(
                    "You get this letter because you have asked for it, and no further one about"
                    " this."
                )
            ],
        )
