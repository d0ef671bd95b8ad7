"""The buttons of an order's page."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.utils import timezone

from audit import services as audit
from audit.models import Delivery
from audit.staff_actions import Done, Download, Said, StaffAction, StaffForm, dress, told
from config.kernel import money
from config.kernel.errors import DomainError
from customers.staff_actions import NoteForm
from orders.models import Letter, Order, Shipment
from orders.services import (
    letters,
    notes,
    overview,
    packing_slips,
    recovery,
    refund_approval,
    refunds,
    shipping,
)
from orders.services.refunds import RefundPreview, RefundWish
from orders.staff_actions.outcomes import told_of
from payments.models import Payment, Refund

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class OrderAction(StaffAction):
    """What is done to an order; the log keeps how it stood before and after."""

    def state(self, row: Order) -> dict[str, Any]:
        given = Refund.objects.filter(payment__order=row).exclude(status=Refund.Status.FAILED)
        amount = sum(given.values_list("amount", flat=True), start=Decimal(0))
        return {
            "status": row.status,
            "payment_status": row.payment_status,
            "parcels": row.shipments.count(),
            "given_back": money.format_amount(amount, row.currency),
            "currency": row.currency,
        }


class LinesForm(StaffForm):
    """A number field for each line of the order, by how many of it may be said."""

    first: ClassVar[tuple[str, ...]] = ()
    """Fields that stand before the lines."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.line_fields: dict[str, str] = {}
        for line in overview.lines_of(self.row):
            most = self.most_of(line)
            # A page that is sent twice names lines of which nothing is left by now.
            if most or self.is_bound:
                self._add(line, most)
        self.order_fields([*self.first, *self.line_fields])

    def most_of(self, line: overview.Line) -> int:
        """How many can be said of a line now."""
        raise NotImplementedError

    def initial_of(self, line: overview.Line) -> int:
        """What stands in its field."""
        raise NotImplementedError

    def _add(self, line: overview.Line, most: int) -> None:
        item = line.item
        places = ", ".join(
            f"{place.still_there} in {place.warehouse}"
            for place in line.places
            if place.still_there
        )
        name = f"line_{item.pk}"
        self.line_fields[name] = item.product_sku
        self.fields[name] = forms.IntegerField(
            label=f"{item.product_sku}, {item.product_name}",
            help_text=f"At most {most} of {item.quantity}. {places}",
            min_value=0,
            max_value=item.quantity,  # how many are left is for the service to say
            initial=self.initial_of(line),
            required=False,
        )
        dress(self.fields[name].widget)

    def units(self) -> dict[str, int]:
        """How many of each SKU were said; those of which none were are left out."""
        said = {sku: self.cleaned_data.get(name) for name, sku in self.line_fields.items()}
        return {sku: quantity for sku, quantity in said.items() if quantity}


# --- settling ---------------------------------------------------------------------------------


class Settle(OrderAction):
    name = "settle"
    label = "Settle now"
    permission = "orders.settle_order"
    icon = "sync"
    description = "Asks the payment provider about all that is open: the payment, and refunds."

    def is_offered(self, row: Order) -> bool:
        under_way = Refund.objects.filter(payment__order=row, status__in=overview.UNDER_WAY)
        return row.status == Order.Status.PENDING or under_way.exists()

    def run(self, row: Order, said: Said) -> Done:
        if recovery.settle_now(order_id=row.pk, deadline=said.deadline):
            return Done(text="Settled.")
        return Done(text="Still open: the provider or the customer has not decided.", is_open=True)


