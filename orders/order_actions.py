"""The buttons of an order's and a return's page: each asks, and makes one call of a service."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.utils import timezone

from audit import services as audit
from audit.models import Delivery
from audit.staff_actions import Done, Said, StaffAction, StaffForm, dress, told
from config.kernel import money
from config.kernel.errors import DomainError
from orders.models import Letter, Order, PaymentLink, RefundProposal, Return
from orders.services import (
    letters,
    notes,
    overview,
    payment_links,
    recovery,
    refund_approval,
    refunds,
    returns,
    shipping,
)
from orders.services.refund_approval import Outcome
from orders.services.refunds import RefundPreview, RefundWish
from payments.models import Payment, ReconciliationCase, Refund

if TYPE_CHECKING:
    from collections.abc import Iterator

ON_ITS_WAY = "Decided; the money is not back yet. The shop goes on asking the provider."
PROPOSED = "Proposed: so much takes a second person. Nothing has moved."


def _given(outcome: Outcome, *, done: str, open_still: str = ON_ITS_WAY) -> Done:
    """What became of a wish to give money back, in words."""
    if outcome == Outcome.DONE:
        return Done(text=done)
    return Done(text=PROPOSED if outcome == Outcome.PROPOSED else open_still, is_open=True)


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
        places = ", ".join(f"{place.quantity} in {place.warehouse}" for place in line.places)
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
        return _given(
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
        return _given(outcome, done="Cancelled; whatever was paid is back.")


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

    preview: RefundPreview | None = None

    def most_of(self, line: overview.Line) -> int:
        return line.item.quantity - line.refunded

    def initial_of(self, line: overview.Line) -> int:  # noqa: ARG002 - nothing is given by itself
        return 0

    def wish(self) -> RefundWish:
        """What is wished, without who and by which key."""
        what = self.cleaned_data["what"]
        return RefundWish(
            reason=self.cleaned_data["reason"],
            amount=self.cleaned_data["amount"] if what == self.AMOUNT else None,
            units=self.units() if what == self.UNITS else None,
        )

    def clean(self) -> dict[str, Any]:
        if self.errors:
            return self.cleaned_data
        what = self.cleaned_data["what"]
        if what == self.AMOUNT and self.cleaned_data["amount"] is None:
            self.add_error("amount", "How much?")
        elif what == self.UNITS and not self.units():
            raise forms.ValidationError("Of which lines? Say at least one unit.")
        else:
            self._show_first()
            self.cleaned_data |= {"wish": self.wish(), "units": self.units()}
        return self.cleaned_data

    def _show_first(self) -> None:
        seen = self.cleaned_data["seen_amount"]
        try:
            preview = refunds.preview_refund(order_id=self.row.pk, wish=self.wish())
        except DomainError as exc:
            if seen is None:  # else it may be done already: the service knows by the key
                raise forms.ValidationError(told(exc)) from None
            return
        if preview.amount != seen:
            self.preview = preview
            self.carry("seen_amount", str(preview.amount))
            self.add_error("seen_amount", "Nobody has seen this sum yet.")


class GiveBack(OrderAction):
    name = "refund"
    label = "Refund…"
    permission = "orders.refund_order"
    icon = "undo"
    description = "Gives money back. The next page shows how much before anything happens."
    form = RefundForm
    is_dangerous = True
    audited = ("what", "units", "seen_amount")
    template = "staff/refund.html"

    def is_offered(self, row: Order) -> bool:
        return row.payments.filter(status=Payment.Status.SUCCEEDED).exists()

    def context(self, row: Order, form: StaffForm | None) -> dict[str, Any]:
        return {"money": overview.money_of(row), "preview": getattr(form, "preview", None)}

    def run(self, row: Order, said: Said) -> Done:
        wish: RefundWish = said.values["wish"]
        outcome = refund_approval.refund(
            order_id=row.pk,
            wish=RefundWish(
                reason=wish.reason,
                # Not more than was seen, whatever has come in between.
                amount=None if wish.units else said.values["seen_amount"],
                units=wish.units,
                request_key=said.request_key,
            ),
            user_id=said.user_id,
            deadline=said.deadline,
        )
        return _given(outcome, done="The money is back.")


# --- writing ----------------------------------------------------------------------------------


class NoteForm(StaffForm):
    text = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 5}),
        max_length=notes.LONGEST_NOTE,
        label="Note",
        help_text="For colleagues. The customer is told of it in an export of their data.",
    )


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
    Ship(),
    Deliver(),
    GiveBack(),
    Cancel(),
    AddNote(),
    ResendLetter(),
    RetryDeliveries(),
)


# --- returns ----------------------------------------------------------------------------------


class ReturnAction(StaffAction):
    """What is done to a return."""

    def state(self, row: Return) -> dict[str, Any]:
        return {"status": row.status, "refund": row.refund_id}


class AcceptReturn(ReturnAction):
    name = "accept"
    label = "Accept"
    permission = "orders.decide_return"
    icon = "check"
    description = "The goods may be sent back."

    def is_offered(self, row: Return) -> bool:
        return row.status == Return.Status.REQUESTED

    def run(self, row: Return, said: Said) -> Done:
        returns.accept_return(return_id=row.pk, user_id=said.user_id)
        return Done(text="Accepted.")


class RefusalForm(StaffForm):
    words = forms.CharField(max_length=500, label="Why not", help_text="The customer is told this")


class RefuseReturn(ReturnAction):
    name = "refuse"
    label = "Refuse…"
    permission = "orders.decide_return"
    icon = "block"
    description = "The goods may not be sent back; their units can be asked for again."
    form = RefusalForm

    def is_offered(self, row: Return) -> bool:
        return row.status == Return.Status.REQUESTED

    def run(self, row: Return, said: Said) -> Done:
        returns.refuse_return(return_id=row.pk, reason=said.values["words"], user_id=said.user_id)
        return Done(text="Refused.")


class ArrivalForm(StaffForm):
    """What arrived of each line, and how many of these can be sold again."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lines: dict[int, str] = {}
        items = self.row.items.select_related("order_item").order_by("order_item_id")
        for item in items:
            sku = item.order_item.product_sku
            self.lines[item.pk] = sku
            for part, label in (("arrived", "arrived"), ("restocked", "of these fit for sale")):
                field = forms.IntegerField(
                    label=f"{sku}: {label}",
                    min_value=0,
                    max_value=item.quantity,
                    initial=item.quantity,
                )
                dress(field.widget)
                self.fields[f"{part}_{item.pk}"] = field

    def clean(self) -> dict[str, Any]:
        if self.errors:
            return self.cleaned_data
        counted = {}
        for pk, sku in self.lines.items():
            came = self.cleaned_data[f"arrived_{pk}"]
            restocked = self.cleaned_data[f"restocked_{pk}"]
            if restocked > came:
                self.add_error(f"restocked_{pk}", "No more than arrived.")
            counted[sku] = returns.Arrived(quantity=came, restocked=restocked)
        self.cleaned_data["counted"] = counted
        return self.cleaned_data


