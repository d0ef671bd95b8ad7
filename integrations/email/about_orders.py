"""Writes to buyers about their orders: what became of each, as the facts of the outbox tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from config.kernel import money
from integrations.email import letters, parts
from integrations.email.content import Letter, one_line
from integrations.email.reader import Reader
from orders import selectors
from orders.models import Order, Return, Shipment
from orders.services.waiting_payments import ACTION_NEEDED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    from audit.models import OutboxMessage
    from orders.models import OrderItem

    Units = Sequence[tuple[OrderItem, int]]

PAYMENT_FAILED: Final = "payment.failed"
"""No fact of its own: an order whose payment failed is cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What a letter about an order is made of, looked up; each letter uses some of it.

    `order` has its customer at hand. `lines` is what was ordered, `units` what is in the parcel or
    comes back, `amount` what was given back, in major units of the order's currency, and `refusal`
    what staff said to a return.
    """

    order: Order
    lines: Sequence[OrderItem] = ()
    units: Units = ()
    parcel: Shipment | None = None
    amount: Decimal | None = None
    refusal: str = ""


def send(message: OutboxMessage) -> str | None:
    """Write to the buyer of the order that a fact is about; keeps the letter with the order.

    Opens no transaction but that of keeping it, and must not be called inside one.

    Returns:
        Why nothing was sent, if nothing was.

    Raises:
        DeliveryFailedError: the mail server refused it; says its code, never the address.
    """
    order = selectors.get_order_and_buyer(order_id=message.payload["order_id"])
    recipient = selectors.address_of_buyer(order)
    if problem := letters.why_unreachable(recipient) or _why_not(order, message):
        return f"not sent: {problem}"
    reader = Reader.of_order(order)
    letter = compose(_name_of_letter(order, message), _occasion(order, message), reader=reader)
    return letters.send_about_order(
        order=order, recipient=recipient, letter=letter, reader=reader, message=message
    )


def compose(name: str, occasion: Occasion, *, reader: Reader) -> Letter:
    """One of `LETTERS`, in the reader's language."""
    with translation.override(reader.language):
        return LETTERS[name](occasion, reader)


def _why_not(order: Order, message: OutboxMessage) -> str | None:
    """Why a letter is not to be written, or not any more."""
    if message.fact == ACTION_NEEDED:
        still_waits = (
            order.status == Order.Status.PENDING
            and order.payment_status == Order.PaymentStatus.REQUIRES_ACTION
            and order.hold_expires_at > timezone.now()
        )
        return None if still_waits else "the payment does not wait for its buyer any more"
    is_failure = _name_of_letter(order, message) == PAYMENT_FAILED
    if is_failure and message.payload.get("buyer_was_waiting"):
        return "the buyer was told at the checkout"
    return None


def _name_of_letter(order: Order, message: OutboxMessage) -> str:
    is_failure = order.payment_status == Order.PaymentStatus.FAILED
    return PAYMENT_FAILED if message.fact == "order.cancelled" and is_failure else message.fact


def _occasion(order: Order, message: OutboxMessage) -> Occasion:
    payload = message.payload
    if message.fact == "order.confirmed":
        return Occasion(order=order, lines=selectors.list_items(order_id=order.pk))
    if message.fact == "order.refunded":
        amount = money.parse_amount(payload["amount"], payload["currency"])
        return Occasion(order=order, amount=amount)
    if "shipment" in payload:
        parcel = Shipment.objects.prefetch_related("items__order_item").get(pk=payload["shipment"])
        return Occasion(order=order, parcel=parcel, units=_units(parcel))
    if "return" in payload:
        returns = Return.objects.prefetch_related(selectors.RETURN_ITEMS)
        wish = returns.get(public_id=payload["return"])
        return Occasion(order=order, units=_units(wish), refusal=wish.refusal)
    return Occasion(order=order)


def _units(parcel: Shipment | Return) -> Units:
    return [(item.order_item, item.quantity) for item in parcel.items.all()]


# --- one by one -------------------------------------------------------------------------------


