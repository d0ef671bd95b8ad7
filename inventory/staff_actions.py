"""What staff may do to stock and prices: each a button on a row's page, over one service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone

from audit.staff_actions import Done, Said, StaffAction, StaffForm
from config.kernel import money
from inventory import documents, scheduled_prices
from inventory.models import ScheduledPrice, StockLevel, Warehouse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.models import Product


class ReasonForm(StaffForm):
    """Everything that moves stock says why."""

    reason = forms.CharField(
        max_length=documents.LONGEST_REASON,
        help_text="Kept with the movement for good: no names of customers.",
    )


class ReceiveForm(ReasonForm):
    quantity = forms.IntegerField(
        label="Units that came", min_value=1, max_value=documents.MOST_UNITS
    )

    field_order: Sequence[str] = ("quantity", "reason")


class ReceiveAtForm(ReceiveForm):
    warehouse = forms.ModelChoiceField(Warehouse.objects.order_by("priority", "code"))

    field_order = ("warehouse", "quantity", "reason")


class AdjustForm(ReasonForm):
    delta = forms.IntegerField(
        label="Units more or less",
        min_value=-documents.MOST_UNITS,
        max_value=documents.MOST_UNITS,
        help_text="Like 3 for units that were found, -3 for units that are gone.",
    )

    field_order = ("delta", "reason")


class CountForm(ReasonForm):
    """Remembers what was on hand when it was opened: whoever counts is told if that has changed."""

    counted = forms.IntegerField(
        label="Units on the shelf",
        min_value=0,
        max_value=documents.MOST_UNITS,
        help_text="All that lie there, those promised to orders that have not left yet among them.",
    )
    seen_on_hand = forms.IntegerField(widget=forms.HiddenInput)

    field_order = ("counted", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seen_on_hand"].initial = self.row.on_hand


class TransferForm(ReasonForm):
    to_warehouse = forms.ModelChoiceField(Warehouse.objects.none())
    quantity = forms.IntegerField(label="Units", min_value=1, max_value=documents.MOST_UNITS)

    field_order = ("to_warehouse", "quantity", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        others = Warehouse.objects.exclude(pk=self.row.warehouse_id)
        field = self.fields["to_warehouse"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 - declared above
        field.queryset = others.order_by("priority", "code")


class ThresholdForm(StaffForm):
    low_stock_threshold = forms.IntegerField(
        label="Low from",
        min_value=0,
        max_value=documents.MOST_UNITS,
        required=False,
        help_text="Available units at or below this count as low; empty: never.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["low_stock_threshold"].initial = self.row.low_stock_threshold


class WithFacts(StaffAction):
    """Shows above its form what it is about."""

    template = "inventory/staff/action.html"

    def context(self, row: Any, form: StaffForm | None) -> dict[str, Any]:  # noqa: ARG002 - the hook's
        return {"facts": self.facts(row)}

    def facts(self, row: Any) -> list[tuple[str, Any]]:
        """What is so now, in pairs."""
        raise NotImplementedError


class OfALevel(WithFacts):
    """Moves the stock of one product in one building."""

    def state(self, row: StockLevel) -> dict[str, Any]:
        return {"on_hand": row.on_hand, "allocated": row.allocated}

    def facts(self, row: StockLevel) -> list[tuple[str, Any]]:
        return [
            ("Product", f"{row.product.sku}, {row.product.name}"),
            ("Warehouse", row.warehouse.code),
            ("On hand", row.on_hand),
            ("Promised to orders", row.allocated),
            ("Available", row.on_hand - row.allocated),
        ]


class Receive(OfALevel):
    name = "receive"
    label = "Receive…"
    permission = "inventory.receive_stock"
    icon = "add_box"
    description = "Units came in and lie here now."
    form = ReceiveForm
    audited = ("quantity",)

    def run(self, row: StockLevel, said: Said) -> Done:
        documents.receive(
            product_id=row.product_id,
            warehouse_id=row.warehouse_id,
            quantity=said.values["quantity"],
            reason=said.values["reason"],
            user_id=said.user_id,
            request_key=said.request_key,
        )
        return Done(text=f"{said.values['quantity']} units received.")


class Adjust(OfALevel):
    name = "adjust"
    label = "Adjust…"
    permission = "inventory.adjust_stock"
    icon = "exposure"
    description = "Puts right what is on hand: broken, found, gone. Promised units stay."
    form = AdjustForm
    audited = ("delta",)

    def run(self, row: StockLevel, said: Said) -> Done:
        documents.adjust(
            product_id=row.product_id,
            warehouse_id=row.warehouse_id,
            delta=said.values["delta"],
            reason=said.values["reason"],
            user_id=said.user_id,
            request_key=said.request_key,
        )
        return Done(text=f"Adjusted by {said.values['delta']:+d} units.")


class Count(OfALevel):
    name = "count"
    label = "Count…"
    permission = "inventory.count_stock"
    icon = "checklist"
    description = "What lies on the shelf is what is on hand; the difference becomes a movement."
    form = CountForm
    audited = ("counted", "seen_on_hand")

    def run(self, row: StockLevel, said: Said) -> Done:
        seen = said.values["seen_on_hand"]
        documents.count(
            product_id=row.product_id,
            warehouse_id=row.warehouse_id,
            counted=said.values["counted"],
            seen_on_hand=seen,
            reason=said.values["reason"],
            user_id=said.user_id,
            request_key=said.request_key,
        )
        return Done(text=f"{said.values['counted']} counted, {seen} were expected.")


class Transfer(OfALevel):
    name = "transfer"
    label = "Transfer…"
    permission = "inventory.transfer_stock"
    icon = "sync_alt"
    description = "Units lie in another warehouse now. Promised units stay."
    form = TransferForm
    audited = ("to_warehouse", "quantity")

    def is_offered(self, row: StockLevel) -> bool:
        return row.on_hand > row.allocated

    def run(self, row: StockLevel, said: Said) -> Done:
        target: Warehouse = said.values["to_warehouse"]
        documents.transfer(
            product_id=row.product_id,
            from_warehouse_id=row.warehouse_id,
            to_warehouse_id=target.pk,
            quantity=said.values["quantity"],
            reason=said.values["reason"],
            user_id=said.user_id,
            request_key=said.request_key,
        )
        return Done(text=f"{said.values['quantity']} units transferred to {target.code}.")


class SetLowStockThreshold(OfALevel):
    name = "threshold"
    label = "Low from…"
    permission = "inventory.set_low_stock_threshold"
    icon = "notifications_active"
    description = "From how few available units on this counts as low stock."
    form = ThresholdForm
    audited = ("low_stock_threshold",)

    def state(self, row: StockLevel) -> dict[str, Any]:
        return {"low_stock_threshold": row.low_stock_threshold}

    def run(self, row: StockLevel, said: Said) -> Done:
        threshold = said.values["low_stock_threshold"]
        documents.set_low_stock_threshold(stock_level_id=row.pk, threshold=threshold)
        return Done(text="Never low." if threshold is None else f"Low from {threshold} units.")


class OfAProduct(WithFacts):
    """Does something to a product."""

    def facts(self, row: Product) -> list[tuple[str, Any]]:
        prices = row.prices.order_by("currency").values_list("currency", "amount")
        return [
            ("Product", f"{row.sku}, {row.name}"),
            *((f"Price in {currency}", amount) for currency, amount in prices),
        ]


class ReceiveAt(OfAProduct):
    """Also for what never lay anywhere yet."""

    name = "receive"
    label = "Receive stock…"
    permission = "inventory.receive_stock"
    icon = "add_box"
    description = "Units came in and lie in this warehouse now."
    form = ReceiveAtForm
    audited = ("warehouse", "quantity")

    def state(self, row: Product) -> dict[str, Any]:
        levels = row.stock_levels.order_by("warehouse__code")
        return {"on_hand": dict(levels.values_list("warehouse__code", "on_hand"))}

    def run(self, row: Product, said: Said) -> Done:
        warehouse: Warehouse = said.values["warehouse"]
        documents.receive(
            product_id=row.pk,
            warehouse_id=warehouse.pk,
            quantity=said.values["quantity"],
            reason=said.values["reason"],
            user_id=said.user_id,
            request_key=said.request_key,
        )
        return Done(text=f"{said.values['quantity']} units received at {warehouse.code}.")


class _Moment(forms.DateTimeInput):
    input_type = "datetime-local"


class SchedulePriceForm(StaffForm):
    currency = forms.ChoiceField(choices=())
    amount = forms.DecimalField(
        max_digits=12, decimal_places=2, min_value=0, max_value=money.MAX_AMOUNT
    )
    starts_at = forms.DateTimeField(label="From", widget=_Moment)
    ends_at = forms.DateTimeField(label="Until", widget=_Moment, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        priced = self.row.prices.order_by("currency").values_list("currency", flat=True)
        others = sorted(money.SUPPORTED_CURRENCIES - set(priced))
        field = self.fields["currency"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
        field.choices = [(code, code) for code in (*priced, *others)]
        zone = timezone.get_current_timezone_name()
        self.fields["starts_at"].help_text = f"In {zone}."
        self.fields[
            "ends_at"
        ].help_text = (
            f"In {zone}. From then on the former price holds again; empty: the change is for good."
        )


class SchedulePrice(OfAProduct):
    name = "schedule-price"
    label = "Schedule a price…"
    permission = "inventory.add_scheduledprice"
    icon = "schedule"
    description = "The price changes by itself at that moment, give or take 15 seconds."
    form = SchedulePriceForm
    audited = ("currency", "amount", "starts_at", "ends_at")

    def state(self, row: Product) -> dict[str, Any]:
        prices = row.prices.order_by("currency").values_list("currency", "amount")
        planned = row.scheduled_prices.filter(status__in=("waiting", "running")).order_by("pk")
        return {
            "prices": {currency: str(amount) for currency, amount in prices},
            "scheduled": list(planned.values_list("pk", flat=True)),
        }

    def run(self, row: Product, said: Said) -> Done:
        scheduled = scheduled_prices.schedule_price(
            product_id=row.pk,
            currency=said.values["currency"],
            amount=said.values["amount"],
            starts_at=said.values["starts_at"],
            ends_at=said.values["ends_at"],
            now=timezone.now(),
            user_id=said.user_id,
        )
        shown = money.format_amount(scheduled.amount, scheduled.currency)
        return Done(text=f"{shown} {scheduled.currency} is planned.")


class StopScheduledPrice(WithFacts):
    name = "stop"
    label = "Stop"
    permission = "inventory.change_scheduledprice"
    icon = "cancel"
    description = (
        "One that waits never begins; one that runs ends now, and the former price returns."
    )
    is_dangerous = True

    def is_offered(self, row: ScheduledPrice) -> bool:
        return row.status in (ScheduledPrice.Status.WAITING, ScheduledPrice.Status.RUNNING)

    def facts(self, row: ScheduledPrice) -> list[tuple[str, Any]]:
        former = "none" if row.former_amount is None else row.former_amount
        return [
            ("Product", f"{row.product.sku}, {row.product.name}"),
            ("Price", f"{row.amount} {row.currency}"),
            ("Status", row.get_status_display()),
            *([("Former price", former)] if row.applied_at else []),
        ]

    def state(self, row: ScheduledPrice) -> dict[str, Any]:
        prices = row.product.prices.filter(currency=row.currency).values_list("amount", flat=True)
        return {"status": row.status, "price": [str(amount) for amount in prices]}

    def run(self, row: ScheduledPrice, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        stopped = scheduled_prices.stop_scheduled_price(
            scheduled_price_id=row.pk, now=timezone.now()
        )
        if stopped.status == ScheduledPrice.Status.OVERRIDDEN:
            return Done(text="Stopped. The price was changed by hand meanwhile and stays as it is.")
        return Done(text="Stopped.")
