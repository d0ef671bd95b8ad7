"""The buttons with which staff buys labels and uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms

from audit.staff_actions import Done, Said, StaffAction
from config.kernel import money
from integrations.fulfilment import label_providers, labels
from integrations.fulfilment.labels import HEAVIEST_GRAMS, LONGEST_MM
from integrations.fulfilment.models import ShippingLabel
from inventory.models import Product
from orders.models import Order
from orders.staff_actions.of_orders import LinesForm, OrderAction

if TYPE_CHECKING:
    from orders.services import overview

PERMISSION = "integrations.buy_label"
SIZES = ("length_mm", "width_mm", "height_mm")


def _told(label: ShippingLabel) -> Done:
    if label.status == ShippingLabel.Status.ASKED:
        return Done(
            text=f"Not known yet: {label.last_error}. Open it under Labels and press “Find out”"
            " before you buy another one.",
            is_open=True,
        )
    assert label.amount is not None  # noqa: S101 - the table says so
    cost = money.format_amount(label.amount, label.currency)
    return Done(
        text=f"Bought: {label.carrier} {label.service} {label.tracking_number},"
        f" {cost} {label.currency}."
    )


class BuyLabelForm(LinesForm):
    first = ("service", "weight_grams", *SIZES)

    service = forms.CharField(
        max_length=50,
        required=False,
        help_text="As the carrier calls it, like Priority; empty: the cheapest.",
    )
    weight_grams = forms.IntegerField(
        min_value=1, max_value=HEAVIEST_GRAMS, label="Weight in grams, with its box"
    )
    length_mm = forms.IntegerField(
        min_value=1, max_value=LONGEST_MM, required=False, label="Length in mm"
    )
    width_mm = forms.IntegerField(
        min_value=1, max_value=LONGEST_MM, required=False, label="Width in mm"
    )
    height_mm = forms.IntegerField(
        min_value=1, max_value=LONGEST_MM, required=False, label="Height in mm"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["weight_grams"].initial = _known_weight(self)

    def most_of(self, line: overview.Line) -> int:
        return line.to_ship

    def initial_of(self, line: overview.Line) -> int:
        return line.to_ship

    def clean(self) -> dict[str, Any]:
        if self.errors:
            return self.cleaned_data
        sizes = [self.cleaned_data[name] for name in SIZES]
        if any(sizes) and not all(sizes):
            raise forms.ValidationError("Length, width and height: all three, or none.")
        if not self.units():
            raise forms.ValidationError("What lies in the parcel? Say at least one unit.")
        return {**self.cleaned_data, "units": self.units()}


def _known_weight(form: BuyLabelForm) -> int | None:
    """Of all that is still to be sent, where each product's is known; the box is not in it."""
    units = {sku: form.fields[name].initial for name, sku in form.line_fields.items()}
    weights = dict(Product.objects.filter(sku__in=units).values_list("sku", "weight_grams"))
    each = [(weights.get(sku), quantity) for sku, quantity in units.items()]
    known = [weight * quantity for weight, quantity in each if weight is not None]
    return sum(known) if known and len(known) == len(each) else None


class BuyLabel(OrderAction):
    name = "buy_label"
    label = "Buy label…"
    permission = PERMISSION
    icon = "new_label"
    description = (
        "Buys a shipping label for one parcel. It costs money; the parcel is on record only when"
        " it leaves with its label."
    )
    form = BuyLabelForm
    is_dangerous = True
    audited = ("units", "service", "weight_grams")

    def is_offered(self, row: Order) -> bool:
        return row.status in Order.PAID_UNSHIPPED and label_providers.configured() is not None

    def run(self, row: Order, said: Said) -> Done:
        sizes = [said.values[name] for name in SIZES]
        label = labels.buy_label(
            order_id=row.pk,
            wish=labels.Wish(
                units=said.values["units"],
                weight_grams=said.values["weight_grams"],
                service=said.values["service"],
                size_mm=tuple(sizes) if all(sizes) else (),
            ),
            request_key=said.request_key,
            deadline=said.deadline,
            user_id=said.user_id,
        )
        return _told(label)


class LabelAction(StaffAction):
    """What is done with a label."""

    permission = PERMISSION

    def state(self, row: ShippingLabel) -> dict[str, Any]:
        return {"status": row.status, "shipment": row.shipment_id}


class FindOut(LabelAction):
    name = "find_out"
    label = "Find out"
    icon = "sync"
    description = "Asks the provider what came of it. If nothing did, the label is bought."
    is_dangerous = True

    def is_offered(self, row: ShippingLabel) -> bool:
        return row.status == ShippingLabel.Status.ASKED

    def run(self, row: ShippingLabel, said: Said) -> Done:
        return _told(labels.ask_again(label_id=row.pk, deadline=said.deadline))


class SendWithLabel(LabelAction):
    name = "send"
    label = "Send the parcel"
    permission = "orders.ship_order"
    icon = "local_shipping"
    description = "The parcel leaves with this label."

    def is_offered(self, row: ShippingLabel) -> bool:
        return row.status == ShippingLabel.Status.BOUGHT and row.shipment_id is None

    def run(self, row: ShippingLabel, said: Said) -> Done:
        labels.send_with(label_id=row.pk, user_id=said.user_id)
        return Done(text="The parcel is on record.")


class Discard(LabelAction):
    name = "discard"
    label = "Discard"
    icon = "delete"
    description = (
        "It is not used, and its units can have another one. Ask the carrier for the money back:"
        " nothing is told to them."
    )
    is_dangerous = True

    def is_offered(self, row: ShippingLabel) -> bool:
        return row.status in ShippingLabel.ALIVE and row.shipment_id is None

    def run(self, row: ShippingLabel, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        labels.discard(label_id=row.pk)
        return Done(text="It is discarded.")


LABELS_OF_ORDERS = (BuyLabel(),)
LABEL_ACTIONS = (FindOut(), SendWithLabel(), Discard())