class EndQuarantine(OrderAction):
    name = "end_quarantine"
    label = "End quarantine…"
    permission = "payments.end_quarantine"
    icon = "lock_open"
    description = (
        "Gives back whatever came in and cancels the order. Look at the provider's page first:"
        " what they say of this payment will never fit the order."
    )
    is_dangerous = True

    def is_offered(self, row: Order) -> bool:
        return row.payments.filter(status=Payment.Status.QUARANTINED).exists()

    def run(self, row: Order, said: Said) -> Done:
        outcome = refund_approval.end_quarantined(
            order_id=row.pk, user_id=said.user_id, deadline=said.deadline
        )
        return told_of(
            outcome,
            done="The quarantine is ended.",
            open_still="Not ended: the provider does not answer. Try again.",
        )


# --- sending ----------------------------------------------------------------------------------


class BeginProcessing(OrderAction):
    name = "process"
    label = "Begin processing"
    permission = "orders.ship_order"
    icon = "package_2"
    description = "The warehouse takes it up. It can still be cancelled."

    def is_offered(self, row: Order) -> bool:
        return row.status == Order.Status.CONFIRMED

    def run(self, row: Order, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        shipping.begin_processing(order_id=row.pk)
        return Done(text="The order is being processed.")


class ShipForm(LinesForm):
    carrier = forms.CharField(
        max_length=50, help_text="UPS, FedEx, USPS, DHL, Royal Mail: with a page to follow it"
    )
    tracking_number = forms.CharField(max_length=100, required=False)

    def most_of(self, line: overview.Line) -> int:
        return line.to_ship

    def initial_of(self, line: overview.Line) -> int:
        return line.to_ship

    def clean(self) -> dict[str, Any]:
        if not self.errors and not self.units():
            raise forms.ValidationError("What lies in the parcel? Say at least one unit.")
        return {**self.cleaned_data, "units": self.units()}


class Ship(OrderAction):
    name = "ship"
    label = "Ship…"
    permission = "orders.ship_order"
    icon = "local_shipping"
    description = "One parcel leaves. Of what stays here, the next one is made."
    form = ShipForm
    audited = ("units", "carrier", "tracking_number")

    def is_offered(self, row: Order) -> bool:
        return row.status in Order.PAID_UNSHIPPED

    def run(self, row: Order, said: Said) -> Done:
        parcel = shipping.Parcel(
            carrier=said.values["carrier"],
            tracking_number=said.values["tracking_number"],
            units=said.values["units"],
            request_key=said.request_key,
        )
        shipping.ship_order(order_id=row.pk, parcel=parcel, user_id=said.user_id)
        return Done(text="The parcel is on record.")


class PrintSlip(OrderAction):
    name = "packing_slip"
    label = "Packing slip"
    permission = "orders.ship_order"
    icon = "print"
    description = "What is to be packed, and from where, as PDF; it has no prices."

    def is_offered(self, row: Order) -> bool:
        return row.status in Order.PAID_UNSHIPPED

    def run(self, row: Order, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        return _printed([packing_slips.slip_of_order(order=row)])


class PrintParcelSlip(StaffAction):
    """On a parcel's own page."""

    name = "packing_slip"
    label = "Packing slip"
    permission = "orders.ship_order"
    icon = "print"
    description = "What lies in this parcel, as PDF; it has no prices."

    def state(self, row: Shipment) -> dict[str, Any]:
        return {"order": row.order_id}

    def run(self, row: Shipment, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        return _printed([packing_slips.slip_of_shipment(shipment_id=row.pk)])


def slips_file(slips: Sequence[packing_slips.Slip]) -> Download:
    """At least one slip, to be printed."""
    about = slips[0].order.order_number if len(slips) == 1 else f"{len(slips)}-orders"
    return Download(
        name=f"packing-slip-{about}.pdf",
        content_type="application/pdf",
        content=packing_slips.render(slips),
    )


def _printed(slips: Sequence[packing_slips.Slip]) -> Done:
    return Done(text="The packing slip is made.", file=slips_file(slips))


class Deliver(OrderAction):
    name = "deliver"
    label = "Note delivery"
    permission = "orders.deliver_order"
    icon = "where_to_vote"
    description = "The last parcel has arrived."

    def is_offered(self, row: Order) -> bool:
        return row.status == Order.Status.SHIPPED

    def run(self, row: Order, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        shipping.deliver_order(order_id=row.pk)
        return Done(text="Delivered.")


# --- giving back ------------------------------------------------------------------------------


class CancelForm(StaffForm):
    reason = forms.CharField(
        max_length=200, required=False, help_text="For colleagues; kept on the order alone"
    )


class Cancel(OrderAction):
    name = "cancel"
    label = "Cancel…"
    permission = "orders.cancel_order"
    icon = "cancel"
    description = "Ends the order. Stock is free for others; whatever was paid goes back."
    form = CancelForm
    is_dangerous = True

    def is_offered(self, row: Order) -> bool:
        living = row.status in {Order.Status.PENDING, *Order.PAID_UNSHIPPED}
        return living and row.shipped_at is None

    def run(self, row: Order, said: Said) -> Done:
        outcome = refund_approval.cancel(
            order_id=row.pk,
            reason=said.values["reason"],
            user_id=said.user_id,
            deadline=said.deadline,
        )
        return told_of(outcome, done="Cancelled; whatever was paid is back.")


class RefundForm(LinesForm):
    """Asked twice: the first time it is answered with the sum, the second time it is done."""

    ALL, UNITS, AMOUNT = "all", "units", "amount"
    first = ("what",)

    what = forms.ChoiceField(
        label="Give back",
        choices=[
            (UNITS, "for units of its lines, below"),
            (AMOUNT, "an amount, below"),
            (ALL, "all that is left"),
        ],
    )
    amount = forms.DecimalField(
        required=False, min_value=Decimal("0.01"), max_digits=12, decimal_places=2
    )
    reason = forms.CharField(max_length=200, help_text="For colleagues; kept on the refund alone")
    seen_amount = forms.DecimalField(required=False, widget=forms.HiddenInput)
    seen_cancels = forms.BooleanField(required=False, widget=forms.HiddenInput)

    preview: RefundPreview | None = None

    def most_of(self, line: overview.Line) -> int:
        return line.item.quantity - line.refunded

    def initial_of(self, line: overview.Line) -> int:  # noqa: ARG002 - nothing is given by itself
        return 0

    def wish(self) -> RefundWish:
        """What is wished, and what of it was seen."""
        what = self.cleaned_data["what"]
        return RefundWish(
            reason=self.cleaned_data["reason"],
            amount=self.cleaned_data["amount"] if what == self.AMOUNT else None,
            units=self.units() if what == self.UNITS else None,
            request_key=str(self.cleaned_data["request_key"]),
            seen=self.seen(),
        )

    def seen(self) -> RefundPreview | None:
        """What the page showed when it was sent before; None: nothing yet."""
        amount = self.cleaned_data["seen_amount"]
        if amount is None:
            return None
        return RefundPreview(amount=amount, is_cancellation=self.cleaned_data["seen_cancels"])

    def clean(self) -> dict[str, Any]:
        if self.errors:
            return self.cleaned_data
        what = self.cleaned_data["what"]
        if what == self.AMOUNT and self.cleaned_data["amount"] is None:
            self.add_error("amount", "How much?")
        elif what == self.UNITS and not self.units():
            raise forms.ValidationError("Of which lines? Say at least one unit.")
        else:
            wish = self.wish()
            self._show_first(wish)
            self.cleaned_data |= {"wish": wish, "units": self.units()}
        return self.cleaned_data

    def _show_first(self, wish: RefundWish) -> None:
        try:
            preview = refunds.preview_refund(order_id=self.row.pk, wish=wish)
        except DomainError as exc:
            if wish.seen is None:  # else the service says it, or that it waits already
                raise forms.ValidationError(told(exc)) from None
            return
        if preview is not None and preview != wish.seen:
            self.preview = preview
            self.carry("seen_amount", str(preview.amount))
            self.carry("seen_cancels", str(preview.is_cancellation))
            self.add_error("seen_amount", "Nobody has seen this yet.")


class GiveBack(OrderAction):
    name = "refund"
    label = "Refund…"
    permission = "orders.refund_order"
    icon = "undo"
    description = "Gives money back. The next page shows how much before anything happens."
    form = RefundForm
    is_dangerous = True
    audited = ("what", "units", "seen_amount", "seen_cancels")
    template = "staff/refund.html"

    def is_offered(self, row: Order) -> bool:
        return row.payments.filter(status=Payment.Status.SUCCEEDED).exists()

    def context(self, row: Order, form: StaffForm | None) -> dict[str, Any]:
        return {"money": overview.money_of(row), "preview": getattr(form, "preview", None)}

    def run(self, row: Order, said: Said) -> Done:
        outcome = refund_approval.refund(
            order_id=row.pk,
            wish=said.values["wish"],
            user_id=said.user_id,
            deadline=said.deadline,
        )
        return told_of(outcome, done="The money is back.")


# --- writing ----------------------------------------------------------------------------------


class AddNote(OrderAction):
    name = "note"
    label = "Add note…"
    permission = "orders.note_order"
    icon = "edit_note"
    form = NoteForm

    def is_offered(self, row: Order) -> bool:
        return row.erased_at is None

    def run(self, row: Order, said: Said) -> Done:
        notes.add_note(
            order_id=row.pk,
            text=said.values["text"],
            user_id=said.user_id,
            request_key=said.request_key,
        )
        return Done(text="The note is on record.")


class LetterForm(StaffForm):
    letter = forms.TypedChoiceField(coerce=int, label="Which")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["letter"].choices = list(_letters_of(self.row))  # type: ignore[attr-defined]  # a choice field's


def _letters_of(order: Order) -> Iterator[tuple[int, str]]:
    kept = Letter.objects.filter(order=order, repeats=None).exclude(body_text="")
    for letter in kept.order_by("-pk"):
        sent = timezone.localtime(letter.sent_at)
        yield letter.pk, f"{letter.subject}, sent {sent:%Y-%m-%d %H:%M} to {letter.recipient}"


class ResendLetter(OrderAction):
    name = "resend_letter"
    label = "Send a letter again…"
    permission = "orders.resend_letter"
    icon = "forward_to_inbox"
    description = (
        f"The same words, to the address that the customer has now; at most {letters.MOST_RESENT}"
        " times a day."
    )
    form = LetterForm
    audited = ("letter",)

    def is_offered(self, row: Order) -> bool:
        return row.letters.exclude(body_text="").exists()

    def run(self, row: Order, said: Said) -> Done:  # noqa: ARG002 - the letter knows its order
        letters.resend_letter(letter_id=said.values["letter"], request_key=said.request_key)
        return Done(text="It is sent again within seconds.")


class RetryDeliveries(OrderAction):
    name = "retry_deliveries"
    label = "Retry deliveries"
    permission = "audit.retry_delivery"
    icon = "refresh"
    description = "What was told of this order and did not arrive is tried again within seconds."

    def is_offered(self, row: Order) -> bool:
        about = Delivery.objects.filter(
            message__aggregate_type="order", message__aggregate_id=row.pk
        )
        return about.exclude(status=Delivery.Status.DELIVERED).exists()

    def run(self, row: Order, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        retried = audit.retry_deliveries(aggregate_type="order", aggregate_id=row.pk)
        return Done(text=f"Tried again now: {retried}.")


ORDER_ACTIONS = (
    Settle(),
    EndQuarantine(),
    BeginProcessing(),
    PrintSlip(),
    Ship(),
    Deliver(),
    GiveBack(),
    Cancel(),
    AddNote(),
    ResendLetter(),
    RetryDeliveries(),
)
SHIPMENT_ACTIONS = (PrintParcelSlip(),)
