"""Takes from the marketing tool that somebody does not want to be written to any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from config.kernel.api.parsers import parse_object
from config.kernel.errors import NotFoundError, ValidationFailedError
from customers import selectors, services
from integrations import signatures

if TYPE_CHECKING:
    from datetime import datetime

WITHDRAWALS: Final = {"contact.unsubscribed": "unsubscribed", "contact.complained": "complained"}
"""A complaint is a withdrawal, too: whoever calls it spam does not want more of it."""
LARGEST_ID: Final = 2**63 - 1


def receive(*, payload: bytes, signature: str, now: datetime) -> bool:
    """Check a webhook of the marketing tool, and withdraw the consent that it tells of.

    Opens its own transaction. Nothing of it is kept: the same one again changes nothing.

    Args:
        payload: the body's very bytes.
        signature: as `signatures.check` takes it, made with `MARKETING_WEBHOOK_SECRET`.

    Returns:
        Whether it has changed anything.

    Raises:
        NotFoundError: no secret is set: the shop has no such webhook.
        ValidationFailedError: not signed, not of these minutes, or no event.
    """
    if not settings.MARKETING_WEBHOOK_SECRETS:
        raise NotFoundError
    signatures.check(
        payload=payload,
        signature=signature,
        secrets=settings.MARKETING_WEBHOOK_SECRETS,
        now=now,
    )
    event = parse_object(payload)
    how = WITHDRAWALS.get(str(event.get("type")))
    if how is None:
        return False
    customer_id = _customer_of(event.get("data"))
    if customer_id is None:
        return False
    return services.withdraw_consent(customer_id=customer_id, how=f"marketing: {how}")


def _customer_of(person: Any) -> int | None:
    if isinstance(person, dict):
        number, email = person.get("contact_id"), person.get("email")
        if isinstance(number, str) and number.isascii() and number.isdigit():
            return int(number) if len(number) < 20 and int(number) <= LARGEST_ID else None  # noqa: PLR2004 - digits of 2**63
        if isinstance(email, str) and email:
            return selectors.find_customer_id(email=email)
    raise ValidationFailedError(
        details={"data": ["Name whom it is about: `contact_id`, as we told it, or `email`."]}
    )