class ReceiveReturn(ReturnAction):
    name = "receive"
    label = "Count what arrived…"
    permission = "orders.receive_return"
    icon = "move_to_inbox"
    description = "What is fit for sale goes back on the shelf; the rest is scrap."
    form = ArrivalForm

    def is_offered(self, row: Return) -> bool:
        return row.status == Return.Status.ACCEPTED

    def run(self, row: Return, said: Said) -> Done:
        returns.receive_return(
            return_id=row.pk, arrived=said.values["counted"], user_id=said.user_id
        )
        return Done(text="Counted, and back on the shelf where it is fit for sale.")


class RefundReturn(ReturnAction):
    name = "refund"
    label = "Refund what arrived…"
    permission = "orders.refund_order"
    icon = "undo"
    description = "Gives the money for the units that arrived back."
    is_dangerous = True

    def is_offered(self, row: Return) -> bool:
        return row.status == Return.Status.RECEIVED

    def run(self, row: Return, said: Said) -> Done:
        outcome = refund_approval.refund_return(
            return_id=row.pk, user_id=said.user_id, deadline=said.deadline
        )
        return _given(outcome, done="The money is back.")


RETURN_ACTIONS = (AcceptReturn(), RefuseReturn(), ReceiveReturn(), RefundReturn())


# --- two people -------------------------------------------------------------------------------


