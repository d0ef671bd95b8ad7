"""What is held on an account's person: all of it told, or all of it removed.

Audit rows keep account number, address and user agent until their retention drops them: they say
who did what, and hold no name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.hashers import make_password
from django.db.models import F

from audit import selectors as log
from audit import services as audit
from config.kernel import money
from customers import services, suppressions
from customers.errors import StaffAccountError
from customers.models import (
    Address,
    Customer,
    CustomerMetrics,
    CustomerNote,
    EmailSuppression,
    Session,
)

if TYPE_CHECKING:
    from datetime import datetime

# RFC 2606: no mail ever goes there, and it is nobody's.
ERASED_EMAIL: Final = "erased-{id}@erased.invalid"
PERSONAL: Final = ("email", "first_name", "last_name", "phone", "date_of_birth")


def export_account(*, customer_id: int) -> dict[str, Any]:
    """Everything that this app and the audit log hold on a customer, ready for JSON.

    A constant number of statements. Instants are in UTC.
    """
    customer = Customer.objects.get(pk=customer_id)
    return {
        "account": {
            "id": customer.pk,
            **{name: getattr(customer, name) for name in PERSONAL},
            "email_verified": customer.email_verified,
            "marketing_consent": customer.marketing_consent,
            "status": customer.status,
            "tier": customer.tier,
            "language": customer.language,
            "created_at": customer.created_at,
            "last_login": customer.last_login,
        },
        "email_addresses": list(
            EmailAddress.objects.filter(user_id=customer_id)
            .order_by("pk")
            .values("email", "verified", "primary")
        ),
        "addresses": [
            {**services.address_parts(address), "created_at": address.created_at}
            for address in Address.objects.filter(customer_id=customer_id).order_by("pk")
        ],
        "bought": [
            {
                "currency": row.currency,
                "order_count": row.order_count,
                "lifetime_value": money.format_amount(row.lifetime_value, row.currency),
            }
            for row in CustomerMetrics.objects.filter(customer_id=customer_id).order_by("currency")
        ],
        "staff_notes": list(
            CustomerNote.objects.filter(customer_id=customer_id)
            .order_by("pk")
            .values("text", "created_at")
        ),
        "email_suppressions": list(
            EmailSuppression.objects.filter(customer_id=customer_id)
            .order_by("pk")
            .values("reason", "created_at", "lifted_at")
        ),
        "activity": log.list_activity(customer_id=customer_id),
    }


def get_erasable(*, customer_id: int) -> Customer:
    """An account that may be erased, or was.

    Raises:
        StaffAccountError: a member of staff; their rights have to be taken from them first.
    """
    return _without_rights(Customer.objects.get(pk=customer_id))


def erase_account(*, customer_id: int, at: datetime) -> Customer | None:
    """Remove the person from an account and end all its sessions. Requires an open transaction.

    The row stays, so that orders and audit rows go on meaning the same account. States
    `customer.erased`, with the provider's id of the customer, which is forgotten here.

    Returns:
        The account as it was, or None if it was erased before.

    Raises:
        StaffAccountError: a member of staff, as in `get_erasable`.
    """
    locked = Customer.objects.select_for_update(no_key=True).get(pk=customer_id)
    customer = _without_rights(locked)
    if customer.erased_at is not None:
        return None
    Customer.objects.filter(pk=customer_id).update(
        email=ERASED_EMAIL.format(id=customer_id),
        email_verified=False,
        password=make_password(None),
        first_name="",
        last_name="",
        phone=None,
        date_of_birth=None,
        marketing_consent=False,
        tier="",
        language="",
        stripe_customer_id=None,
        status=Customer.Status.INACTIVE,
        last_login=None,
        erased_at=at,
        version=F("version") + 1,
    )
    addresses = EmailAddress.objects.filter(user=customer_id).values_list("email", flat=True)
    suppressions.forget(addresses=[customer.email, *addresses], customer_id=customer_id)
    for model, owner in (
        (Address, "customer"),
        (Session, "customer"),
        (EmailAddress, "user"),
        (Authenticator, "user"),
    ):
        model.objects.filter(**{owner: customer_id}).delete()
    CustomerNote.objects.filter(customer_id=customer_id).exclude(text="").update(text="")
    audit.record("CUSTOMER_ERASED", entity_type="customer", entity_id=customer_id)
    audit.publish(
        "customer.erased",
        aggregate_type="customer",
        aggregate_id=customer_id,
        dedupe_key=f"customer.erased.{customer_id}",
        payload={
            "customer_id": customer_id,
            "stripe_customer_id": customer.stripe_customer_id,
        },
    )
    return customer


def _without_rights(customer: Customer) -> Customer:
    if customer.is_staff or customer.is_superuser:
        raise StaffAccountError
    return customer
