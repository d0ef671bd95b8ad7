"""The buttons of a customer's page that reach into orders: export, erasure, orders by telephone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.utils import timezone
from rest_framework.renderers import JSONRenderer

from audit.staff_actions import Done, Download, Said, StaffForm
from config.kernel.errors import NotFoundError, ServiceUnavailableError
from customers.staff_actions import CUSTOMER_ACTIONS, CustomerAction
from orders.models import Order
from orders.services import privacy

if TYPE_CHECKING:
    from customers.models import Customer

INDENTED: Final = "application/json; indent=2"


class ExportCustomer(CustomerAction):
    name = "export"
    label = "Export"
    permission = "customers.export_customer"
    icon = "download"
    description = "Everything held on the customer, as a file: what they get by GET /me/export."

    def run(self, row: Customer, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        if row.erased_at is not None:
            raise NotFoundError
        now = timezone.now()
        held = privacy.export_customer(customer_id=row.pk, now=now)
        file = Download(
            name=f"customer-{row.pk}-{now:%Y-%m-%d}.json",
            content_type="application/json",
            content=JSONRenderer().render(held, accepted_media_type=INDENTED),
        )
        return Done(text="Exported.", file=file)


class ErasureForm(StaffForm):
    """Sent again, when the address is gone already, it means the same."""

    email = forms.CharField(
        max_length=255,
        label="Type the customer's e-mail address",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def clean_email(self) -> str:
        """The address, if it is the one of this account."""
        typed: str = self.cleaned_data["email"].strip()
        if self.row.erased_at is None and typed.lower() != self.row.email:
            raise forms.ValidationError("This is not the address of this account.")
        return typed


class EraseCustomer(CustomerAction):
    name = "erase"
    label = "Erase…"
    permission = "customers.erase_customer"
    icon = "delete_forever"
    description = "Removes the person for good. Nobody can take it back."
    form = ErasureForm
    is_dangerous = True
    template = "staff/erase_customer.html"

    def is_offered(self, row: Customer) -> bool:
        return super().is_offered(row) and not (row.is_staff or row.is_superuser)

    def context(self, row: Customer, form: StaffForm | None) -> dict[str, Any]:  # noqa: ARG002 - needs the row alone
        orders = Order.objects.filter(customer=row, erased_at__isnull=True)
        return {"unsent": orders.exclude(status__in=privacy.FINAL).count()}

    def run(self, row: Customer, said: Said) -> Done:  # noqa: ARG002 - the form has compared it
        try:
            privacy.erase_customer(customer_id=row.pk, now=timezone.now())
        except OSError as exc:
            raise ServiceUnavailableError(
                "Nothing was erased: the journal of erasures cannot be written (docs/privacy.md)."
            ) from exc
        return Done(text="Erased. Orders that nothing is to be sent for follow within seconds.")


ALL_CUSTOMER_ACTIONS = (*CUSTOMER_ACTIONS, ExportCustomer(), EraseCustomer())
