"""The buttons of a return's page."""

from __future__ import annotations

from typing import Any

from django import forms

from audit.staff_actions import Done, Said, StaffAction, StaffForm, dress
from orders.models import Return
from orders.services import refund_approval, returns
from orders.staff_actions.outcomes import told_of


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
        return told_of(outcome, done="The money is back.")


RETURN_ACTIONS = (AcceptReturn(), RefuseReturn(), ReceiveReturn(), RefundReturn())