def _confirmed(told: Occasion, reader: Reader) -> Letter:
    order = told.order
    arrival = order.estimated_delivery
    return Letter(
        subject=_("Order %(number)s confirmed") % {"number": order.order_number},
        heading=_("Your order is confirmed"),
        first_name=parts.name_of_buyer(order),
        paragraphs=[
            _("Thank you for your order %(number)s of %(day)s. It is confirmed and paid.")
            % _which(order, reader)
        ],
        details=[(_("Estimated delivery"), reader.day(arrival))] if arrival else [],
        button=_("See your order"),
        link=parts.page_of(order),
        lines=parts.priced_lines(told.lines, currency=order.currency, reader=reader),
        amounts=parts.amounts_of(order, reader=reader),
        total=reader.money(order.total_amount, order.currency),
        addresses=parts.addresses_of(order, reader=reader),
    )


def _action_needed(told: Occasion, reader: Reader) -> Letter:
    order = told.order
    return Letter(
        subject=_("Order %(number)s waits for your payment") % {"number": order.order_number},
        heading=_("Your bank wants to hear from you"),
        first_name=parts.name_of_buyer(order),
        paragraphs=[
            _(
                "Your order %(number)s of %(day)s is not paid yet: your bank asks you to confirm"
                " the payment."
            )
            % _which(order, reader),
            _("Your things are kept for you until %(moment)s. After that the order is cancelled.")
            % {"moment": reader.moment(order.hold_expires_at)},
        ],
        details=[_total(order, reader)],
        button=_("Go on with the payment"),
        link=parts.page_of(order),
    )


def _cancelled(told: Occasion, reader: Reader) -> Letter:
    order = told.order
    if order.payment_status == Order.PaymentStatus.CANCELLED:
        money_of_it = _("You have not been charged.")
    else:
        money_of_it = _("What you have paid goes back to you. We write again once it is done.")
    return Letter(
        subject=_("Order %(number)s cancelled") % {"number": order.order_number},
        heading=_("Your order is cancelled"),
        first_name=parts.name_of_buyer(order),
        paragraphs=[
            _("Your order %(number)s of %(day)s is cancelled.") % _which(order, reader),
            money_of_it,
        ],
        details=[_total(order, reader)],
        button=_("See your order"),
        link=parts.page_of(order),
    )


def _payment_failed(told: Occasion, reader: Reader) -> Letter:
    order = told.order
    return Letter(
        subject=_("Payment for order %(number)s failed") % {"number": order.order_number},
        heading=_("Your payment did not go through"),
        first_name=parts.name_of_buyer(order),
        paragraphs=[
            _("The payment for your order %(number)s of %(day)s did not go through.")
            % _which(order, reader),
            _(
                "You have not been charged, and the order is cancelled. If you still want your"
                " things, please order them again; another card may help."
            ),
        ],
        details=[_total(order, reader)],
        button=_("Back to the shop"),
        link=settings.PUBLIC_URL,
    )


def _shipped(told: Occasion, reader: Reader) -> Letter:
    order = told.order
    parcel = told.parcel
    assert parcel is not None  # noqa: S101 - a parcel's letter has one
    paragraphs = [
        _("A parcel of your order %(number)s of %(day)s is on its way to you.")
        % _which(order, reader)
    ]
    if order.status == Order.Status.PROCESSING:
        paragraphs.append(_("The rest follows in another parcel."))
    details = [
        (_("Carrier"), one_line(parcel.carrier)),
        (_("Tracking number"), one_line(parcel.tracking_number)),
    ]
    return Letter(
        subject=_("Order %(number)s shipped") % {"number": order.order_number},
        heading=_("Your parcel is on its way"),
        first_name=parts.name_of_buyer(order),
        paragraphs=paragraphs,
        details=[(label, value) for label, value in details if value],
        button=_("Follow the parcel") if parcel.tracking_url else _("See your order"),
        link=parcel.tracking_url or parts.page_of(order),
        lines=parts.counted_lines(told.units),
    )


def _delivered(told: Occasion, reader: Reader) -> Letter:
    order = told.order
    paragraphs = [
        _("Your order %(number)s of %(day)s has been delivered. We hope you like it.")
        % _which(order, reader)
    ]
    if settings.RETURN_DAYS:
        paragraphs.append(
            ngettext(
                "Is something not right? You can ask to send it back within %(days)s day.",
                "Is something not right? You can ask to send it back within %(days)s days.",
                settings.RETURN_DAYS,
            )
            % {"days": settings.RETURN_DAYS}
        )
    return Letter(
        subject=_("Order %(number)s delivered") % {"number": order.order_number},
        heading=_("Your order has arrived"),
        first_name=parts.name_of_buyer(order),
        paragraphs=paragraphs,
        button=_("See your order"),
        link=parts.page_of(order),
    )


