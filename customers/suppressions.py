"""Which addresses are not written to, because mail to them came back or was called spam.

Kept without the addresses: what a provider has told of one is found by a keyed digest of it.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models.functions import Now

from audit import services as audit
from config.kernel import sql
from config.kernel.db import short_transaction
from config.kernel.errors import InvalidTransitionError, NotFoundError
from customers import services
from customers.models import Customer, EmailSuppression

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

Reason = EmailSuppression.Reason

SUPPRESS = """
    INSERT INTO email_suppressions (address_digest, reason, provider, customer_id)
    VALUES (%(digest)s, %(reason)s, %(provider)s, %(customer_id)s)
    ON CONFLICT (address_digest) WHERE lifted_at IS NULL DO UPDATE SET reason = EXCLUDED.reason
        WHERE EXCLUDED.reason = 'complained' AND email_suppressions.reason <> 'complained'
"""


def digests(address: str) -> list[str]:
    """What an address is found by: by the present `SUPPRESSION_KEY` first, then by former ones."""
    said = b"customers.suppressions:" + address.strip().lower().encode()
    keys = (settings.SUPPRESSION_KEY, *settings.SUPPRESSION_OLD_KEYS)
    return [hmac.digest(key, said, "sha256").hex() for key in keys]


def find_reason(*, address: str) -> Reason | None:
    """Why an address is not written to, if so."""
    found = EmailSuppression.objects.filter(
        address_digest__in=digests(address), lifted_at__isnull=True
    ).values_list("reason", flat=True)
    return next((Reason(reason) for reason in found), None)


def find_suppressed(*, addresses: Collection[str]) -> set[str]:
    """Those of these addresses that are not written to, in one statement."""
    known = {digest: address for address in addresses for digest in digests(address)}
    found = EmailSuppression.objects.filter(address_digest__in=known, lifted_at__isnull=True)
    return {known[one] for one in found.values_list("address_digest", flat=True)}


def suppress(*, address: str, reason: Reason, provider: str) -> bool:
    """Write to this address no more. A complaint withdraws consent to marketing as well.

    Opens its own transaction. Repeating is harmless; a complaint comes before a bounce.

    Returns:
        Whether anything is different now.
    """
    with short_transaction():
        customer = (
            Customer.objects.select_for_update(no_key=True)
            .filter(email=address.strip().lower())
            .first()
        )
        known = digests(address)
        there = EmailSuppression.objects.filter(address_digest__in=known, lifted_at__isnull=True)
        suppressed = sql.execute(
            SUPPRESS,
            # One that a former key made stays the one there is.
            digest=there.values_list("address_digest", flat=True).first() or known[0],
            reason=str(reason),
            provider=provider,
            customer_id=customer.pk if customer else None,
        )
        if suppressed:
            audit.record(
                "EMAIL_SUPPRESSED",
                entity_type="customer" if customer else None,
                entity_id=customer.pk if customer else None,
                data={"reason": str(reason), "provider": provider},
            )
        if reason == Reason.COMPLAINED and customer is not None:
            suppressed |= services.end_consent(customer_id=customer.pk, how="complaint")
    return bool(suppressed)


def lift(*, suppression_id: int, user_id: int) -> None:
    """Have an address written to again. Opens its own transaction; audited.

    Raises:
        NotFoundError: there is no such suppression, or its owner was erased.
        InvalidTransitionError: it was lifted already.
    """
    with short_transaction():
        row = EmailSuppression.objects.select_for_update().filter(pk=suppression_id).first()
        if row is None:
            raise NotFoundError
        if row.lifted_at is not None:
            raise InvalidTransitionError("This address is written to already.")
        EmailSuppression.objects.filter(pk=row.pk).update(lifted_at=Now(), lifted_by_id=user_id)
        audit.record(
            "EMAIL_SUPPRESSION_LIFTED",
            entity_type="customer" if row.customer_id else None,
            entity_id=row.customer_id,
            data={"suppression": row.pk, "reason": row.reason},
        )


def forget(*, addresses: Iterable[str], customer_id: int | None = None) -> None:
    """Remove what is kept on these addresses, and of this customer. Requires a transaction."""
    known = [digest for address in addresses for digest in digests(address)]
    kept = EmailSuppression.objects.filter(address_digest__in=known)
    if customer_id is not None:
        kept |= EmailSuppression.objects.filter(customer_id=customer_id)
    kept.delete()