class TurnDownForm(StaffForm):
    reason = forms.CharField(max_length=200, label="Why not: for whoever proposed it")


class ProposalAction(StaffAction):
    """What is decided about a colleague's proposal, or taken back of one's own."""

    def is_offered(self, row: RefundProposal) -> bool:
        return row.status == RefundProposal.Status.WAITING

    def state(self, row: RefundProposal) -> dict[str, Any]:
        return {
            "status": row.status,
            "amount": money.format_amount(row.amount, row.currency),
            "currency": row.currency,
        }


class ApproveRefund(ProposalAction):
    name = "approve"
    label = "Approve and give back"
    permission = "orders.approve_refund"
    icon = "done_all"
    description = (
        "Gives back exactly this amount. A colleague proposed it; your word is the second."
    )
    is_dangerous = True

    def run(self, row: RefundProposal, said: Said) -> Done:
        outcome = refund_approval.approve(
            proposal_id=row.pk, user_id=said.user_id, deadline=said.deadline
        )
        if outcome == Outcome.DONE:
            return Done(text="Approved: the money is back, or with the bank.")
        return Done(text="Approved: the money is on its way.", is_open=True)


class RefuseRefund(ProposalAction):
    name = "refuse"
    label = "Refuse…"
    permission = "orders.approve_refund"
    icon = "block"
    description = "Nothing is given back."
    form = TurnDownForm

    def run(self, row: RefundProposal, said: Said) -> Done:
        refund_approval.refuse(
            proposal_id=row.pk, user_id=said.user_id, reason=said.values["reason"]
        )
        return Done(text="Refused.")


class WithdrawRefund(ProposalAction):
    name = "withdraw"
    label = "Withdraw"
    permission = "orders.refund_order"
    icon = "undo"
    description = "For whoever proposed it: nothing is given back."

    def run(self, row: RefundProposal, said: Said) -> Done:
        refund_approval.withdraw(proposal_id=row.pk, user_id=said.user_id)
        return Done(text="Withdrawn.")


PROPOSAL_ACTIONS = (ApproveRefund(), RefuseRefund(), WithdrawRefund())


class GiveBackCharge(StaffAction):
    name = "give_back"
    label = "Give this money back…"
    permission = "payments.give_back"
    icon = "undo"
    description = "A paid charge that no order of ours has goes back; then the case is closed."
    is_dangerous = True

    def is_offered(self, row: ReconciliationCase) -> bool:
        kinds = ReconciliationCase.Classification
        return row.resolved_at is None and row.classification == kinds.CHARGE_WITHOUT_ORDER

    def state(self, row: ReconciliationCase) -> dict[str, Any]:
        return {"subject": row.subject, "is_resolved": row.resolved_at is not None}

    def run(self, row: ReconciliationCase, said: Said) -> Done:
        outcome = refund_approval.give_back_charge(
            case_id=row.pk, user_id=said.user_id, deadline=said.deadline
        )
        return _given(
            outcome,
            done="Given back.",
            open_still="Not back yet: on its way, or not known; try again.",
        )


CASE_ACTIONS = (GiveBackCharge(),)


# --- payment links ----------------------------------------------------------------------------


class LinkAction(StaffAction):
    """What is done to the link of a phone order."""

    permission = "orders.place_order"

    def is_offered(self, row: PaymentLink) -> bool:
        return payment_links.why_over(row) is None

    def state(self, row: PaymentLink) -> dict[str, Any]:
        return {"over": payment_links.why_over(row)}


class SendLink(LinkAction):
    name = "send"
    label = "Send it by e-mail"
    icon = "send"
    description = "Sends the link to the customer, once more if it was sent before."

    def run(self, row: PaymentLink, said: Said) -> Done:
        payment_links.send_link(link_id=row.pk, request_key=said.request_key)
        return Done(text="It is sent within seconds.")


class WithdrawLink(LinkAction):
    name = "withdraw"
    label = "Withdraw…"
    icon = "link_off"
    description = "Nobody can use the link any more."
    is_dangerous = True

    def run(self, row: PaymentLink, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        payment_links.withdraw_link(link_id=row.pk)
        return Done(text="Withdrawn.")


LINK_ACTIONS = (SendLink(), WithdrawLink())