def _refunded(told: Occasion, reader: Reader) -> Letter:
    order = told.order
    assert told.amount is not None  # noqa: S101 - a refund has one
    amount = reader.money(told.amount, order.currency)
    return Letter(
        subject=_("Refund for order %(number)s") % {"number": order.order_number},
        heading=_("Your money is on its way back"),
        first_name=parts.name_of_buyer(order),
        paragraphs=[
            _("We have given back %(amount)s of your order %(number)s of %(day)s.")
            % {"amount": amount, **_which(order, reader)},
            _("Your bank shows it within 5 to 10 days, where you have paid."),
        ],
        details=[(_("Given back"), amount), _total(order, reader)],
        button=_("See your order"),
        link=parts.page_of(order),
    )


def _return_requested(told: Occasion, reader: Reader) -> Letter:
    order = told.order
    return _about_return(
        told,
        subject=_("Your return for order %(number)s"),
        heading=_("We have received your wish to return something"),
        paragraphs=[
            _("You want to send back something of your order %(number)s of %(day)s.")
            % _which(order, reader),
            _("We look at it and write to you. Please keep the goods until then."),
        ],
    )


def _return_accepted(told: Occasion, reader: Reader) -> Letter:
    order = told.order
    paragraphs = [
        _("You may send back what is listed here of your order %(number)s of %(day)s.")
        % _which(order, reader),
        _("Please put a note with the order number into the parcel."),
    ]
    if settings.SHOP_ADDRESS:
        paragraphs.append(
            _("Send it to: %(address)s") % {"address": one_line(settings.SHOP_ADDRESS)}
        )
    return _about_return(
        told,
        subject=_("Your return for order %(number)s is accepted"),
        heading=_("Your return is accepted"),
        paragraphs=paragraphs,
    )


def _return_refused(told: Occasion, reader: Reader) -> Letter:
    order = told.order
    paragraphs = [
        _("We cannot take back what you have asked for of your order %(number)s of %(day)s.")
        % _which(order, reader)
    ]
    if told.refusal:
        paragraphs.append(one_line(told.refusal))
    return _about_return(
        told,
        subject=_("Your return for order %(number)s is refused"),
        heading=_("We cannot take this back"),
        paragraphs=paragraphs,
    )


def _return_received(told: Occasion, reader: Reader) -> Letter:
    order = told.order
    return _about_return(
        told,
        subject=_("Your return for order %(number)s has arrived"),
        heading=_("Your parcel has come back to us"),
        paragraphs=[
            _("What you have sent back of your order %(number)s of %(day)s has arrived.")
            % _which(order, reader),
            _("We write again once your money is on its way back."),
        ],
    )


def _about_return(
    told: Occasion, *, subject: str, heading: str, paragraphs: Sequence[str]
) -> Letter:
    return Letter(
        subject=subject % {"number": told.order.order_number},
        heading=heading,
        first_name=parts.name_of_buyer(told.order),
        paragraphs=paragraphs,
        button=_("See your order"),
        link=parts.page_of(told.order),
        lines=parts.counted_lines(told.units),
    )


def _which(order: Order, reader: Reader) -> dict[str, str]:
    return {"number": order.order_number, "day": reader.day_of(order.created_at)}


def _total(order: Order, reader: Reader) -> tuple[str, str]:
    return _("Total"), reader.money(order.total_amount, order.currency)


# `order.shipped` is no letter: each parcel is. `return.refunded` is none: the refund is.
LETTERS: Final[Mapping[str, Callable[[Occasion, Reader], Letter]]] = {
    "order.confirmed": _confirmed,
    ACTION_NEEDED: _action_needed,
    PAYMENT_FAILED: _payment_failed,
    "order.cancelled": _cancelled,
    "shipment.sent": _shipped,
    "order.delivered": _delivered,
    "order.refunded": _refunded,
    "return.requested": _return_requested,
    "return.accepted": _return_accepted,
    "return.refused": _return_refused,
    "return.received": _return_received,
}
FACTS: Final = tuple(name for name in LETTERS if name != PAYMENT_FAILED)
