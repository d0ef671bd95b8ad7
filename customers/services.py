"""Changes accounts; the only writer of a customer's profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F

from audit import services as audit
from config.kernel.db import short_transaction
from customers.errors import EditConflictError, InactiveCustomerError
from customers.models import Customer, CustomerMetrics

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


def update_profile(*, customer_id: int, version: int, changes: Mapping[str, Any]) -> Customer:
    """Change personal data, unless somebody else has done so since it was read.

    Opens its own transaction.

    Args:
        customer_id: whose.
        version: the one the caller has read.
        changes: personal fields of `Customer` and their new values.

    Raises:
        EditConflictError: the profile has another version by now.
        InactiveCustomerError: suspended or inactive.
    """
    with short_transaction():
        moved = Customer.objects.filter(
            pk=customer_id, version=version, status=Customer.Status.ACTIVE
        ).update(**changes, version=F("version") + 1)
        customer = Customer.objects.get(pk=customer_id)
        if moved != 1:
            if customer.status != Customer.Status.ACTIVE:
                raise InactiveCustomerError
            raise EditConflictError(details={"version": customer.version})
        audit.record(
            "CUSTOMER_UPDATED",
            entity_type="customer",
            entity_id=customer_id,
            data={"fields": sorted(changes), "version": customer.version},
        )
    return customer


def note_verified_email(*, customer_id: int, email: str) -> None:
    """The customer has shown that mail to their present address reaches them; idempotent."""
    Customer.objects.filter(pk=customer_id, email=email.lower()).update(email_verified=True)


def note_changed_email(*, customer_id: int, email: str, verified: bool) -> None:
    """Another address has become the primary one. Joins the transaction that made it so.

    Raises:
        IntegrityError: another account has that address.
    """
    with transaction.atomic():
        Customer.objects.filter(pk=customer_id).update(
            email=email.lower(), email_verified=verified, version=F("version") + 1
        )
        audit.record("CUSTOMER_EMAIL_CHANGED", entity_type="customer", entity_id=customer_id)


def replace_metrics(*, customer_ids: Collection[int], metrics: Iterable[CustomerMetrics]) -> int:
    """Have these customers' figures be exactly `metrics`; what is right already is not written.

    Requires an open transaction that has locked the customers before it worked the figures out:
    who comes later then knows more, and never less, than who came before.

    Args:
        customer_ids: whose figures `metrics` are; all of them, in every currency.
        metrics: unsaved rows, at most one a customer and currency.

    Returns:
        How many rows were wrong or missing.
    """
    known = {
        (row.customer_id, row.currency): row
        for row in CustomerMetrics.objects.filter(customer_id__in=customer_ids)
    }
    changed = []
    for row in metrics:
        old = known.pop((row.customer_id, row.currency), None)
        figures = (row.order_count, row.lifetime_value)
        if old is None or (old.order_count, old.lifetime_value) != figures:
            changed.append(row)
    if changed:
        CustomerMetrics.objects.bulk_create(
            changed,
            update_conflicts=True,
            unique_fields=["customer", "currency"],
            update_fields=["order_count", "lifetime_value"],
        )
    if known:
        CustomerMetrics.objects.filter(pk__in=[row.pk for row in known.values()]).delete()
    return len(changed) + len(known)
